"""Questions to weft's HTTP interface: is it ready, which projects are there. `up`, `status` and `doctor` ask."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from loominal.broker.secret_file import read_secret
from loominal.fabric.runtime_file import Runtime, read_runtime

ANSWER_SECONDS = 3.0  # weft answers in a few ms; longer only on a machine that swaps


class _Ready(msgspec.Struct, frozen=True):
    reasons: list[str]


class _Activity(msgspec.Struct, frozen=True, rename="camel"):
    agents: int
    open_work: int


class ListedProject(msgspec.Struct, frozen=True, rename="camel"):
    """A project as weft lists it; `leader` is the weft that leads it, "" if none does or this one does not know."""

    project_id: str
    project: str
    leader: str = ""


class Listing(msgspec.Struct, frozen=True):
    """Every project, and the wefts that are alive."""

    projects: list[ListedProject] = []
    wefts: list[str] = []


def not_ready(home: Path) -> list[str]:
    """Return what keeps the fabric in `home` from serving, one line each; nothing if it serves."""
    runtime = read_runtime(home)
    if runtime is None:
        return ["no fabric runs here"]
    if not runtime.api_url:
        return [f"weft is not up yet; its log is {home / 'logs' / 'weft.log'}"]
    answer = _get(runtime, "/ready")
    if answer is None:
        return [f"weft does not answer at {runtime.api_url}; its log is {home / 'logs' / 'weft.log'}"]
    status, body = answer
    if status == 200:
        return []
    try:
        return msgspec.json.decode(body, type=_Ready).reasons
    except msgspec.DecodeError:
        return [f"{runtime.api_url} answered {status}, which is not weft's word"]


def answers(runtime: Runtime) -> bool:
    """Return whether weft itself is alive."""
    answer = _get(runtime, "/health") if runtime.api_url else None
    return answer is not None and answer[0] == 200


def in_use(runtime: Runtime | None) -> bool:
    """Return whether an agent is online or work is open, or nobody knows."""
    answer = _get(runtime, "/api/activity") if runtime is not None and runtime.api_url else None
    if answer is None or answer[0] != 200:
        return True
    try:
        known = msgspec.json.decode(answer[1], type=_Activity)
    except msgspec.DecodeError:
        return True
    return known.agents > 0 or known.open_work > 0


def listing(runtime: Runtime) -> Listing:
    """Return which projects and wefts there are; none if weft does not tell."""
    answer = _get(runtime, "/api/projects") if runtime.api_url else None
    if answer is None or answer[0] != 200:
        return Listing()
    try:
        return msgspec.json.decode(answer[1], type=Listing)
    except msgspec.DecodeError:
        return Listing()


class _Pinned(http.client.HTTPSConnection):
    """A connection to the one certificate that weft has said it shows, whatever name and issuer that has."""

    def __init__(self, place: str, fingerprint: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `connect` looks at the certificate itself
        super().__init__(place, timeout=ANSWER_SECONDS, context=context)
        self._fingerprint = fingerprint

    def connect(self) -> None:
        """Connect; nothing is sent before the certificate is known to be weft's. Raises: OSError."""
        super().connect()
        shown = self.sock.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(shown).hexdigest(), self._fingerprint):
            raise ssl.SSLCertVerificationError("that is not weft's certificate")


def _connection(runtime: Runtime) -> http.client.HTTPConnection:
    url = urlsplit(runtime.api_url)
    if url.scheme == "https":
        return _Pinned(url.netloc, runtime.api_certificate)
    return http.client.HTTPConnection(url.netloc, timeout=ANSWER_SECONDS)


def _get(runtime: Runtime, path: str) -> tuple[int, bytes] | None:
    """Return status and body; None if nobody answers. Goes straight to the address: a proxy knows nothing of it."""
    bearer = (read_secret(Path(runtime.token_file)) or "").strip() if runtime.token_file else ""
    connection = _connection(runtime)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
