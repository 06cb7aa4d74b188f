"""The streams behind a project, and the project's generation: one life of them, from creation to replacement."""

from __future__ import annotations

import uuid

import msgspec

from loominal.broker import subjects
from loominal.broker.log import Log, StreamSettings
from loominal.fabric.hub.project import Project
from loominal.model import record as records
from loominal.model.errors import Conflict, CorruptRecord, UpgradeNeeded

FORMAT = 1  # of everything stored; a hub of an older release does not lead a project written by a newer one
DAY_SECONDS = 86_400
DEDUPE_SECONDS = 30 * 60  # three times as long as a client asks again
PER_CHANNEL = 10_000
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

    Raises: UpgradeNeeded if a newer release has written here, BrokerUnavailable, QuotaExceeded.
    """
    p = project.id
    registry = await project.bucket.ensure()
    if registry.asked_at:
        project.clock.learn(registry.asked_at)
    created = {project.bucket.log.stream: registry.created}
    await _check_format(project)
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
        max_per_subject=64,
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


async def _check_format(project: Project) -> None:
    entry = await project.bucket.get(FORMAT_KEY)
    if entry is None:
        value = records.encode(FormatRecord(format=FORMAT))
        try:
            await project.bucket.write(FORMAT_KEY, value, revision=0)
        except Conflict:
            await _check_format(project)
        return
    try:
        stored = records.decode(FormatRecord, entry.value).value.format
    except CorruptRecord as error:
        project.note_corrupt(FORMAT_KEY, error)
        return
    if stored < FORMAT:
        await project.bucket.write(FORMAT_KEY, records.encode(FormatRecord(format=FORMAT)), revision=entry.revision)
    if stored > FORMAT:
        raise UpgradeNeeded(
            f"project {project.id} is stored in format {stored}, this weft writes {FORMAT}",
            "upgrade this weft (`pip install -U loominal`)",
        )


async def _generation(project: Project, created: dict[str, str], *, new_life: bool) -> str:
    """Return the generation of these streams: the stored one, or a new one if any stream was made since."""
    entry = await project.bucket.get(GENERATION)
    try:
        known = records.decode(GenerationRecord, entry.value).value if entry else None
    except CorruptRecord as error:
        project.note_corrupt(GENERATION, error)
        known = None
    if known and known.created == created and not new_life:
        return known.id
    fresh = GenerationRecord(id=uuid.uuid4().hex, created=created)
    try:
        revision = entry.revision if entry else 0
        await project.bucket.write(GENERATION, records.encode(fresh), revision=revision)
    except Conflict:
        return await _generation(project, created, new_life=new_life)
    return fresh.id
