"""Mechanisms: the ways of starting agents, and what each has to be told. Pure values; `weft/mechanisms` does it.

Every text here may come from anybody who may set a target, so each is bounded to what the place it ends in takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

import msgspec

from loominal.model.agent import JsonObject
from loominal.model.errors import InvalidArgument
from loominal.model.mistakes import Mistake
from loominal.model.names import one_line, shown

MOST_WORDS = 256  # of a command
MOST_VARIABLES = 200
MOST_INPUTS = 20  # of a workflow
LONGEST_TEXT = 32_768  # one word of a command or one value: less than Linux takes (MAX_ARG_STRLEN, 128 KiB)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
OURS = re.compile(r"(LOOMINAL_|LD_|PYTHON|NATS_|BASH_ENV$|ENV$|IFS$|PATH$)", re.IGNORECASE)  # never set by a target
PLACEHOLDER = re.compile(r"\{(launchId|targetName|agentType|workId|capabilities|enrolment)\}")


def _like(pattern: str, called: str, most: int | None = None) -> msgspec.Meta:
    r"""Return what a text has to look like, and what people call it, by which those that are none are told of.

    Patterns end with \Z: a $ would let a line break pass at the end. Texts that may be secrets are not called anything.
    """
    return msgspec.Meta(pattern=pattern, description=called or None, max_length=most)


Word = Annotated[str, _like(r"^[^\x00]*\Z", "", LONGEST_TEXT)]
Command = Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=MOST_WORDS)]
Words = Annotated[tuple[Word, ...], msgspec.Meta(max_length=MOST_WORDS)]
Path = Annotated[str, _like(r"^[^\x00\r\n]*\Z", "path", 4096)]
Directory = Annotated[str, _like(r"^(/[^\x00\r\n]*)?\Z", "path from the root on", 4096)]
HostName = Annotated[  # no option, no user, no port: letters, digits, dots, hyphens; or an IPv6 address
    str,
    _like(
        r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\Z",
        "name or address of a machine",
        253,
    ),
]
UserName = Annotated[str, _like(r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z", "name of a user")]
DnsLabel = Annotated[str, _like(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", "name of a namespace")]
DnsName = Annotated[str, _like(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?\Z", "name that Kubernetes takes", 253)]
Image = Annotated[str, _like(r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*\Z", "name of an image", 512)]
Repo = Annotated[str, _like(r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_.-]{1,100}\Z", "repository: write OWNER/NAME")]
Workflow = Annotated[str, _like(r"^([0-9]{1,20}|[A-Za-z0-9_.-]{1,200}\.ya?ml)\Z", "workflow: write its file's name")]
GitRef = Annotated[str, _like(r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,244}\Z", "branch or tag")]
Url = Annotated[str, _like(r"^https?://[^\s\x00-\x1f\\@]+\Z", "URL: write https://… without a user", 2048)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Mechanism(StrEnum):
    """A way to start agents."""

    LOCAL = "local"
    SSH = "ssh"
    KUBERNETES = "kubernetes"
    GITHUB_ACTIONS = "github-actions"
    WEBHOOK = "webhook"


class HttpMethod(StrEnum):
    """How a webhook is called."""

    POST = "POST"
    PUT = "PUT"


class _Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a mechanism has to be told."""


class LocalConfig(_Config, frozen=True, kw_only=True):
    """A process on the machine of the weft that is called `host`; set without one, of the weft that took it."""

    command: Command
    cwd: Directory = ""
    env: dict[str, Word] = {}
    host: str = ""


class SshConfig(_Config, frozen=True, kw_only=True):
    """A process on another machine, started over SSH with the machine owner's keys."""

    host: HostName
    user: UserName
    port: Port = 22
    identity_file: Path = ""
    known_hosts_file: Path = ""
    command: Command
    cwd: Directory = ""
    env: dict[str, Word] = {}
    connect_timeout_seconds: Seconds = 30.0


class KubernetesConfig(_Config, frozen=True, kw_only=True):
    """A Job of one pod."""

    namespace: DnsLabel
    image: Image
    command: Words = ()
    args: Words = ()
    env: dict[str, Word] = {}
    resources: dict[str, dict[str, str]] = {}
    service_account: DnsName | None = None
    image_pull_secret: DnsName | None = None
    context: str = ""
    kubeconfig: Path = ""
    ttl_seconds_after_finished: Annotated[int, msgspec.Meta(ge=0, le=7 * 86_400)] = 300
    active_deadline_seconds: Annotated[int, msgspec.Meta(ge=1, le=30 * 86_400)] | None = None


class GithubConfig(_Config, frozen=True, kw_only=True):
    """A run of a workflow."""

    repo: Repo
    workflow: Workflow
    ref: GitRef = "main"
    inputs: dict[str, Word] = {}
    token_env: str = "GITHUB_TOKEN"
    api_url: Url = "https://api.github.com"


class WebhookConfig(_Config, frozen=True, kw_only=True):
    """A request to whoever starts agents; values of the body may name what is started, in braces."""

    url: Url
    method: HttpMethod = HttpMethod.POST
    headers: dict[str, str] = {}
    body: JsonObject = {}
    secret_env: str = ""
    success_codes: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=50)] = (200, 201, 202)
    timeout_seconds: Seconds = 30.0


Config: TypeAlias = LocalConfig | SshConfig | KubernetesConfig | GithubConfig | WebhookConfig
CONFIGS: dict[Mechanism, type[Config]] = {
    Mechanism.LOCAL: LocalConfig,
    Mechanism.SSH: SshConfig,
    Mechanism.KUBERNETES: KubernetesConfig,
    Mechanism.GITHUB_ACTIONS: GithubConfig,
    Mechanism.WEBHOOK: WebhookConfig,
}
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, 5.6.2
OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type"})


def checked_config(mechanism: Mechanism, config: msgspec.Raw | bytes) -> Config:
    """Return what `config`, as JSON, tells the mechanism.

    Raises: InvalidArgument, naming the field, for what the mechanism cannot be told.
    """
    try:
        found = msgspec.json.decode(config, type=CONFIGS[mechanism])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"config: {one_line(str(error))}",
            f"{mechanism} takes {', '.join(CONFIGS[mechanism].__struct_encode_fields__)}",
        ) from error
    for mistake in config_faults(found):
        raise InvalidArgument(str(mistake), mistake.hint)
    return found


def config_faults(config: Config) -> Iterator[Mistake]:
    """Yield what the mechanism cannot be told although it is of its type."""
    if isinstance(config, (LocalConfig, SshConfig, KubernetesConfig)):
        yield from _env_faults(config.env)
    if isinstance(config, (LocalConfig, SshConfig)) and config.command[0].startswith("-"):
        yield Mistake("config.command", f"{shown(config.command[0])} is an option, not a program")
    if isinstance(config, WebhookConfig):
        yield from _url_faults("config.url", config.url)
        yield from _webhook_faults(config)
    if isinstance(config, GithubConfig):
        yield from _url_faults("config.apiUrl", config.api_url)
    if isinstance(config, GithubConfig) and len(config.inputs) > MOST_INPUTS:
        yield Mistake("config.inputs", f"at most {MOST_INPUTS}", "GitHub takes 25, of which Loominal needs some")
    for place, name in (
        ("config.tokenEnv", getattr(config, "token_env", "")),
        ("config.secretEnv", getattr(config, "secret_env", "")),
    ):
        if name and not VARIABLE.fullmatch(name):
            yield Mistake(place, f"{shown(name)} is no name of a variable")


def _env_faults(env: dict[str, str]) -> Iterator[Mistake]:
    if len(env) > MOST_VARIABLES:
        yield Mistake("config.env", f"at most {MOST_VARIABLES} variables")
    for name in env:
        if not VARIABLE.fullmatch(name):
            yield Mistake("config.env", f"{shown(name)} is no name of a variable")
        elif OURS.match(name):
            yield Mistake("config.env", f"{name} is not for a target to set", "the machine's owner can")


def _url_faults(place: str, url: str) -> Iterator[Mistake]:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, a port or letters that no address has
        named = False
    if not named:
        yield Mistake(place, f"{shown(url)} names no host, or no port of one")


def _webhook_faults(config: WebhookConfig) -> Iterator[Mistake]:
    for name, value in config.headers.items():
        if not HEADER.fullmatch(name) or name.lower() in OWN_HEADERS:
            yield Mistake("config.headers", f"{shown(name)} cannot be set")
        elif not value.isprintable() or not value.isascii():
            yield Mistake("config.headers", f"the value of {name} has characters that no header can have")
    for code in config.success_codes:
        if not 200 <= code <= 299:
            yield Mistake("config.successCodes", f"{code} is no success")
