"""The ways of starting agents, one file each beside `interface.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loominal.model.mechanism import Mechanism
from loominal.weft.mechanisms.github import GithubActions
from loominal.weft.mechanisms.interface import MechanismDriver
from loominal.weft.mechanisms.kubernetes import Kubernetes
from loominal.weft.mechanisms.local import Local
from loominal.weft.mechanisms.means import Means
from loominal.weft.mechanisms.ssh import Ssh
from loominal.weft.mechanisms.webhook import Webhook

# Any: each takes the config of its own mechanism, as `model.mechanism.CONFIGS` says
MECHANISMS: dict[Mechanism, Callable[[Means], MechanismDriver[Any]]] = {
    Mechanism.LOCAL: Local,
    Mechanism.SSH: Ssh,
    Mechanism.KUBERNETES: Kubernetes,
    Mechanism.GITHUB_ACTIONS: GithubActions,
    Mechanism.WEBHOOK: Webhook,
}

__all__ = ["MECHANISMS", "Means"]
