"""The embedded broker's settings and its configuration file. Read by the embedded server."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec

from loominal.broker import subjects
from loominal.broker.keyring import Keyring
from loominal.model.errors import InvalidArgument
from loominal.model.names import shown

GIB = 1 << 30
STORE_BYTES = 20 * GIB  # as much as a fabric on one machine may keep
SPARE_BYTES = GIB  # left to everything else on the disk
LEAST_STORE_BYTES = 16 << 20  # below that nothing useful fits, and 0 would mean no limit
WHOLE_JWT = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]{86}")  # the last part is the signature
UNQUOTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


WILDCARDS = ("0.0.0.0", "::")


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedded broker is started with. Without a keyring it runs open: one account, everything on trust."""

    directory: Path
    port: int
    host: str = "127.0.0.1"
    keyring: Keyring | None = None
    max_file_bytes: int = GIB
    certificate: Path | None = None  # with its key: then everybody has to speak TLS

    @property
    def reached(self) -> str:
        """The address at which clients on this machine reach it."""
        return "127.0.0.1" if self.host in WILDCARDS else self.host

    @property
    def url(self) -> str:
        """Where clients on this machine connect."""
        host = f"[{self.reached}]" if ":" in self.reached else self.reached
        return f"{'tls' if self.certificate else 'nats'}://{host}:{self.port}"

    @property
    def store(self) -> Path:
        """Where streams are stored."""
        return self.directory / "store"

    @property
    def resolver(self) -> Path:
        """Where the broker keeps account JWTs that were pushed to it."""
        return self.directory / "jwt"

    @property
    def ports(self) -> Path:
        """Where the broker says that it listens."""
        return self.directory / "ports"

    @property
    def log(self) -> Path:
        """Where the broker logs to, and everything that it prints."""
        return self.directory / "nats.log"


def store_limit_bytes(directory: Path) -> int:
    """Return how many bytes the store in `directory` may grow to: 20 GiB, or less on a small disk.

    1 GiB of the disk is left free; what is stored already counts as room. The directory must exist.
    """
    used = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return max(min(shutil.disk_usage(directory).free + used - SPARE_BYTES, STORE_BYTES), LEAST_STORE_BYTES)


def config_text(settings: ServerSettings) -> str:
    """Return the text of the configuration file. Raises: InvalidArgument for a path that cannot stand in one."""
    return f"""\
server_name: loominal
host: {_quoted(settings.host)}
port: {settings.port}
ports_file_dir: {_quoted(settings.ports)}
log_file: {_quoted(settings.log)}
logtime_utc: true
log_size_limit: 10MB
log_max_num: 5
max_payload: 4MB
max_pending: 64MB
ping_interval: "10s"
jetstream {{
  store_dir: {_quoted(settings.store)}
  sync_interval: always
  max_mem: 256MB
  max_file: {settings.max_file_bytes}
  limits {{ default_max_consumers: 100000 }}
}}
{tls_text(settings.certificate) if settings.certificate else ""}\
{operator_text(settings.keyring, settings.resolver) if settings.keyring else ""}"""


def tls_text(certificate: Path) -> str:
    """Return the part of a configuration file that makes everybody speak TLS; `certificate` holds its key, too."""
    return f"tls {{ cert_file: {_quoted(certificate)}, key_file: {_quoted(certificate)}, timeout: 5 }}\n"


def operator_text(keyring: Keyring, resolver: Path) -> str:
    """Return the part of a configuration file about operator and accounts; their JWTs are kept in `resolver`.

    An account that the broker has a JWT of is not preloaded: the stored one may hold revocations that this would undo.
    After a power cut its file may be empty, for the broker does not sync it.
    `timeout`: an account that it has no JWT of is looked for in other servers of a cluster, by default for 2 s.
    """
    known = {keyring.system_public: keyring.system_jwt, keyring.fabric_public: keyring.account_jwt(subjects.FABRIC)}
    absent = {public: jwt for public, jwt in known.items() if not _holds_jwt(resolver / f"{public}.jwt")}
    preload = "\n".join(f"  {public}: {_quoted(jwt)}" for public, jwt in absent.items())
    return f"""\
operator: {_quoted(keyring.operator_jwt)}
system_account: {keyring.system_public}
resolver {{
  type: full
  dir: {_quoted(resolver)}
  allow_delete: true
  interval: "2m"
  timeout: "100ms"
}}
resolver_preload {{
{preload}
}}
"""


def _holds_jwt(path: Path) -> bool:
    return path.exists() and WHOLE_JWT.fullmatch(path.read_bytes().strip()) is not None


def _quoted(value: str | Path) -> str:
    text = str(value)
    if UNQUOTABLE.search(text):
        raise InvalidArgument(f"{shown(text)} holds control characters", "give the broker another directory")
    return json.dumps(text, ensure_ascii=False)
