"""What `local` and `ssh` have in common: the script that starts, shows and ends a process (`launching.sh`).

The script comes to a shell on its standard input, so no value of a target and no secret is ever an argument of a
program, except the command's own words. Each value is quoted; nothing is put together from parts.
"""

from __future__ import annotations

import math
import re
import secrets
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from loominal.model.errors import Forbidden, StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition, Seen
from loominal.model.names import one_line, shown
from loominal.weft.mechanisms.conversation import Answer

SCRIPT = Path(__file__).with_name("launching.sh")
START_SECONDS = 20.0  # a command has started after 0.5 s; a start that another weft makes is awaited for 10 s
LOOK_SECONDS = 15.0
FORCE_SECONDS = 10.0  # beyond the grace: for what was killed to be gone
ENROLMENT = re.compile(r"loominal-[A-Za-z0-9_-]{40,}")  # as `fabric/invitation.py` writes them
SHELLS_OWN = frozenset({"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "OPTIND"})  # some shell lets nobody set them
WHY = {
    "cwd": ("the working directory {cwd} cannot be entered", "config.cwd names another"),
    "missing": ("there is no program {program}", "install it there, or name it with its whole path"),
    "not-executable": ("{program} cannot be executed", "chmod +x it, or name another"),
    "home": ("the folder for launches cannot be written", "disk, owner and mode of LOOMINAL_HOME there"),
    "stopped": ("it was asked to end before it began", "launch again"),
    "interrupted": ("whatever was starting it was killed", "launch again"),
}


class Channel(StrEnum):
    """How an agent gets its enrolment."""

    STDIN = "stdin"  # its first line; LOOMINAL_ENROLMENT is "-"
    ENVIRONMENT = "environment"


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What the script is about."""

    launch: str = ""
    home: str = ""  # of the fabric; "": where the user there has it
    command: tuple[str, ...] = ()
    cwd: str = ""
    variables: Mapping[str, str] = {}
    channel: Channel = Channel.STDIN
    enrolment: str = ""

    def __repr__(self) -> str:
        return f"Deed({self.launch})"


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a shell is to read, how it marks its answer, and how long it may take once it has begun."""

    text: bytes
    nonce: str
    title: str  # for whoever looks at the processes there
    seconds: float

    def __repr__(self) -> str:
        return f"Script({self.title})"


Ask = Callable[[Script], Awaitable[Answer]]  # raises StartFailed if there was no shell: nothing was done


async def start(ask: Ask, deed: Deed) -> str:
    """Start the command, once for each launch, and return its reference, "pid:start time".

    Raises: StartFailed, Unconfirmed.
    """
    if own := sorted(SHELLS_OWN & deed.variables.keys()):
        raise StartFailed(f"a shell lets nobody set {', '.join(own)}", "leave it out of config.env")
    answer = await ask(_script("start", deed, START_SECONDS))
    match answer.words:
        case ("started", _, reference):
            return reference
        case ("failed", *reason):
            raise StartFailed(*_why(reason, deed, answer), output=_redacted(answer.output, deed.enrolment))
    raise Unconfirmed(f"whether the command has started is not known: {_silence(answer)}")


async def look(ask: Ask, launch: str, home: str = "") -> Seen:
    """Return where the command of `launch` stands. Raises: Unreachable."""
    answer = await _known(ask, _script("look", Deed(launch=launch, home=home), LOOK_SECONDS))
    output = _redacted(answer.output)
    match answer.words:
        case ("running", _, *reference):
            return Seen(condition=Condition.RUNNING, reference="".join(reference), output=output)
        case ("ended", code, *reference) if code.isdecimal():
            return Seen(
                condition=Condition.ENDED,
                reference="".join(reference),
                exit_code=int(code),
                detail=_exit(code),
                output=output,
            )
        case ("ended", "-", why, *_):
            return Seen(condition=Condition.ENDED, detail=f"it did not begin: {why}", output=output)
        case ("ended", *reference):
            detail = "how it ended is not known: whoever waited for it was killed, too"
            return Seen(condition=Condition.ENDED, reference="".join(reference), detail=detail, output=output)
        case ("gone",):
            return Seen(condition=Condition.GONE)
    raise Unreachable(f"launch {launch} cannot be looked at: {_silence(answer)}")


async def stop(ask: Ask, launch: str, home: str = "", *, grace_seconds: float) -> None:
    """End the command and all that it has started. Raises: Unreachable."""
    grace = math.ceil(max(grace_seconds, 0))
    script = _script("stop", Deed(launch=launch, home=home), grace + LOOK_SECONDS + FORCE_SECONDS, grace=grace)
    answer = await _known(ask, script)
    match answer.words:
        case ("stopped",):
            return
        case ("remains", *pids):
            raise Unreachable(f"of launch {launch} some processes cannot be ended: {' '.join(pids)}")
    raise Unreachable(f"whether launch {launch} has ended is not known: {_silence(answer)}")


async def check(ask: Ask, deed: Deed) -> str:
    """Return in one line that the command could be started. Raises: StartFailed with what is wrong."""
    answer = await ask(_script("check", deed, LOOK_SECONDS))
    match answer.words:
        case ("fine",):
            return f"{shown(deed.command[0])} can be started"
        case ("wrong", *reason):
            raise StartFailed(*_why(reason, deed, answer))
    raise StartFailed(f"the shell gave no answer: {_silence(answer)}")


async def _known(ask: Ask, script: Script) -> Answer:
    """Return the answer; one that nobody could give is Unreachable, as nothing is to be started."""
    try:
        return await ask(script)
    except (StartFailed, Forbidden) as error:
        raise Unreachable(error.message, error.hint) from error


def _script(verb: str, deed: Deed, seconds: float, *, grace: int = 0) -> Script:
    nonce = secrets.token_hex(16)
    values = {
        "nonce": nonce, "home": deed.home, "launch": deed.launch, "cwd": deed.cwd, "channel": deed.channel,
        "enrolment": deed.enrolment, "grace": str(grace),
    }  # fmt: skip
    lines = [
        f"unset {' '.join(values)}",  # a variable that came from outside would be handed on to the command
        *(f"{name}={shlex.quote(value)}" for name, value in values.items()),
        f"set -- {' '.join(map(shlex.quote, deed.command))}",
        "variables() {",
        ":",
        *(f"{name}={shlex.quote(value)} && export {name}" for name, value in deed.variables.items()),
        "}",
        SCRIPT.read_text("utf-8"),
        f'{verb} "$@"; exit',
        "",
    ]
    title = f"loominal {verb} {deed.launch}".rstrip()
    return Script(text="\n".join(lines).encode(), nonce=nonce, title=title, seconds=seconds)


def _why(reason: list[str], deed: Deed, answer: Answer) -> tuple[str, str]:
    """Return the message and the hint that tell why nothing runs."""
    code, word = [*reason, "", ""][:2]
    if code.isdecimal():
        program = shown(deed.command[0])
        return (
            f"{program} ended at once, {_exit(code)}",
            "its output says more: it has to stay as long as the agent does",
        )
    text, hint = WHY[word if word in WHY else "interrupted"]
    message = text.format(cwd=shown(deed.cwd or "~"), program=shown(deed.command[0]))
    said = f" ({one_line(answer.errors.strip())})" if word == "home" and answer.errors.strip() else ""
    return message + said, hint


def _exit(code: str) -> str:
    """Return an exit code in words; a shell adds 128 to the signal that ended a command."""
    named = {each.value + 128: f" ({each.name})" for each in signal.Signals}
    return f"exit code {code}{named.get(int(code), '')}"


def _silence(answer: Answer) -> str:
    said = one_line(_redacted(answer.errors).strip())
    if answer.words:
        return "somebody else has been starting it for long"
    return said or ("no answer came in time" if answer.overdue else "the connection ended")


def _redacted(text: str, secret: str = "") -> str:
    """Return `text` without enrolments, which an agent may have printed."""
    plain = text.replace(secret, "[enrolment]") if secret else text
    return ENROLMENT.sub("[enrolment]", plain)
