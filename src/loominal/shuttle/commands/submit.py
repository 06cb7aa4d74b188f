"""`shuttle submit`: offer an item, or all of a file of JSON lines, and with `--wait` stay until they have ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypeVar

import click
import msgspec

from loominal.fabric.operations.work import WorkDetail
from loominal.fabric.protocol import ENCODED_BYTES
from loominal.model.agent import JsonObject
from loominal.model.errors import InvalidArgument
from loominal.model.work import Notify, Status
from loominal.shuttle import completing
from loominal.shuttle.durations import seconds
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.offering.offers import Line, fields_of, offer_of, read_lines, refusal
from loominal.shuttle.offering.sending import Items, offer_lines, offer_one, show_plan
from loominal.shuttle.options import FleetCommand

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

F = TypeVar("F", bound=Callable[..., Any])  # Any: click's commands take and return what they like
MOST_TOLD = 50  # items, one by one


def _object(_: click.Context, __: click.Parameter, text: str | None) -> JsonObject | None:
    try:
        return msgspec.json.decode(text, type=JsonObject) if text else None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise click.BadParameter(f"it is no JSON object: {error}") from error


PRIORITY, ATTEMPTS = click.IntRange(1, 10), click.IntRange(1, 20)
TEXT_FILE = click.File(encoding="utf-8-sig", errors="surrogateescape")  # what is no text is refused with the offer
PLACES = click.Choice([each.value for each in Notify])
OF_AN_OFFER = (
    click.option("--capability", "-c", "capabilities", multiple=True, help="What is needed; all of them."),
    click.option("--boundary", "-b", help="Where it belongs; else `config default-boundary`, else personal."),
    click.option("--priority", type=PRIORITY, help="10 goes first; else `config default-priority`, else 5."),
    click.option("--task-id", help="Your own id: the same again is the same item."),
    click.option("--deadline", metavar="TIME", help="Dead unless done by then: a time, or a duration such as 2h."),
    click.option("--not-before", metavar="TIME", help="Ready only then: a time, or a duration."),
    click.option(
        "--depends-on",
        multiple=True,
        metavar="ID",
        help="Ready only when these are done.",
        shell_complete=completing.work_ids,
    ),
    click.option("--agent-type", "required_agent_type", metavar="TYPE", help="Only agents of this type may take it."),
    click.option("--prefer", "preferred_agent_type", metavar="TYPE", help="Agents of this type have a head start."),
    click.option(
        "--assign-to", metavar="HANDLE", help="Only this agent may take it.", shell_complete=completing.handles
    ),
    click.option(
        "--context", "context_data", callback=_object, metavar="JSON", help="What it needs to know: an object."
    ),
    click.option("--max-attempts", type=ATTEMPTS, help="Then it is a dead letter; 3 unless said."),
    click.option("--timeout", "timeout_seconds", callback=seconds, metavar="DURATION", help="Of one attempt; else 4h."),
    click.option("--notify", type=PLACES, help="Where you are told of its end; inbox unless said."),
)  # each has the name of its field


def _of_an_offer(command: F) -> F:
    for option in reversed(OF_AN_OFFER):
        command = option(command)
    return command


@click.command(
    cls=FleetCommand,
    help="Offer work to whoever can do it; its id is printed.\n\n"
    'Example: shuttle submit "Implement user authentication" --boundary personal --capability typescript --wait\n\n'
    "With --jsonl each line is an item, an object of the fields of POST /api/work; dependsOn may name the taskId of an"
    " earlier line, and the flags say what a line leaves unsaid. All are checked before the first is offered; the same"
    " file again offers the same items.\n\n"
    "Example: shuttle submit --jsonl plan.jsonl --capability python --dry-run",
)
@click.argument("text", required=False, metavar="[TEXT|-]")
@click.option("--file", "-f", type=TEXT_FILE, help="Read the text from here; - is stdin.")
@click.option("--jsonl", type=click.File("rb"), help="Offer each line of this file; - is stdin.")
@_of_an_offer
@click.option("--wait", is_flag=True, help="Stay until all have ended; exit 1 unless all are done.")
@click.option("--dry-run", is_flag=True, help="Only show what would be offered, and how many can take it.")
@click.pass_obj
def submit(
    fleet: Fleet,
    /,
    *,
    text: str | None,
    file: TextIO | None,
    jsonl: BinaryIO | None,
    wait: bool,
    dry_run: bool,
    **said: object,
) -> int:
    """Submit what is given."""
    if (text, file, jsonl).count(None) != 2:
        raise click.UsageError("Give the work as TEXT (- reads stdin), with --file, or many items with --jsonl.")
    if wait and dry_run:
        raise click.UsageError("--dry-run offers nothing to --wait for.")
    unsaid = _set(fleet) | fields_of(said)
    lines, name = _lines(jsonl, unsaid), jsonl.name if jsonl else ""
    if jsonl is None:
        lines = [Line(0, offer_of({**unsaid, "description": _description(text, file)}))]
    if dry_run:
        show_plan(fleet, lines, name)
        return 0
    if jsonl is not None:
        offered = offer_lines(fleet, lines, name, document=not wait)
    else:
        offered = [offer_one(fleet, lines[0].offer, document=not wait)]
    return _await_end(fleet, [each.id for each in offered], one=jsonl is None) if wait else 0


def _set(fleet: Fleet) -> dict[str, object]:
    """Return the fields that the settings say."""
    keys = {"boundary": "default-boundary", "priority": "default-priority"}
    return {field: value for field, key in keys.items() if (value := fleet.config.value(key)) is not None}


def _lines(file: BinaryIO | None, unsaid: dict[str, object]) -> list[Line]:
    if file is None:
        return []
    if "taskId" in unsaid:
        raise click.UsageError("--task-id is for one item; with --jsonl each line has its own.")
    lines, wrong = read_lines(iter(partial(file.readline, ENCODED_BYTES + 1), b""), unsaid)
    if wrong:
        raise refusal(wrong, file.name)
    if not lines:
        raise InvalidArgument(
            f"{file.name} holds no items", 'an item is a line such as {"description": "Fix the tests"}'
        )
    return lines


def _description(text: str | None, file: TextIO | None) -> str:
    read = text if text is not None and text != "-" else (file or sys.stdin).read(ENCODED_BYTES)
    if not read.strip():
        raise click.BadParameter("it is empty", param_hint="TEXT")
    return read


def _await_end(fleet: Fleet, ids: Sequence[str], *, one: bool) -> int:
    """Stay until all have ended, show what they came to, and return the exit code."""
    from loominal.shuttle.watching.displays import Bars, counted, display_on
    from loominal.shuttle.watching.watch import watch
    from loominal.shuttle.watching.watched import outcome

    display = None if fleet.quiet else display_on(sys.stderr, fleet)

    async def ask(agent: Agent) -> list[WorkDetail]:
        return await watch(fleet, agent, ids, display)

    details = fleet.run(ask)
    if isinstance(display, Bars):  # which are gone now
        told = [f"{each.id}  {each.status}  {outcome(each)}" for each in details]
        for line in told if len(told) <= MOST_TOLD else [counted(details)]:
            fleet.say(line)
    if fleet.wants_json:
        fleet.show_json(details[0] if one else Items(items=tuple(details)))
    return 0 if all(each.status is Status.DONE for each in details) else 1
