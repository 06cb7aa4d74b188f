"""Names across projects: which one `handle@project` means, and how an agent of another is called here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loominal.fabric.hub.abroad.directory import Place
from loominal.fabric.hub.agents.visibility import names_of
from loominal.model.names import AGENT_ID

if TYPE_CHECKING:
    from loominal.fabric.hub.abroad.directory import Directory
    from loominal.fabric.hub.project import Project

PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def meant(project: Project, directory: Directory, text: str) -> list[Place]:
    """Return the other projects in which the agent named by `text` may be: several if they share the name it gives.

    A guid says it by itself, and a handle without a project is one of this project.
    """
    plain = text.strip().lower()
    _, at, where = plain.partition("@")
    if not at:
        found = directory.homes(plain) if AGENT_ID.fullmatch(plain) else []
    elif where in names_of(project):
        found = []
    elif (place := directory.place(where)) is not None:
        found = [place]
    else:
        found = [place for place in directory.places() if place.is_called(where)]
    return [place for place in found if place.project != project.id]


def handle_abroad(project: Project, handle: str, place: Place) -> str:
    """Return how an agent of `place` is called in `project`, a name that finds it there while it is public.

    The project's short name stands behind the `@`; its id where another project might be meant, or the name is more
    than one plain word: somebody else has chosen it, and it is shown among our own words.
    """
    name, places = place.short.lower(), project.abroad.directory.places() if project.abroad else []
    others = [each for each in places if each.project not in (project.id, place.project)]
    taken = names_of(project).union(each.project for each in others)
    is_clear = PLAIN.fullmatch(name) and name not in taken and not any(each.is_called(name) for each in others)
    return f"{handle}@{place.short if is_clear else place.project}"
