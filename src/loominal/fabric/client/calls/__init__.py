"""The methods of an agent, one per operation, one file per noun as in `fabric/operations`."""

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
from loominal.fabric.client.calls.work import WorkCalls

__all__ = [
    "AccessCalls",
    "ChannelCalls",
    "DeadLetterCalls",
    "EventCalls",
    "IdentityCalls",
    "InboxCalls",
    "PolicyCalls",
    "RegistryCalls",
    "StatsCalls",
    "WorkCalls",
]
