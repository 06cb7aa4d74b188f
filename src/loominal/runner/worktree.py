"""A git worktree and branch for an item. It is kept while it has changes or commits of its own, else it is removed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from loominal.fabric.operations.work import WorkView
from loominal.model.errors import InvalidArgument, StartFailed
from loominal.model.work import Artifact, ArtifactKind
from loominal.runner.processes import MARK, send

GIT_SECONDS = 120.0  # a checkout of a large repository on a slow disk
BRANCHES = "loominal"  # the branch of an item is loominal/<its id>
# whatever the repository's own settings leave out
CHANGES = ("status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
MOST_TRIES = 50  # of one item that each left a branch


class Worktree:
    """One item's; `folder` is where it is done."""

    def __init__(self, repository: Path, place: Path, below: str, branch: str, commit: str, mark: str) -> None:
        self.folder = place / below
        self._branch = branch
        self._repository = repository
        self._place = place
        self._commit = commit  # it began with
        self._mark = mark

    async def add(self) -> None:
        """Make worktree and branch. Raises: StartFailed if git, or a hook of the repository's, fails."""
        await asyncio.to_thread(self._place.parent.mkdir, parents=True, exist_ok=True)
        words = ("worktree", "add", "-q", "-b", self._branch, "--", str(self._place), self._commit)
        await git(self._repository, *words, mark=self._mark)
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)  # there may be nothing of it in git

    async def kept(self) -> Artifact | None:
        """Return the branch as a thing that was made, None if nothing was. Raises: StartFailed if git fails.

        Whatever its process has done to worktree and branch: renamed or left the branch, removed the worktree.
        """
        changes, head, branch = "", self._commit, ""
        there = await asyncio.to_thread(self._place.is_dir)
        if there:
            changes = await git(self._place, *CHANGES, mark=self._mark)
            head = await git(self._place, "rev-parse", "HEAD", mark=self._mark)
            branch = await git(self._place, "branch", "--show-current", mark=self._mark)
        ref = f"refs/heads/{self._branch}"
        tip = await git(self._repository, "for-each-ref", "--format=%(objectname)", ref, mark=self._mark)
        if not changes and head == tip == self._commit:
            return None
        note = f"in {self._place}" if there else "its worktree was removed"
        note += ", with changes that are not committed" if changes else ""
        return Artifact(kind=ArtifactKind.BRANCH, value=branch or self._branch, note=note)

    async def remove_if_untouched(self) -> None:
        """Remove worktree and branch unless there is something in them. Raises: StartFailed if git fails."""
        if await self.kept() is not None:
            return
        await git(self._repository, "worktree", "remove", "--force", "--", str(self._place), mark=self._mark)
        await git(self._repository, "branch", "-D", "--", self._branch, mark=self._mark)


@asynccontextmanager
async def worktree(folder: Path, trees: Path, item: WorkView, mark: str) -> AsyncIterator[Worktree]:
    """Yield a worktree of the repository around `folder`; untouched, it is gone afterwards. Raises: StartFailed.

    Git and the repository's hooks carry `mark`, so that they end with a runner that is killed.
    """
    repository = Path(await git(folder, "rev-parse", "--show-toplevel"))
    below = await git(folder, "rev-parse", "--show-prefix")
    commit = await git(repository, "rev-parse", "HEAD")
    name = await _free_name(repository, trees, item.id)
    made = Worktree(repository, trees / name, below, f"{BRANCHES}/{name}", commit, mark)
    try:
        await made.add()
        yield made
    finally:
        await made.remove_if_untouched()


async def require_repository(folder: Path) -> None:
    """Raises: InvalidArgument if `folder` is in no git repository that has a commit and room for our branches."""
    try:
        await git(folder, "rev-parse", "--verify", "HEAD")
        refs = await git(folder, "for-each-ref", "--format=%(refname)", f"refs/heads/{BRANCHES}")
    except StartFailed as error:
        raise InvalidArgument(f"--worktree: {error.message}", "run it in a git checkout with a commit") from error
    if f"refs/heads/{BRANCHES}" in refs.split():
        raise InvalidArgument(
            f"--worktree: there is a branch {BRANCHES!r}, so git takes none that is called {BRANCHES}/…", "rename it"
        )


async def _free_name(repository: Path, trees: Path, item: str) -> str:
    """Return the item's id, with a number if an earlier attempt has left a branch or a worktree."""
    taken = set((await git(repository, "branch", "--list", "--format=%(refname:short)", f"{BRANCHES}/{item}*")).split())
    taken |= {f"{BRANCHES}/{each.name}" for each in await asyncio.to_thread(lambda: list(trees.glob(f"{item}*")))}
    names = [item, *(f"{item}-{number}" for number in range(2, MOST_TRIES))]
    free = [name for name in names if f"{BRANCHES}/{name}" not in taken]
    if not free:
        raise StartFailed(f"{len(names)} branches of {item} are there already", "merge or delete some")
    return free[0]


async def git(folder: Path, *words: str, mark: str = "") -> str:
    """Return what git prints. Raises: StartFailed with its error."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {MARK: mark}
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
            send(signal.SIGKILL, {process.pid}, set())  # its hooks, too
            await process.wait()
    if process.returncode:
        raise StartFailed(f"git {words[0]}: {errors.decode(errors='replace').strip()}")
    return out.decode(errors="replace").strip()
