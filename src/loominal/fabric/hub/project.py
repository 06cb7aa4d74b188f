"""One project in memory, its leader's or the next one's: its logs, what was read from them, and what is soft."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.event import Event
from loominal.broker.log import Log
from loominal.fabric.hub.abroad.asking import Abroad
from loominal.fabric.hub.agents.candidates import candidate_of
from loominal.fabric.hub.agents.crowd import Crowd
from loominal.fabric.hub.agents.drain_record import DrainRecord
from loominal.fabric.hub.agents.presence import Presence
from loominal.fabric.hub.agents.registry import Agents
from loominal.fabric.hub.caller import Authority, Caller
from loominal.fabric.hub.clock import Clock
from loominal.fabric.hub.feed import Feed
from loominal.fabric.hub.fullness import Fullness
from loominal.fabric.hub.lead.leadership import Leadership, Members
from loominal.fabric.hub.spinup.launcher import Launcher
from loominal.fabric.hub.spinup.launches import Launches
from loominal.fabric.hub.spinup.targets import Targets
from loominal.fabric.hub.spinup.tasks import SpinUps
from loominal.fabric.hub.talk.channels import ChannelIndex
from loominal.fabric.hub.talk.inboxes import Inboxes
from loominal.fabric.hub.tally import ProjectTally
from loominal.fabric.hub.timings import Timings
from loominal.fabric.hub.wakes import Wakes
from loominal.fabric.hub.work.book import WorkBook
from loominal.fabric.hub.work.leases import Leases
from loominal.fabric.hub.work.movements import Movements
from loominal.fabric.hub.work.offered import Offered
from loominal.fabric.hub.work.polls import Polls
from loominal.fabric.operations.types import View
from loominal.model.agent import AgentRecord
from loominal.model.errors import LoominalError
from loominal.model.policy import DEFAULT_POLICY, OPEN_POLICY, Policy
from loominal.model.routing import Candidate
from loominal.model.work import Progress

log = logging.getLogger(__name__)

# Answers one operation, or raises the LoominalError that is the answer. Any: each takes its own arguments' type,
# which the dispatcher decodes by the table of operations.
Handler = Callable[["Project", Caller, Any], Awaitable[View]]


class Project:
    """What the leader of one project knows. Each part owns its state; operations get the whole."""

    def __init__(
        self,
        project_id: str,
        title: str,
        broker: Broker,
        authority: Authority,
        timings: Timings,
        members: Members,
        fullness: Fullness | None = None,
        default_policy: Policy | None = None,
        abroad: Abroad | None = None,
        launcher: Launcher | None = None,
        tally: ProjectTally | None = None,
    ) -> None:
        self.id = project_id
        self.title = title or project_id
        self.generation = ""  # of the streams; "" until loaded
        self.broker = broker
        self.authority = authority
        self.timings = timings
        self.clock, self.wakes = Clock(), Wakes()
        named = (subjects.channels_stream, subjects.inbox_stream, subjects.work_stream, subjects.events_stream)
        self.channel_log, self.inbox_log, self.work_log, self.event_log = (Log(broker, of(project_id)) for of in named)
        self.bucket = Bucket(broker, subjects.registry_bucket(project_id))
        self.leadership = Leadership(members)
        self.default_policy = default_policy or (OPEN_POLICY if authority.open_mode else DEFAULT_POLICY)
        self.policy = self.default_policy  # until somebody has set one, and in open mode always
        self.policy_revision = 0  # of its key in the bucket, also when that cannot be read
        self.policy_extra: dict[str, msgspec.Raw] = {}  # its fields of a later version
        self.agents, self.presence = Agents(), Presence()
        self.channels = ChannelIndex(self.wakes)
        self.inboxes = Inboxes(self.wakes, self.clock)
        self.book = WorkBook()
        self.feed, self.movements = Feed(), Movements()
        self.offered, self.leases, self.polls = Offered(), Leases(), Polls()
        self.idle_since: dict[str, datetime] = {}  # agent -> when its last claim ended, in broker time
        self.progress: dict[str, Progress] = {}  # item -> what its holder said last
        self.told: dict[str, float] = {}  # ended item, told of and not yet marked so -> since when (monotonic)
        self.fullness = fullness or Fullness()  # of the store, which the projects of a weft share
        self.abroad = abroad  # None: there is no other project
        self.launcher = launcher  # None: nothing may be started here
        self.targets, self.launches, self.spinup = Targets(launcher.targets if launcher else ()), Launches(), SpinUps()
        self.drains: dict[str, DrainRecord] = {}  # agent -> that it is to end, and by when
        self.loading = False  # what is stored is being read, and nobody is served yet
        self.led_since: datetime | None = None  # in broker time
        self.tally = tally or ProjectTally()
        self.ended = Event()  # some item ended: its children and its offerer have to hear of it
        self.registered: dict[str, tuple[AgentRecord, Candidate]] = {}
        self.crowd = Crowd(partial(candidate_of, self), self.presence.known)
        self.corrupt: dict[str, str] = {}  # subject of a record that cannot be read -> why

    def note_corrupt(self, where: str, error: LoominalError) -> None:
        """Report a record that cannot be read, once; whoever read it passes it over."""
        if where not in self.corrupt:
            log.error("project %s: %s cannot be read and is passed over: %s", self.id, where, error.message)
        self.corrupt[where] = error.message

    def logs(self) -> tuple[Log, ...]:
        """Return every log of the project."""
        return (self.channel_log, self.inbox_log, self.work_log, self.event_log, self.bucket.log)
