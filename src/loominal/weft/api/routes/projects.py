"""Projects by HTTP: which the fabric knows."""

from __future__ import annotations

from litestar.datastructures import State

from loominal.fabric.operations.stats import ProjectView
from loominal.fabric.operations.types import View
from loominal.model.errors import Forbidden
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import reads
from loominal.weft.fabric import Fabric


class ProjectList(View, frozen=True, kw_only=True):
    """Every project that the bearer token is for."""

    projects: tuple[ProjectView, ...]
    total: int
    wefts: tuple[str, ...]  # that are alive


class Activity(View, frozen=True, kw_only=True):
    """Who uses the fabric now."""

    agents: int  # online
    open_work: int  # items that have not ended


@reads("/projects")
async def list_projects(asker: Asker, state: State) -> Answer[ProjectList]:
    """Return every project that the fabric knows and the bearer token is for."""
    fabric: Fabric = state.fabric
    leaders, mine = fabric.leaders(), asker.identity.projects
    found = tuple(
        ProjectView(project_id=project, project=title, leader=leaders.get(project))
        for project, title in fabric.titles().items()
        if not mine or project in mine
    )
    return Answer(ProjectList(projects=found, total=len(found), wefts=tuple(fabric.wefts())))


@reads("/activity")
async def get_activity(asker: Asker, state: State) -> Answer[Activity]:
    """Return who uses the fabric; 503 while that is not known, 403 for a bearer token that is for some projects."""
    if asker.identity.projects:
        raise Forbidden("this bearer token is not for the whole fabric", "/api/stats counts what it is for")
    fabric: Fabric = state.fabric
    known = fabric.activity()
    agents, open_work = known or (0, 0)
    return Answer(Activity(agents=agents, open_work=open_work), status_code=503 if known is None else 200)


PROJECTS = (list_projects, get_activity)
