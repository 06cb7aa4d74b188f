"""Work items and dead letters as lines of text. `renderers` comes here."""

from __future__ import annotations

from collections.abc import Iterable

from loominal.fabric.operations.dead_letters import DeadLetter
from loominal.fabric.operations.work import Claimed, FailureView, WorkDetail, WorkView
from loominal.warp.text import at, facts, flat, json_line, listed, name, one_line, quoted


def claimed(view: Claimed) -> list[str]:
    """Return what was claimed, or why nothing was."""
    note = [one_line(view.note)] if view.note else []
    if not view.work:
        return ["Nothing claimed.", *note]
    return ["Yours now; do it, then complete_work, fail_work or release_work:", *flat(map(held, view.work)), *note]


def held(item: WorkView) -> list[str]:
    """Return an item with everything its holder needs."""
    return [
        _headline(item),
        *quoted(item.description),
        *json_line("contextData", item.context_data),
        *_long(item),
    ]


def listed_item(item: WorkView) -> list[str]:
    """Return an item of a list."""
    progress = item.progress
    return [
        _headline(item),
        *quoted(item.description),
        *([f"waits: {one_line(item.waits_for)}"] if item.waits_for else []),
        *([f"progress {progress.percent or 0:g} % at {at(progress.at)}"] if progress else []),
        *(quoted(progress.message) if progress and progress.message else []),
    ]


def _headline(item: WorkView) -> str:
    return f"{item.id} " + facts(
        ("task", name(item.task_id)),
        ("", item.status or ""),
        ("needs", listed(item.capabilities)),
        ("boundary", name(item.boundary)),
        ("priority", item.priority),
        ("attempt", f"{item.attempt}/{item.max_attempts}"),
        ("offered by", item.offered_by),
        ("claimed by", item.claimed_by),
        ("deadline", at(item.deadline)),
        ("times out", at(item.timeout_at)),
        ("due", at(item.due_at)),
        ("depends on", listed(item.depends_on)),
        ("STOP:", "it was called off" if item.cancel_requested else ""),
    )


def detail(item: WorkDetail) -> list[str]:
    """Return an item with all that is known of it."""
    lines = [_headline(item), *quoted(item.description), *json_line("contextData", item.context_data)]
    if item.waits_for:
        lines.append(f"waits: {one_line(item.waits_for)}")
    if item.progress:
        lines += [f"progress {item.progress.percent or 0:g} %", *quoted(item.progress.message)]
    if item.summary:
        lines += ["summary:", *quoted(item.summary)]
    lines += json_line("result", item.result)
    for artifact in item.artifacts:
        lines += [f"artifact {artifact.kind}:", *quoted(f"{artifact.value} {artifact.note}".strip())]
    lines += _failures(item.errors)
    if item.dead_reason:
        lines.append(f"dead: {item.dead_reason}")
    for entry in item.history:
        lines.append(f"{at(entry.at)} {entry.move} by {entry.by}")
        lines += quoted(entry.note) if entry.note else []
    return [*lines, *_long(item)]


def letter(letter: DeadLetter) -> list[str]:
    """Return a dead letter."""
    about = facts(
        ("task", name(letter.task_id)),
        ("needs", listed(letter.capabilities)),
        ("dead:", letter.reason),
        ("attempts", letter.attempts),
        ("at", at(letter.failed_at)),
    )
    return [f"{letter.id} {about}", *_failures(letter.errors)]


def _failures(errors: Iterable[FailureView]) -> list[str]:
    return [line for each in errors for line in (f"error at {at(each.at)} by {each.by}:", *quoted(each.message))]


def _long(item: WorkView) -> list[str]:
    cut = ", ".join(f"{name} ({item.chars.get(name, 0)} characters)" for name in item.truncated)
    return [f"(cut: {cut}; read on with get_work, field and offset)"] if cut else []
