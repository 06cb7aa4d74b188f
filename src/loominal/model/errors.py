"""Every error that Loominal raises on purpose.

LoominalError
├── InvalidArgument        a value is missing, malformed, unknown or out of bounds
│   ├── TooLarge           a text, object or request is over its limit
│   └── BadCursor          a cursor of another query, another generation, or forged
├── NotFound               no such thing, or the asker may not see it
│   └── UnknownChannel     a channel nobody has created
├── Forbidden              the grant or the role does not allow it
│   ├── BoundaryRefused    a boundary that the policy does not name or the grant does not hold
│   ├── NotCapable         work of a capability the agent has not registered
│   └── NotOwner           the item is claimed by, or was offered by, somebody else
├── NotRegistered          the operation needs a registered agent
├── HandleTaken            the handle belongs to another agent
├── IllegalMove            the item's status has no such move
│   └── LeaseLost          the lease token is stale: another claim has replaced it
├── Duplicate              the same id with other content
├── InboxFull              the recipient has too many unread messages
├── QuotaExceeded          the store is too full for this kind of write
├── UpgradeNeeded          the two sides speak different versions
├── Busy                   too many requests in flight
├── BrokerUnavailable      the broker does not answer
│   ├── CredentialRefused  it does, and does not let us in
│   └── Conflict           somebody else wrote first (never leaves the hub)
├── StartFailed            a mechanism has started nothing, that is certain
├── Unconfirmed            nobody knows whether a mechanism has started something
├── Unreachable            a mechanism cannot be asked: nothing is known of what it has started
├── WrongFabric            what answers there is not the fabric that it should be
├── HubUnavailable         no coordinator answers for the project
└── Internal               a bug on the other side
    └── CorruptRecord      a stored record that this version cannot read
"""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it travels: tool, REST and command-line answers carry these four fields."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False


class LoominalError(Exception):
    """What went wrong in one line (`message`) and what to do next (`hint`)."""

    code = "internal"
    retryable = False
    hint = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or type(self).hint
        if self.hint:
            self.add_note(self.hint)  # a traceback shows it, too

    def problem(self) -> Problem:
        """Return the error as it travels."""
        return Problem(code=self.code, message=self.message, hint=self.hint, retryable=self.retryable)


class InvalidArgument(LoominalError):
    """A value is missing, malformed, unknown or out of bounds."""

    code = "invalid_argument"


class TooLarge(InvalidArgument):
    """A text, an object or a whole request is over its limit."""

    code = "too_large"
    hint = "push a branch or give a URL instead of the content"


class BadCursor(InvalidArgument):
    """A cursor that belongs to another query or another life of the project, or was not made by us."""

    code = "bad_cursor"
    hint = "start again without a cursor"


class NotFound(LoominalError):
    """There is no such thing, or the asker may not see it."""

    code = "not_found"


class UnknownChannel(NotFound):
    """A channel that nobody has created."""

    code = "unknown_channel"
    hint = "list_channels shows the channels; send_message with create: true makes one"


class Forbidden(LoominalError):
    """The grant or the role of the authenticated agent does not allow it."""

    code = "forbidden"


class BoundaryRefused(Forbidden):
    """A boundary that the project's policy does not name, or that the grant does not hold."""

    code = "boundary_refused"


class NotCapable(Forbidden):
    """Work of a capability that the agent has not registered."""

    code = "not_capable"
    hint = "register again with the capability"


class NotOwner(Forbidden):
    """The item is claimed by, or was offered by, somebody else."""

    code = "not_owner"


class NotRegistered(LoominalError):
    """The operation needs a registered agent."""

    code = "not_registered"
    hint = "call join (or register_agent) first"


class HandleTaken(LoominalError):
    """The handle belongs to another agent."""

    code = "handle_taken"


class IllegalMove(LoominalError):
    """The item's status has no such move."""

    code = "illegal_move"


class LeaseLost(IllegalMove):
    """The lease token is stale: the claim it belongs to was replaced or has ended."""

    code = "lease_lost"
    hint = "stop this work; what you reported is kept for review"


class Duplicate(LoominalError):
    """The same id was used before with other content."""

    code = "duplicate"
    hint = "use another task id, or repeat the first content exactly"


class InboxFull(LoominalError):
    """The recipient has too many unread messages."""

    code = "inbox_full"
    hint = "wait until the recipient has read some, or use a channel"


class QuotaExceeded(LoominalError):
    """The store is too full for this kind of write; work that exists can still end."""

    code = "quota_exceeded"
    hint = "free disk space on the broker's machine; `loominal status` shows the use"


class UpgradeNeeded(LoominalError):
    """The two sides speak different versions of the protocol or of the stored format."""

    code = "upgrade_needed"


class Busy(LoominalError):
    """Too many requests of this agent are in flight."""

    code = "busy"
    retryable = True
    hint = "wait for your earlier calls to return"


class BrokerUnavailable(LoominalError):
    """The broker does not answer."""

    code = "broker_unavailable"
    retryable = True
    hint = "it is retried by itself; `loominal doctor` tells more"


class CredentialRefused(BrokerUnavailable):
    """The broker does not let this credential in; it is tried again, for it may be let in later."""

    hint = "`loominal doctor` tells more; a machine that was cut off joins anew, by `loominal invite`"


class Conflict(BrokerUnavailable):
    """Somebody else wrote first: the record is not at the expected sequence any more."""


class Replaced(BrokerUnavailable):
    """What a hub has in memory is void: the project's streams were replaced, or another weft leads it now."""


class StartFailed(LoominalError):
    """Nothing was started, that is certain; `output` is the end of what was printed."""

    code = "start_failed"

    def __init__(self, message: str, hint: str = "", *, output: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(message, hint)
        self.output = output
        self.retry_after_seconds = retry_after_seconds  # as the other side asked; 0: it did not say


class Unconfirmed(LoominalError):
    """Nobody knows whether an agent was started: look for it before anything is asked again."""

    code = "unconfirmed"
    retryable = True


class Unreachable(LoominalError):
    """The mechanism cannot be asked now: nothing is known of what it has started."""

    code = "mechanism_unreachable"
    retryable = True


class WrongFabric(LoominalError):
    """What answers at an address has not the certificate of the fabric that is meant, or goes without TLS."""

    code = "wrong_fabric"


class HubUnavailable(LoominalError):
    """No coordinator answers for the project."""

    code = "hub_unavailable"
    retryable = True
    hint = "`loominal status` shows whether weft runs; `loominal up` starts it"


class Internal(LoominalError):
    """A bug on the side that answered; its log has the details."""

    code = "internal"


class CorruptRecord(Internal):
    """A stored record that this version cannot read; whoever reads many passes it over and reports it."""


def _tree(cls: type[LoominalError]) -> list[type[LoominalError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _tree(sub))]


BY_CODE = {cls.code: cls for cls in reversed(_tree(LoominalError))}


def error_from(problem: Problem) -> LoominalError:
    """Return the exception that `problem` was made from; an unknown code becomes LoominalError."""
    cls = BY_CODE.get(problem.code, LoominalError)
    error = cls.__new__(cls)
    LoominalError.__init__(error, problem.message, problem.hint)
    return error
