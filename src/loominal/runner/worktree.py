"""A git worktree and branch for an item. It is kept while it has changes or commits of its own, else it is removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from loominal.fabric.operations.work import WorkView
from loominal.model.errors import InvalidArgument, StartFailed
from loominal.model.work import Artifact, ArtifactKind

GIT_SECONDS = 120.0  # a checkout of a large repository on a slow disk
BRANCHES = "loominal"  # the branch of an item is loominal/<its id>
MOST_TRIES = 50  # of one item that each left a branch


class Worktree:
    """One item's; `folder` is where it is done."""

    def __init__(self, repository: Path, place: Path, below: str, branch: str, commit: str) -> None:
        self.branch = branch
        self.folder = place / below
        self._repository = repository
        self._place = place
        self._commit = commit  # it began with

    async def kept(self) -> Artifact | None:
        """Return the branch as a thing that was made, None if nothing was. Raises: StartFailed if git fails."""
        changes = await git(self._place, "status", "--porcelain")
        if not changes and not await self._commits():
            return None
        note = f"in {self._place}" + (", with changes that are not committed" if changes else "")
        return Artifact(kind=ArtifactKind.BRANCH, value=self.branch, note=note)

    async def remove_if_untouched(self) -> None:
        """Remove worktree and branch unless there is something in them. Raises: StartFailed if git fails."""
        if await self.kept() is not None:
            return
        await git(self._repository, "worktree", "remove", "--force", "--", str(self._place))
        await git(self._repository, "branch", "-D", "--", self.branch)

    async def _commits(self) -> bool:
        """Return whether the branch, or what is checked out, is elsewhere than where it began."""
        tips = await git(self._place, "rev-parse", "HEAD", f"refs/heads/{self.branch}")
        return set(tips.split()) != {self._commit}


@asynccontextmanager
async def worktree(folder: Path, trees: Path, item: WorkView) -> AsyncIterator[Worktree]:
    """Yield a worktree of the repository around `folder`; untouched, it is gone afterwards. Raises: StartFailed."""
    repository = Path(await git(folder, "rev-parse", "--show-toplevel"))
    below = await git(folder, "rev-parse", "--show-prefix")
    commit = await git(repository, "rev-parse", "HEAD")
    name = await _free_name(repository, item.id)
    place = trees / name
    branch = f"{BRANCHES}/{name}"
    await asyncio.to_thread(place.parent.mkdir, parents=True, exist_ok=True)
    await git(repository, "worktree", "add", "-q", "-b", branch, "--", str(place), commit)
    made = Worktree(repository, place, below, branch, commit)
    try:
        yield made
    finally:
        await made.remove_if_untouched()


async def require_repository(folder: Path) -> None:
    """Raises: InvalidArgument if `folder` is in no git repository that has a commit."""
    try:
        await git(folder, "rev-parse", "--verify", "HEAD")
    except StartFailed as error:
        raise InvalidArgument(f"--worktree: {error.message}", "run it in a git checkout with a commit") from error


async def _free_name(repository: Path, item: str) -> str:
    """Return the item's id, with a number if an earlier attempt has left a branch."""
    taken = set((await git(repository, "branch", "--list", "--format=%(refname:short)", f"{BRANCHES}/{item}*")).split())
    names = [item, *(f"{item}-{number}" for number in range(2, MOST_TRIES))]
    free = [name for name in names if f"{BRANCHES}/{name}" not in taken]
    if not free:
        raise StartFailed(f"{len(names)} branches of {item} are there already", "merge or delete some")
    return free[0]


async def git(folder: Path, *words: str) -> str:
    """Return what git prints. Raises: StartFailed with its error."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        process = await asyncio.create_subprocess_exec(
            "git", "-C", str(folder), *words, env=environ, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise StartFailed(f"git cannot be run: {error}", "install git") from error
    try:
        async with asyncio.timeout(GIT_SECONDS):
            out, errors = await process.communicate()
    except TimeoutError as error:
        raise StartFailed(f"git {words[0]} took over {GIT_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise StartFailed(f"git {words[0]}: {errors.decode(errors='replace').strip()}")
    return out.decode(errors="replace").strip()
