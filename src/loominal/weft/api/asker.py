"""Who asks in a request, in which project, under which name of the deed; routes get one and ask operations with it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Response
from litestar.datastructures import State
from litestar.params import Parameter

from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.protocol import encode_answer
from loominal.model.errors import Forbidden, InvalidArgument, NotFound
from loominal.model.names import PROJECT_NAME, api_caller, shown
from loominal.weft.api.desk import Desk
from loominal.weft.api.problems import AnyRequest
from loominal.weft.api.tokens import Identity
from loominal.weft.fabric import Fabric

TELLS_CONTENT = "/api/work"  # there another content under the same name is refused

V = TypeVar("V", bound=View)
T = TypeVar("T")

ProjectId = Annotated[
    str | None,
    Parameter(
        query="projectId",
        pattern=f"^{PROJECT_NAME.pattern}$",
        description="The project; default: the bearer token's only one, else weft's own.",
    ),
]
Key = Annotated[
    str | None,
    Parameter(
        header="Idempotency-Key", max_length=256, description="A name of this deed: the same one again is done once."
    ),
]


class Answer(Response[T]):
    """An answer in the contract's words: nulls left out, times without fractions. The hub's own go on as they are."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:  # noqa: ARG002 - Litestar's own
        """Return the body. Any: as Litestar declares it."""
        return bytes(content) if isinstance(content, msgspec.Raw) else encode_answer(content)


class Asker:
    """One request's asker. `project` is looked up when it is first needed: some routes name it in their body."""

    def __init__(
        self, desk: Desk, fabric: Fabric, identity: Identity, home_project: str, wanted: str | None, deed: str
    ) -> None:
        self.identity = identity
        self.fabric = fabric
        self.named = wanted  # the project that the query names
        self._desk = desk
        self._home_project = home_project
        self._deed = deed

    def secret(self) -> bytes:
        """Return 32 secret bytes, the same again when a deed is repeated under its Idempotency-Key."""
        if not self._deed:
            return secrets.token_bytes(32)
        return hmac.digest(self.identity.sha256.encode(), self._deed.encode(), "sha256")

    @property
    def caller(self) -> str:
        """As whom the fabric is asked."""
        return api_caller(self.identity.role, self.identity.name)

    def elsewhere(self, project: str | None) -> Asker:
        """Return an asker in `project`, which the body names; None: where the query says.

        Raises: InvalidArgument if the two differ.
        """
        if project is None:
            return self
        if self.named not in (None, project):
            raise InvalidArgument(f"projectId is {shown(self.named)} in the query and {shown(project)} in the body")
        return Asker(self._desk, self.fabric, self.identity, self._home_project, project, self._deed)

    async def project(self) -> str:
        """Return the project asked in. Raises: InvalidArgument if none is meant, Forbidden, NotFound."""
        mine = self.identity.projects
        project = self.named or (mine[0] if len(mine) == 1 else "") or self._home_project
        if not project:
            known = ", ".join(sorted(mine or self.fabric.titles())[:10])
            raise InvalidArgument(
                "which project?",
                f"give projectId: {known}" if known else "there is none yet: an agent that joins one makes it",
            )
        if mine and project not in mine:
            raise Forbidden(f"this bearer token is not for project {shown(project)}", f"it is for {', '.join(mine)}")
        if project not in self.fabric.titles() and not await self.fabric.open_project(
            project, meant=project in mine or project == self._home_project
        ):
            raise NotFound(f"there is no project {shown(project)}", "an agent that joins it makes it")
        return project

    async def ask(self, operation: str, args: Arguments, *, hold_seconds: float = 0.0) -> msgspec.Raw:
        """Return the answer to an operation as JSON. Raises: what was answered, and as `project` and `Desk.ask`."""
        project, mine = await self.project(), self.identity.projects
        return await self._desk.ask(
            project, self.caller, operation, args, projects=mine, op=self._deed, hold_seconds=hold_seconds
        )

    async def answer(self, operation: str, args: Arguments, *, hold_seconds: float = 0.0) -> Answer[Any]:
        """Return the answer to an operation as it is to be sent. Raises: as `ask`."""  # Any: the operation's own type
        return Answer(await self.ask(operation, args, hold_seconds=hold_seconds))

    async def view(self, operation: str, args: Arguments, answer: type[V]) -> V:
        """Return the answer to an operation as a value. Raises: as `ask`."""
        return msgspec.json.decode(await self.ask(operation, args), type=answer)


async def asker(state: State, request: AnyRequest, project_id: ProjectId = None, idempotency_key: Key = None) -> Asker:
    """Return who asks; Litestar calls it for every route that has an `asker`.

    The same key with another body is another deed; only of work the hub itself can tell that the content differs.
    """
    identity: Identity = request.scope["state"]["identity"]
    deed = ""
    if idempotency_key is not None:
        named = "\0".join((request.method, request.url.path, idempotency_key)).encode()
        body = b"" if request.scope["path_template"] == TELLS_CONTENT else await request.body()
        deed = f"ik_{hashlib.sha256(named + bytes(1) + body).hexdigest()[:48]}"
    return Asker(state.desk, state.fabric, identity, state.home_project, project_id, deed)
