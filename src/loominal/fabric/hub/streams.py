"""The streams behind a project, and the project's generation: one life of them, from creation to replacement."""

from __future__ import annotations

import uuid

import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Entry
from loominal.broker.log import Log, StreamSettings
from loominal.fabric.hub.project import Project
from loominal.model import record as records
from loominal.model.errors import Conflict, CorruptRecord, UpgradeNeeded

FORMAT = 1  # of everything stored; a hub of an older release does not lead a project written by a newer one
DAY_SECONDS = 86_400
DEDUPE_SECONDS = 30 * 60  # three times as long as a client asks again
PER_CHANNEL = 10_000
PER_ITEM = 64  # records; the oldest go first
GENERATION, FORMAT_KEY = "generation", "format"


class GenerationRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which life of the streams this is (key `generation`)."""

    v: int = records.version(1)
    id: str
    created: dict[str, str]  # stream -> the broker's word for when it was made


class FormatRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the project's records are written in (key `format`)."""

    v: int = records.version(1)
    format: int


async def ensure(project: Project, *, new_life: bool = False) -> None:
    """Make the project's streams where they are missing, and know the generation; `new_life` asks for another one.

    Raises: UpgradeNeeded if a newer release has written here, and then nothing was touched; BrokerUnavailable,
    QuotaExceeded.
    """
    await check_format(project)
    p = project.id
    registry = await project.bucket.ensure()
    if registry.asked_at:
        project.clock.learn(registry.asked_at)
    created = {project.bucket.log.stream: registry.created}
    chat = StreamSettings(
        subjects=(subjects.every("ch", p),),
        max_per_subject=PER_CHANNEL,
        discard="old",
        allow_msg_ttl=True,
        duplicate_window_seconds=DEDUPE_SECONDS,
        republish=subjects.republish("ch", p),
    )
    direct = msgspec.structs.replace(
        chat,
        subjects=(subjects.every("in", p),),
        max_age_seconds=30 * DAY_SECONDS,
        republish=subjects.republish("in", p),
    )
    work = StreamSettings(
        subjects=(
            *(subjects.every(kind, p) for kind in ("spec", "wk", "launch")),
            subjects.fence(p),
            subjects.leader(p),
        ),
        max_per_subject=PER_ITEM,
        discard="new",
        allow_atomic=True,
        allow_msg_ttl=True,
        deny_delete=True,
    )
    events = StreamSettings(subjects=(subjects.every("ev", p),), max_age_seconds=DAY_SECONDS, discard="old")
    kept: list[tuple[Log, StreamSettings]] = [
        (project.channel_log, chat),
        (project.inbox_log, direct),
        (project.work_log, work),
        (project.event_log, events),
    ]
    for log, settings in kept:
        created[log.stream] = (await log.ensure(settings)).created
    project.generation = await _generation(project, created, new_life=new_life)


async def check_format(project: Project) -> None:
    """Know the generation and raise UpgradeNeeded if a newer release has written here. Raises: BrokerUnavailable."""
    entry = await project.bucket.get(FORMAT_KEY)
    if entry is None or (stored := _format(project, entry)) <= FORMAT:
        return
    generation = await project.bucket.get(GENERATION)
    if known := _known_generation(project, generation):
        project.generation = known.id
    raise UpgradeNeeded(
        f"project {project.id} is stored in format {stored}, the coordinator that answers writes {FORMAT}",
        "upgrade the coordinator's Loominal (`pip install -U loominal`) and restart weft; until then it only reads",
    )


async def mark_format(project: Project) -> None:
    """Store that the project is written in our format from now on. Raises: Conflict, BrokerUnavailable.

    A new leader calls it, before it writes anything else: whoever took the lead from it then finds it stored.
    """
    entry = await project.bucket.get(FORMAT_KEY)
    if entry is None or _format(project, entry) < FORMAT:
        value = records.encode(FormatRecord(format=FORMAT))
        await project.bucket.write(FORMAT_KEY, value, revision=entry.revision if entry else 0)


def _format(project: Project, entry: Entry) -> int:
    """Return the format that stands there; one that cannot be read is taken for ours."""
    try:
        return records.decode(FormatRecord, entry.value).value.format
    except CorruptRecord as error:
        project.note_corrupt(FORMAT_KEY, error)
        return FORMAT


async def _generation(project: Project, created: dict[str, str], *, new_life: bool) -> str:
    """Return the generation of these streams: the stored one, or a new one if any stream was made since."""
    entry = await project.bucket.get(GENERATION)
    known = _known_generation(project, entry)
    if known and known.created == created and not new_life:
        return known.id
    fresh = GenerationRecord(id=uuid.uuid4().hex, created=created)
    try:
        revision = entry.revision if entry else 0
        await project.bucket.write(GENERATION, records.encode(fresh), revision=revision)
    except Conflict:
        return await _generation(project, created, new_life=new_life)
    return fresh.id


def remember_generation(project: Project, entry: Entry) -> None:
    """Know the generation that another weft has stored."""
    if known := _known_generation(project, entry):
        project.generation = known.id


def _known_generation(project: Project, entry: Entry | None) -> GenerationRecord | None:
    try:
        return records.decode(GenerationRecord, entry.value).value if entry else None
    except CorruptRecord as error:
        project.note_corrupt(GENERATION, error)
        return None
