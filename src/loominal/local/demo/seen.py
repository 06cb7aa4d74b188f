"""What the boss saw of a demo: the agents' journals, what the fabric answered, what is left. `check.py` judges it."""

from __future__ import annotations

from dataclasses import dataclass, field

from loominal.fabric.operations.channels import ChannelMessage
from loominal.fabric.operations.dead_letters import DeadLetter
from loominal.fabric.operations.inbox import MessageView
from loominal.fabric.operations.registry import AgentView
from loominal.fabric.operations.spin_ups import SpinUpView
from loominal.fabric.operations.work import Offered, WorkDetail
from loominal.local.demo.journal import Deed, Entry
from loominal.model.agent import JsonObject


@dataclass(kw_only=True)
class Seen:
    """Everything, by the task ids of the items and the handles of the agents."""

    journal: list[Entry] = field(default_factory=list)
    at_first: tuple[str, ...] | None = None  # handles of the agents that were there before any work
    offered: dict[str, Offered] = field(default_factory=dict)  # by the boss
    before_grant: WorkDetail | None = None  # the corporate item, when everything else that could be done was done
    killed_at: float | None = None  # per cent of the long item
    items: dict[str, WorkDetail] = field(default_factory=dict)  # at the end
    expected: dict[str, JsonObject] = field(default_factory=dict)  # what the boss finds itself
    inbox: list[MessageView] = field(default_factory=list)  # all of the boss's
    said: list[str] = field(default_factory=list)  # by the boss: ids of channel messages
    history: list[ChannelMessage] = field(default_factory=list)  # as a late joiner reads the channel
    agents: dict[str, AgentView] = field(default_factory=dict)  # when all work was done
    dead_letters: list[DeadLetter] = field(default_factory=list)
    launches: list[SpinUpView] = field(default_factory=list)  # at the end
    left: tuple[str, ...] = ()  # processes and files, after everything was ended

    def deeds(self, deed: Deed, agent: str = "") -> list[Entry]:
        """Return the journals' entries of one kind, by all agents or one."""
        return [entry for entry in self.journal if entry.deed is deed and agent in ("", entry.agent)]

    def claims(self, item: str) -> list[Entry]:
        """Return who claimed an item, in the order of the project's log."""
        claims = [entry for entry in self.deeds(Deed.CLAIMED) if entry.item == item]
        return sorted(claims, key=lambda entry: entry.lease_token)
