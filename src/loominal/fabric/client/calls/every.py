"""Every operation as a method, for an agent in its own process and for one that is attached to it."""

from __future__ import annotations

from loominal.fabric.client.calls.access import AccessCalls
from loominal.fabric.client.calls.channels import ChannelCalls
from loominal.fabric.client.calls.dead_letters import DeadLetterCalls
from loominal.fabric.client.calls.events import EventCalls
from loominal.fabric.client.calls.identity import IdentityCalls
from loominal.fabric.client.calls.inbox import InboxCalls
from loominal.fabric.client.calls.policy import PolicyCalls
from loominal.fabric.client.calls.registry import RegistryCalls
from loominal.fabric.client.calls.stats import StatsCalls
from loominal.fabric.client.calls.targets import TargetCalls
from loominal.fabric.client.calls.work import WorkCalls


class EveryCall(
    IdentityCalls,
    ChannelCalls,
    RegistryCalls,
    InboxCalls,
    WorkCalls,
    DeadLetterCalls,
    EventCalls,
    PolicyCalls,
    StatsCalls,
    TargetCalls,
    AccessCalls,
):
    """All calls; who has them says in `call` how one is asked."""
