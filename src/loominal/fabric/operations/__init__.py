"""The operations: the one table from which client, hub, tools and REST take names and types."""

from __future__ import annotations

from loominal.fabric.operations import (
    access,
    channels,
    dead_letters,
    events,
    identity,
    inbox,
    policy,
    registry,
    spin_ups,
    stats,
    targets,
    work,
)
from loominal.fabric.operations.operation import Operation

__all__ = ["OPERATIONS", "Operation"]

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("hello", identity.Hello, identity.Welcome, tool=False),
        Operation("set_handle", identity.SetHandle, identity.HandleSet),
        Operation("get_my_handle", identity.GetMyHandle, identity.MyHandle),
        Operation("join", identity.Join, identity.Joined),
        Operation("list_channels", channels.ListChannels, channels.Channels, reads=True),
        Operation("send_message", channels.SendMessage, channels.MessageSent),
        Operation("read_messages", channels.ReadMessages, channels.History, reads=True),
        Operation("register_agent", registry.RegisterAgent, registry.Registered),
        Operation("discover_agents", registry.DiscoverAgents, registry.Discovered, reads=True, registered=True),
        Operation("get_agent_info", registry.GetAgentInfo, registry.AgentView, reads=True, registered=True),
        Operation("update_presence", registry.UpdatePresence, registry.PresenceUpdated, registered=True),
        Operation("deregister_agent", registry.DeregisterAgent, registry.Deregistered),
        Operation("send_direct_message", inbox.SendDirectMessage, inbox.DirectSent, registered=True),
        Operation("read_direct_messages", inbox.ReadDirectMessages, inbox.Inbox, registered=True, waits=True),
        Operation("follow_inbox", inbox.FollowInbox, inbox.Inbox, tool=False, registered=True, waits=True),
        Operation("broadcast_work_offer", work.BroadcastWorkOffer, work.Offered, registered=True),
        Operation(
            "preview_work_offer", work.PreviewWorkOffer, work.OfferPreview, tool=False, registered=True, reads=True
        ),
        Operation("claim_work", work.ClaimWork, work.Claimed, registered=True, waits=True),
        Operation("abandon_claim", work.AbandonClaim, work.ClaimAbandoned, tool=False, registered=True),
        Operation("report_progress", work.ReportProgress, work.ProgressReported, registered=True),
        Operation("complete_work", work.CompleteWork, work.WorkMoved, registered=True),
        Operation("fail_work", work.FailWork, work.WorkMoved, registered=True),
        Operation("release_work", work.ReleaseWork, work.WorkMoved, registered=True),
        Operation("list_work", work.ListWork, work.WorkPage, reads=True, registered=True),
        Operation("get_work", work.GetWork, work.WorkDetail, reads=True, registered=True, waits=True),
        Operation("explain_work", work.ExplainWork, work.Explained, tool=False, registered=True, reads=True),
        Operation("follow_work", work.FollowWork, work.Followed, tool=False, registered=True, reads=True, waits=True),
        Operation("cancel_work", work.CancelWork, work.WorkMoved, registered=True),
        Operation(
            "list_dead_letter_items",
            dead_letters.ListDeadLetterItems,
            dead_letters.DeadLetters,
            reads=True,
            registered=True,
        ),
        Operation(
            "retry_dead_letter_item", dead_letters.RetryDeadLetterItem, dead_letters.DeadLetterMoved, registered=True
        ),
        Operation(
            "discard_dead_letter_item",
            dead_letters.DiscardDeadLetterItem,
            dead_letters.DeadLetterMoved,
            registered=True,
        ),
        Operation("wait_for_events", events.WaitForEvents, events.Events, reads=True, registered=True, waits=True),
        Operation("get_policy", policy.GetPolicy, policy.PolicyView, tool=False, reads=True),
        Operation("set_policy", policy.SetPolicy, policy.PolicyView, tool=False, operator=True),
        Operation("list_projects", stats.ListProjects, stats.Projects, tool=False, reads=True),
        Operation("get_stats", stats.GetStats, stats.Stats, tool=False, reads=True),
        Operation("list_targets", targets.ListTargets, targets.TargetList, tool=False, reads=True),
        Operation("get_target", targets.GetTarget, targets.TargetView, tool=False, reads=True),
        Operation("add_target", targets.AddTarget, targets.TargetView, tool=False, operator=True),
        Operation("update_target", targets.UpdateTarget, targets.TargetView, tool=False, operator=True),
        Operation("remove_target", targets.RemoveTarget, targets.TargetView, tool=False, operator=True),
        Operation("enable_target", targets.EnableTarget, targets.TargetView, tool=False, operator=True),
        Operation("disable_target", targets.DisableTarget, targets.TargetView, tool=False, operator=True),
        Operation("test_target", targets.TestTarget, targets.HealthView, tool=False, operator=True, waits=True),
        Operation("spin_up", spin_ups.SpinUp, spin_ups.SpinUpView, tool=False, operator=True),
        Operation("list_spin_ups", spin_ups.ListSpinUps, spin_ups.SpinUpList, tool=False, reads=True),
        Operation("get_spin_up", spin_ups.GetSpinUp, spin_ups.SpinUpView, tool=False, reads=True),
        Operation("grant_access", access.GrantAccess, access.GrantView, tool=False, operator=True),
        Operation("list_grants", access.ListGrants, access.Grants, tool=False, operator=True, reads=True),
        Operation("revoke_grant", access.RevokeGrant, access.GrantView, tool=False, operator=True),
        Operation("revoke_agent", access.RevokeAgent, access.Revoked, tool=False, operator=True),
        Operation("shutdown_agent", access.ShutdownAgent, access.ShuttingDown, tool=False, operator=True),
        Operation("invite", access.Invite, access.Invited, tool=False, operator=True),
        Operation("list_machines", access.ListMachines, access.Machines, tool=False, operator=True, reads=True),
        Operation("revoke_invitation", access.RevokeInvitation, access.InvitationRevoked, tool=False, operator=True),
        Operation("revoke_machine", access.RevokeMachine, access.MachineRevoked, tool=False, operator=True),
    )
}
