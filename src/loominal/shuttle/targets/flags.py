"""The flags that say what a target is like: one table, from which commands, their help and their checks are made."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import click

from loominal.model.errors import InvalidArgument
from loominal.model.mechanism import Mechanism
from loominal.model.mistakes import Mistake
from loominal.model.names import shown
from loominal.model.times import duration_seconds
from loominal.shuttle.options import FleetCommand

COMMAND = "config.command"
HEALTH = "healthCheck.enabled"
NOTHING = ("",)  # what empties a list: `--tag ""`


def _one(read: Callable[[str], object]) -> Callable[[Sequence[str]], object]:
    """Return what reads a flag that is given once. It raises InvalidArgument."""

    def value(given: Sequence[str]) -> object:
        if len(given) > 1:
            raise InvalidArgument("it is given twice")
        return read(given[0])

    return value


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise InvalidArgument(f"{shown(text)} is no whole number")
    return int(text)


def _seconds(text: str) -> float:
    number = text.strip()
    return float(number) if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", number) else duration_seconds(number)


def _whole_seconds(text: str) -> float:
    seconds = _seconds(text)
    return int(seconds) if seconds == int(seconds) else seconds


def _object(text: str) -> object:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument("it is no JSON object")
    return found


def _shell_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"{error}", "quote it as in a shell, or give the command behind --") from error


def _list(given: Sequence[str]) -> object:
    return [] if tuple(given) == NOTHING else list(given)


def _codes(given: Sequence[str]) -> object:
    return [_whole(each) for each in given]


def _pairs(given: Sequence[str]) -> object:
    """Return NAME=VALUE as a table. What is wrong may be a secret, so nothing of it is repeated."""
    found: dict[str, str] = {}
    for text in () if tuple(given) == NOTHING else given:
        name, sign, value = text.partition("=")
        if not sign or ":" in name:
            raise InvalidArgument("one is not NAME=VALUE")
        if name in found:
            raise InvalidArgument(f"{shown(name)} is given twice")
        found[name] = value
    return found


class Flag(NamedTuple):
    """A flag: its name, where its value stands in a target, and how that is read of all that it was given."""

    name: str
    place: str
    metavar: str
    read: Callable[[Sequence[str]], object]
    line: str


TEXT, WHOLE, SECONDS = _one(str), _one(_whole), _one(_seconds)
COMMON = (
    Flag("--agent-type", "agentType", "TYPE", TEXT, "What its agents are: claude-code, codex, exec, …"),
    Flag("--capability", "capabilities", "NAME…", _list, "What they can do."),
    Flag("--boundary", "boundaries", "NAME…", _list, "Whose work they may take."),
    Flag("--description", "description", "TEXT", TEXT, "For people."),
    Flag("--tag", "tags", "NAME…", _list, "For people."),
    Flag("--max-concurrent", "maxConcurrent", "N", WHOLE, "Agents there at the same time; 1."),
    Flag("--cooldown", "cooldownSeconds", "TIME", SECONDS, "Between two starts; 30s."),
    Flag("--idle", "idleSeconds", "TIME", SECONDS, "Without work, then an agent is ended; 5m."),
    Flag("--boot-timeout", "bootTimeoutSeconds", "TIME", SECONDS, "Until a started agent must have come; 2m."),
    Flag("--health-interval", "healthCheck.intervalSeconds", "TIME", SECONDS, "Between two health checks; 5m."),
    Flag("--health-timeout", "healthCheck.timeoutSeconds", "TIME", SECONDS, "That one may take; 10s."),
)
WORDS = Flag("--command", COMMAND, "TEXT", _one(_shell_words), "The command, quoted as in a shell; or behind --.")
DIRECTORY = Flag("--cwd", "config.cwd", "DIR", TEXT, "Where it runs, from the root on.")
ENVIRONMENT = Flag(
    "--env", "config.env", "NAME=VALUE…", _pairs, "Its variables; an empty VALUE is weft's own, if weft.toml lets it."
)
FLAGS: dict[Mechanism, tuple[Flag, ...]] = {
    Mechanism.LOCAL: (
        WORDS,
        DIRECTORY,
        ENVIRONMENT,
        Flag("--host", "config.host", "NAME", TEXT, "The machine whose weft starts it; default: where it was set."),
    ),
    Mechanism.SSH: (
        Flag("--host", "config.host", "NAME", TEXT, "The machine."),
        Flag("--user", "config.user", "NAME", TEXT, "As whom."),
        Flag("--port", "config.port", "N", WHOLE, "22 unless said."),
        WORDS,
        DIRECTORY,
        ENVIRONMENT,
        Flag("--identity-file", "config.identityFile", "FILE", TEXT, "The private key, where weft runs."),
        Flag("--known-hosts-file", "config.knownHostsFile", "FILE", TEXT, "Of weft's machine as well."),
        Flag("--connect-timeout", "config.connectTimeoutSeconds", "TIME", SECONDS, "30s unless said."),
    ),
    Mechanism.KUBERNETES: (
        Flag("--namespace", "config.namespace", "NAME", TEXT, "Where its Jobs are made."),
        Flag("--image", "config.image", "NAME", TEXT, "What they run."),
        WORDS._replace(line="Instead of the image's own; or behind --."),
        Flag("--arg", "config.args", "TEXT…", _list, "Arguments of the image's own command."),
        ENVIRONMENT,
        Flag("--resources", "config.resources", "JSON", _one(_object), 'Such as {"requests": {"cpu": "1"}}.'),
        Flag("--service-account", "config.serviceAccount", "NAME", TEXT, "As whom its pods run."),
        Flag("--image-pull-secret", "config.imagePullSecret", "NAME", TEXT, "Of a private registry."),
        Flag("--context", "config.context", "NAME", TEXT, "Of the kubeconfig."),
        Flag("--kubeconfig", "config.kubeconfig", "FILE", TEXT, "Where weft runs; default: the cluster it runs in."),
        Flag("--ttl-seconds", "config.ttlSecondsAfterFinished", "TIME", _one(_whole_seconds), "Jobs are kept; 5m."),
        Flag("--active-deadline", "config.activeDeadlineSeconds", "TIME", _one(_whole_seconds), "Jobs may run."),
    ),
    Mechanism.GITHUB_ACTIONS: (
        Flag("--repo", "config.repo", "OWNER/NAME", TEXT, "Whose workflow it is."),
        Flag("--workflow", "config.workflow", "FILE", TEXT, "Such as loominal-agent.yml."),
        Flag("--ref", "config.ref", "NAME", TEXT, "Branch or tag; main."),
        Flag("--input", "config.inputs", "NAME=VALUE…", _pairs, "Inputs of the workflow; others can read them."),
        Flag("--token-env", "config.tokenEnv", "NAME", TEXT, "Variable of weft's with the token; GITHUB_TOKEN."),
        Flag("--api-url", "config.apiUrl", "URL", TEXT, "https://api.github.com unless said."),
    ),
    Mechanism.WEBHOOK: (
        Flag("--url", "config.url", "URL", TEXT, "Whom to ask."),
        Flag("--method", "config.method", "POST|PUT", TEXT, "POST unless said."),
        Flag("--header", "config.headers", "NAME=VALUE…", _pairs, "Of the request."),
        Flag("--body", "config.body", "JSON", _one(_object), "Texts in it may hold {launchId}, {enrolment}, …"),
        Flag("--secret-env", "config.secretEnv", "NAME", TEXT, "Variable of weft's with which the body is signed."),
        Flag("--success-code", "config.successCodes", "N…", _codes, "200, 201 and 202 unless said."),
        Flag("--timeout", "config.timeoutSeconds", "TIME", SECONDS, "For the answer; 30s."),
    ),
}
EVERY = {flag.name: flag for flags in (COMMON, *FLAGS.values()) for flag in flags}


class Given(NamedTuple):
    """What a command line says of a target: flags by their name, --health-check, and the words behind `--`."""

    flags: Mapping[str, Sequence[str]]
    health_check: bool | None = None
    behind: Sequence[str] = ()

    @property
    def anything(self) -> bool:
        """Whether it says anything."""
        return bool(self.flags or self.behind) or self.health_check is not None


class TargetCommand(FleetCommand):
    """A command that takes every flag of the table; its function gets what they say as `given`."""

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)
        self.params += [click.Option([name], multiple=True) for name in EVERY]
        checks = "Whether it is looked at regularly."
        self.params.append(click.Option(["--health-check/--no-health-check"], default=None, help=checks))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is behind `--` as it is."""
        before, behind = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
        rest = super().parse_args(ctx, before)
        said = {name: ctx.params.pop(name[2:].replace("-", "_")) for name in EVERY}
        flags = {name: texts for name, texts in said.items() if texts}
        ctx.params["given"] = Given(flags, ctx.params.pop("health_check"), behind)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what follows its name."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]

    def sections(self, ctx: click.Context) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return the flags of every target, then those of each mechanism."""
        (title, own), shared = super().sections(ctx)
        own = [line for line in own if line[0].split()[0] not in EVERY]
        lines = [(title, [*own[:-1], *_lines(COMMON), *own[-1:]])]  # --help stays the last
        return [*lines, *((f"Of --mechanism {name}", _lines(flags)) for name, flags in FLAGS.items()), shared]


def _lines(flags: Sequence[Flag]) -> list[tuple[str, str]]:
    return [(f"{flag.name} {flag.metavar}", flag.line) for flag in flags]


class Said:
    """What the flags of one command say of a target of one mechanism."""

    def __init__(self, mechanism: Mechanism, given: Given) -> None:
        self.mechanism = mechanism
        self.values: dict[str, object] = {}  # by their place
        self.mistakes: list[Mistake] = []
        if given.health_check is not None:
            self.values[HEALTH] = given.health_check
        own = {flag.name: flag for flag in (*COMMON, *FLAGS[mechanism])}
        for name in dict.fromkeys((*given.flags, *((WORDS.name,) if given.behind else ()))):
            try:
                if name not in own:
                    others = " or ".join(each for each, flags in FLAGS.items() if name in {flag.name for flag in flags})
                    raise InvalidArgument(f"it is of the mechanism {others}, not of {mechanism}")
                self.values[own[name].place] = _read(own[name], given)
            except InvalidArgument as error:
                self.mistakes.append(Mistake(name, error.message, error.hint))


def _read(flag: Flag, given: Given) -> object:
    if flag.name != WORDS.name or not given.behind:
        return flag.read(given.flags[flag.name])
    if flag.name in given.flags:
        raise InvalidArgument("the command stands behind -- already")
    return list(given.behind)


def flag_at(place: str) -> str:
    """Return the flag that sets what is at a place of a target, else the place itself."""
    whole = {"mechanism": "--mechanism", "name": "NAME", HEALTH: "--health-check"}
    whole |= {flag.place: flag.name for flag in EVERY.values()}
    parts = re.split(r"[.\[]", place)
    for kept in range(len(parts), 0, -1):
        if (start := ".".join(parts[:kept])) in whole:
            return whole[start]
    return place or "it"
