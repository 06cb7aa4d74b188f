"""The fabric in numbers, by HTTP."""

from __future__ import annotations

import asyncio

from loominal.fabric.operations.stats import FabricStats, GetStats, ProjectStats, Stats, project_stats
from loominal.model import cursor as cursors
from loominal.model.errors import HubUnavailable
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import Cursor, Limit, reads

AT_ONCE = 8  # projects asked at the same time
QUERY = "stats"


@reads("/stats")
async def get_stats(asker: Asker, limit: Limit = 20, cursor: Cursor = None) -> Answer[FabricStats]:
    """Return the counts of the project that `projectId` names, else of every one that the bearer token is for.

    Without `projectId` no project is loaded for it that nobody uses.
    """
    behind = cursors.position(cursor, QUERY, "") if cursor is not None else ("",)
    if asker.named is not None:
        project = await asker.project()
        counted = project_stats(project, asker.fabric.titles().get(project, project), await _ask(asker))
        return Answer(FabricStats(projects=(counted,), total=1))
    titles, mine = asker.fabric.titles(), asker.identity.projects
    known = sorted(project for project in titles if not mine or project in mine)
    page = [project for project in known if project > str(behind[0])][:limit]
    turn = asyncio.Semaphore(AT_ONCE)

    async def count(project: str) -> ProjectStats:
        async with turn:
            return await _stats_of(asker.elsewhere(project), project, titles[project])

    async with asyncio.TaskGroup() as group:
        counting = [group.create_task(count(project)) for project in page]
    return Answer(
        FabricStats(
            projects=tuple(each.result() for each in counting),
            total=len(known),
            next_cursor=cursors.cursor(QUERY, "", page[-1]) if page and page[-1] != known[-1] else None,
        )
    )


async def _stats_of(asker: Asker, project: str, title: str) -> ProjectStats:
    if not asker.fabric.in_use(project):
        return ProjectStats(project_id=project, project=title, loaded=False)
    try:
        return project_stats(project, title, await _ask(asker))
    except HubUnavailable as error:  # one project that cannot be read keeps nobody from seeing the others
        return ProjectStats(project_id=project, project=title, loaded=False, problem=error.message)


async def _ask(asker: Asker) -> Stats:
    return await asker.view("get_stats", GetStats(), Stats)


STATS = (get_stats,)
