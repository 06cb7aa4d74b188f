"""Whether a project needs its leader for the sake of spin-up, though no agent may be connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project


def needs_rounds(project: Project) -> bool:
    """Return whether something may happen by itself: a launch is live, work waits for agents, a target is watched."""
    return needs_leader(project) or any(each.health_check.enabled for each in project.targets.all())


def needs_leader(project: Project) -> bool:
    """Return whether agents are being started or ended, or may have to be, though none may be connected."""
    if project.launcher is None:
        return bool(project.drains)
    waits = len(project.targets) > 0 and len(project.book.ready) > 0
    return waits or bool(project.drains) or project.launches.any_live
