"""How `kubernetes` gets into a cluster: by a kubeconfig that weft's owner allows, or as the pod that weft runs in."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from loominal.model.errors import Forbidden, StartFailed
from loominal.model.mechanism import KubernetesConfig
from loominal.model.names import one_line, shown
from loominal.weft.mechanisms.means import Means

if TYPE_CHECKING:
    from lightkube import AsyncClient
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig

CALL_SECONDS = 15.0  # for one answer of the API server


def client(means: Means, config: KubernetesConfig) -> AsyncClient:
    """Return a client of the target's cluster. Raises: StartFailed, Forbidden."""
    try:
        import httpx2
        from lightkube import AsyncClient
    except ImportError as error:
        raise StartFailed(
            "weft cannot speak to Kubernetes: lightkube is not installed here", "pip install 'loominal[k8s]'"
        ) from error
    access = _access(means, config)
    try:
        timeout = httpx2.Timeout(CALL_SECONDS)
        return AsyncClient(config=access, namespace=config.namespace, timeout=timeout, lazy=False, trust_env=False)
    except (OSError, ValueError, AssertionError) as error:
        raise StartFailed(f"the kubeconfig has no usable access: {_why(error)}", "see whether kubectl works") from error


def _access(means: Means, config: KubernetesConfig) -> SingleConfig:
    import yaml
    from lightkube.core.exceptions import ConfigError

    path = _path(means, config)
    where = path or "the service account of weft's pod"
    try:
        access = _read(path).get(config.context or None)
    except (ConfigError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartFailed(f"{where} cannot be used: {_why(error)}", "see whether kubectl works with it") from error
    except (msgspec.MsgspecError, yaml.YAMLError) as error:  # its text may quote what the file holds
        raise StartFailed(f"{where} is no kubeconfig", "see whether kubectl works with it") from error
    if access is None or access.user is None:
        raise StartFailed(f"{where} names no user", "give its context a user with a token or a certificate")
    if access.user.exec or access.user.auth_provider:
        raise StartFailed(
            f"{where} gets its credentials from a program, and weft runs none",
            "use a token, a file of one or a certificate",
        )
    _require_tls(access, str(where))
    return access


def _path(means: Means, config: KubernetesConfig) -> Path | None:
    """Return the kubeconfig to use, None for the service account of weft's own pod. Raises: StartFailed, Forbidden."""
    allowed = [_absolute(path) for path in means.allow.kubeconfigs]
    if not config.kubeconfig:
        if allowed:
            return allowed[0]
        if "KUBERNETES_SERVICE_HOST" in means.environ:
            return None
        raise StartFailed("there is no kubeconfig", "weft's owner names some: [allow] kubeconfigs in weft.toml")
    asked = _absolute(config.kubeconfig)
    if asked not in allowed:
        raise Forbidden(
            f"targets may not use the kubeconfig {shown(config.kubeconfig)}",
            "its owner can: [allow] kubeconfigs in weft.toml",
        )
    return asked


def _absolute(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _read(path: Path | None) -> KubeConfig:
    from lightkube.config.kubeconfig import KubeConfig

    return KubeConfig.from_service_account() if path is None else KubeConfig.from_file(path)


def _require_tls(access: SingleConfig, where: str) -> None:
    """Raise StartFailed if whoever is on the way could read the bearer token."""
    parts = urlsplit(access.cluster.server)
    if access.cluster.insecure:
        raise StartFailed(f"{where} does without verifying the cluster", "give it certificate-authority-data")
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise StartFailed(f"{where} has a cluster without TLS: {shown(access.cluster.server)}", "use https")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
