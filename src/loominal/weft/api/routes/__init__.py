"""The routes behind the bearer token, one file per noun."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from loominal.weft.api.routes.access import ACCESS
from loominal.weft.api.routes.agents import AGENTS
from loominal.weft.api.routes.channels import CHANNELS
from loominal.weft.api.routes.dead_letters import DEAD_LETTERS
from loominal.weft.api.routes.events import EVENTS
from loominal.weft.api.routes.policy import POLICY
from loominal.weft.api.routes.projects import PROJECTS
from loominal.weft.api.routes.stats import STATS
from loominal.weft.api.routes.targets import TARGETS
from loominal.weft.api.routes.work import WORK

ROUTES: tuple[ControllerRouterHandler, ...] = (
    *AGENTS,
    *WORK,
    *DEAD_LETTERS,
    *CHANNELS,
    *ACCESS,
    *POLICY,
    *EVENTS,
    *PROJECTS,
    *STATS,
    *TARGETS,
)
