"""Who may knock at weft's HTTP door, and with which bearer token: the real weft, over real sockets."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from click.testing import CliRunner, Result

from loominal.broker.certificates import ensure_certificates
from loominal.fabric.runtime_file import Mode, Runtime, read_runtime, update_runtime
from loominal.local import weft_api
from loominal.local.weft_api import answers, listing, not_ready
from loominal.weft.api.doors import BODY_BYTES
from loominal.weft.api.tokens import hash_of
from loominal.weft.main import main
from tests.integration.conftest import NatsServer
from tests.integration.fabric import Fabric
from tests.patience import SOON
from tests.ports import free_port

Json = Any  # Any: answers as they are on the wire
TEXT = "lmn_" + "a-token-of-the-file" * 2


class Answer:
    """What came back; every answer has a request id, and no answer lets a web page of another place read it."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        body = response.read()
        self.status, self.headers = response.status, response.headers
        self.json: Json = json.loads(body or b"null")
        assert self.headers["x-request-id"]
        assert not [name for name in self.headers if name.lower().startswith("access-control")]
        if self.status >= 400:
            assert self.headers["content-type"] == "application/problem+json", body
            assert self.json["requestId"] == self.headers["x-request-id"]
            assert self.json["status"] == self.status

    @property
    def code(self) -> str:
        return str(self.json["code"])


class Door:
    """The HTTP interface of a home's weft."""

    def __init__(self, home: Path) -> None:
        runtime = read_runtime(home)
        assert runtime is not None
        self.home = home
        self.url = urlsplit(runtime.api_url)
        self.own = (home / "api.token").read_text().strip()

    def ask(
        self,
        path: str,
        *,
        bearer: str = "",
        method: str = "GET",
        body: Any = None,
        chunked: bool = False,
        **headers: str,
    ) -> Answer:
        """Ask with exactly these headers; `_` stands for `-`, and Host is the right one unless it is given."""
        # Any: whatever http.client sends
        connection = http.client.HTTPConnection(self.url.netloc, timeout=SOON)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        try:
            connection.request(method, path, body=body, headers=sent, encode_chunked=chunked)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def projects(self, bearer: str) -> int:
        """Return the status of asking for the projects with a bearer token."""
        return self.ask("/api/projects", bearer=bearer).status


@pytest.fixture
def door(fabric: Fabric) -> Door:
    return Door(fabric.home)


def run(home: Path, *arguments: str, **environ: str) -> Result:
    """Run `weft …` in this process."""
    return CliRunner().invoke(main, arguments, env={"LOOMINAL_HOME": str(home), **environ})


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4280",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "x@localhost",
        "[::1",
        "",
        "8.8.8.8",
    ],
)
def test_a_host_that_is_not_ours_is_refused_before_anything_else(door: Door, host: str) -> None:
    for path in ("/health", "/api/projects", "/nowhere"):
        refused = door.ask(path, bearer=door.own, Host=host)
        assert (refused.status, refused.code) == (421, "invalid_argument")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:4280", "[::1]:80"])
def test_this_machine_is_reached_by_each_of_its_names_on_whatever_port(door: Door, host: str) -> None:
    assert door.ask("/health", Host=host).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1", "x", "http://["]
)
def test_a_page_of_another_place_may_not_ask(door: Door, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        refused = door.ask("/api/projects", bearer=door.own, method=method, Origin=origin)
        assert (refused.status, refused.code) == (403, "forbidden")


def test_a_page_of_our_own_may_ask(door: Door) -> None:
    assert door.ask("/api/projects", bearer=door.own, Origin=f"http://{door.url.netloc}").status == 200


def test_a_request_is_called_as_its_client_does_if_that_is_a_name(door: Door) -> None:
    assert door.ask("/health", X_Request_Id="build-7.1").headers["x-request-id"] == "build-7.1"
    for given in ("", "a b", "x" * 65, "a\tb", "é"):
        made = door.ask("/health", X_Request_Id=given).headers["x-request-id"]
        assert made != given
        assert len(made) == 32


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(door: Door, chunked: bool) -> None:
    piece = b"x" * (1 << 16)
    pieces = [b'{"description": "'] + [piece] * (BODY_BYTES // len(piece)) + [b'"}']
    body: Any = iter(pieces) if chunked else b"".join(pieces)  # Any: what http.client takes

    refused = door.ask(
        "/api/work?projectId=p",
        bearer=door.own,
        method="POST",
        body=body,
        chunked=chunked,
        Content_Type="application/json",
    )

    assert (refused.status, refused.code) == (413, "too_large")


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer lmn_wrong", "bearer {own}x", "{own}"])
def test_without_a_good_bearer_token_nothing_is_told(door: Door, shown: str) -> None:
    refused = door.ask("/api/projects", Authorization=shown.format(own=door.own))

    assert (refused.status, refused.code) == (401, "forbidden")
    assert refused.headers["www-authenticate"] == "Bearer"


def test_a_refusal_says_what_to_do_next(door: Door) -> None:
    told = door.ask("/api/work?status=finished", bearer=door.own)
    assert told.json["hint"].startswith("status is one of scheduled, blocked, ready, claimed, done")
    refused = door.ask("/api/targets", bearer=door.own, method="POST", body='{"name": "here", "projectId": "shop"}')
    assert (refused.status, refused.json["hint"]) == (422, "give ?projectId=… in the URL")


def test_the_page_of_the_documentation_says_of_each_route_what_it_does_and_takes(door: Door) -> None:
    connection = http.client.HTTPConnection(door.url.netloc, timeout=SOON)
    connection.request("GET", "/api/docs", headers={"Authorization": f"Bearer {door.own}"})
    page = connection.getresponse().read().decode()
    connection.close()

    assert "<code>POST /api/work</code></dt><dd>Offer an item." in page
    assert "<br>body: taskId, <b>description</b>, " in page
    assert "</dt><dd>Return a page of items, newest submission first.<br>query: projectId, status" in page
    assert "<dd><br>" not in page
    assert "<dd></dd>" not in page


def test_a_token_is_made_shown_once_listed_and_revoked_while_weft_runs(fabric: Fabric, door: Door) -> None:
    made = run(fabric.home, "token", "create", "ci", "--role", "observer", "--project", "shop", "--expires", "1h")
    text = made.stdout.strip()
    assert (made.exit_code, text[:4], len(text.split())) == (0, "lmn_", 1)
    assert text not in made.stderr
    eventually(lambda: door.projects(text) == 200)
    assert door.ask("/api/work?projectId=other", bearer=text).status == 403
    again = run(fabric.home, "token", "create", "ci")
    assert (again.exit_code, again.stdout) == (1, "")

    listed = json.loads(run(fabric.home, "token", "list", "--json").stdout)
    [ci] = [each for each in listed["tokens"] if each["name"] == "ci"]
    assert (ci["role"], ci["projects"], ci["good"], ci["source"]) == ("observer", ["shop"], True, "registry")
    assert text not in json.dumps(listed)

    assert run(fabric.home, "token", "revoke", "ci").exit_code == 0
    eventually(lambda: door.projects(text) == 401)
    assert "revoked" in run(fabric.home, "token", "list").stdout
    fresh = json.loads(run(fabric.home, "token", "create", "ci", "--json").stdout)
    eventually(lambda: door.projects(fresh["token"]) == 200)
    assert door.projects(text) == 401
    for secret in (text, fresh["token"], door.own):
        assert secret not in fabric.weft_log.read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "local"), 2),
        (("create", "No Name"), 2),
        (("create", "x", "--role", "boss"), 2),
        (("create", "x", "--project", "No Project"), 2),
        (("create", "x", "--expires", "0s"), 2),
        (("create", "x", "--expires", "99999d"), 2),
        (("create", "x", "--expires", "soon"), 2),
        (("revoke", "nobody"), 3),
        (("revoke", "local"), 4),
    ],
)
def test_what_no_token_can_be_is_refused(fabric: Fabric, arguments: tuple[str, ...], code: int) -> None:
    refused = run(fabric.home, "token", *arguments)

    assert (refused.exit_code, refused.stdout) == (code, "")
    assert "Traceback" not in refused.stderr


def test_where_no_fabric_runs_there_are_no_tokens(tmp_path: Path) -> None:
    refused = run(tmp_path, "token", "list")

    assert refused.exit_code == 2
    assert "loominal up" in refused.stderr


def test_weft_file_tls_and_rate(private_fabric: Fabric) -> None:
    fabric = private_fabric
    files = ensure_certificates(fabric.home / "tls", ["weft.example"], datetime.now(UTC))
    file = fabric.home / "weft.toml"
    file.write_text(
        f'[[tokens]]\nname = "ci"\nsha256 = "{hash_of(TEXT)}"\nrole = "operator"\nprojects = ["shop"]\n'
        "[policy]\ncrossProject = false\n[policy.boundaries.lab]\n"
    )
    file.chmod(0o600)
    fabric.weft_environment = {
        "API_HOST": "0.0.0.0",
        "API_HOSTS": "weft.example",
        "API_TLS_CERT": str(files.server),
        "API_TLS_KEY": str(files.server),
        "API_RATE": "1",
    }
    fabric.start_broker()
    fabric.start_weft(wait=False)

    eventually(lambda: not_ready(fabric.home) == [])

    runtime = read_runtime(fabric.home)
    assert runtime is not None
    assert runtime.api_url.startswith("https://127.0.0.1:")
    eventually(lambda: bool(listing(runtime).wefts))
    context = ssl.create_default_context(cafile=files.ca)
    context.check_hostname = False
    place = urlsplit(runtime.api_url).netloc

    def ask(path: str, host: str = "weft.example") -> Answer:
        connection = http.client.HTTPSConnection(place, timeout=SOON, context=context)
        connection.request("GET", path, headers={"Authorization": f"Bearer {TEXT}", "Host": host})
        try:
            return Answer(connection.getresponse())
        finally:
            connection.close()

    policy = ask("/api/policy")
    assert (policy.status, list(policy.json["boundaries"]), policy.json["crossProject"]) == (200, ["lab"], False)
    limited = ask("/health")
    while limited.status != 429:  # after two at once there is one a second
        limited = ask("/health")
    assert (limited.code, int(limited.headers["retry-after"])) == ("busy", 1)
    eventually(lambda: answers(runtime))  # another token has a rate of its own
    assert weft_api._get(msgspec.structs.replace(runtime, api_certificate="0" * 64), "/health") is None  # not even 429


def test_in_open_mode_weft_file_alone_has_tokens_and_policy(private_server: NatsServer, private_fabric: Fabric) -> None:
    fabric, url = private_fabric, private_server.url
    private_server.start()
    fabric.weft_environment = {"NATS_URL": url, "LOOMINAL_MODE": Mode.OPEN, "LOOMINAL_PROJECT_ID": "shop"}
    update_runtime(fabric.home, lambda _: Runtime(mode=Mode.OPEN, url=url, started_at=datetime.now(UTC)))
    made = run(
        fabric.home, "token", "create", "ci", "--role", "operator", "--project", "shop", **fabric.weft_environment
    )
    lines = made.stderr[made.stderr.index("[[tokens]]") :]
    file = fabric.home / "weft.toml"
    file.write_text(lines + "[policy.boundaries.lab]\n")
    file.chmod(0o600)

    fabric.start_weft()

    door = Door(fabric.home)
    assert door.projects(made.stdout.strip()) == 200
    assert list(door.ask("/api/policy", bearer=made.stdout.strip()).json["boundaries"]) == ["lab"]
    refused = run(fabric.home, "token", "revoke", "ci", **fabric.weft_environment)
    assert refused.exit_code == 4
    assert str(file) in refused.stderr
    assert "ci" in run(fabric.home, "token", "list", **fabric.weft_environment).stdout


def test_weft_does_not_start_where_others_could_read_bearer_tokens(tmp_path: Path) -> None:
    environ = {"LOOMINAL_HOME": str(tmp_path), "API_PORT": str(free_port()), "API_HOST": "0.0.0.0"}
    command = [sys.executable, "-m", "loominal.weft.main"]

    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SOON, check=False)

    assert ended.returncode == 2
    assert "API_INSECURE=1" in ended.stderr
    assert "Traceback" not in ended.stderr
