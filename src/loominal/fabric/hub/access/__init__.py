"""Who may do what in the hub: enrolment, grants, revocation."""
