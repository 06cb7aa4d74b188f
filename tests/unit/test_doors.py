from __future__ import annotations

from litestar.types import HTTPDisconnectEvent, HTTPScope, Message, Receive, Scope, Send

from loominal.weft.api.doors import Doors
from loominal.weft.api.rate import BURST, Rate
from loominal.weft.api.tokens import Tokens


async def test_a_second_authorization_header_is_nobody_elses_permit() -> None:
    let_in: list[Scope] = []
    answered: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        let_in.append(scope)

    async def receive() -> HTTPDisconnectEvent:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answered.append(message)

    doors = Doors(app, Tokens("own"), (), Rate(1, lambda: 0.0))
    shown = (b"authorization", b"Bearer own")
    for more in ((), ((b"authorization", b"Bearer other"),), ((b"authorization", b"Bearer more"),)):
        scope: HTTPScope = {  # type: ignore[typeddict-item]  # all that is looked at
            "type": "http", "method": "GET", "path": "/", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
            "headers": [(b"host", b"localhost"), shown, *more],
        }  # fmt: skip
        await doors(scope, receive, send)

    assert len(let_in) == BURST
    assert [each["status"] for each in answered if each["type"] == "http.response.start"] == [429]
