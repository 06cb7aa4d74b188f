"""The signing keys of a fabric: operator, system account, and one account for each project and for the fabric itself.

Only weft and the supervisor of the embedded broker open it; agents and machines get JWTs minted by it. It is one file,
written once: wefts on several machines have copies of it.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

import msgspec

from loominal.broker import subjects
from loominal.broker.claims import Scope, account_jwt, operator_jwt, user_jwt
from loominal.broker.credentials import MACHINE_TAG, Credential
from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.secret_file import create_secret, read_secret
from loominal.model.errors import InvalidArgument, UpgradeNeeded
from loominal.model.names import subject_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

FILE, FORMAT = "operator.json", 2
SECRET_BYTES = 32
EVERYTHING = (">",)  # named, since a missing list would mean the same by accident


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a key file first."""

    v: int


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds: seeds of operator and system account, and what all other keys are derived from."""

    v: int
    operator: str
    system: str
    accounts: str  # hexadecimal


class _Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its role keys: `hub` signs full rights, `member` signs agents (in the fabric's own: machines)."""

    own: KeyPair
    hub: KeyPair
    member: KeyPair


class Keyring:
    """The signing keys in one directory (mode 0700), made when it is first opened.

    Several processes may open a new one at once: whoever makes the keys first, all end with those. The keys of an
    account and its roles follow from the project's id, so whoever has a copy of the directory has them, too.
    """

    def __init__(self, operator: KeyPair, system: KeyPair, secret: bytes) -> None:
        self._operator = operator
        self._system = system
        self._secret = secret
        self._accounts: dict[str, _Account] = {}

    @classmethod
    def open(cls, directory: Path) -> Keyring:
        """Return the keyring in `directory`, made if it is not there.

        Raises: InvalidArgument if the directory or its file cannot be used, UpgradeNeeded if it is of a newer format.
        """
        _private_directory(directory)
        path = directory / FILE
        keys = _read_or_create(path)
        try:
            secret = bytes.fromhex(keys.accounts)
        except ValueError:
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise InvalidArgument(
                f"{path}: `accounts` is no secret of {SECRET_BYTES} bytes", "restore it from a backup"
            )
        return cls(_key(path, keys.operator, Kind.OPERATOR), _key(path, keys.system, Kind.ACCOUNT), secret)

    @property
    def operator_jwt(self) -> str:
        """The operator's JWT, for the broker's configuration."""
        return operator_jwt(self._operator, self.system_public)

    @property
    def system_public(self) -> str:
        """The system account's public key."""
        return self._system.public

    @property
    def system_jwt(self) -> str:
        """The system account's JWT; the account has no JetStream."""
        return account_jwt(self._operator, self.system_public, "system", jetstream=False)

    @property
    def fabric_public(self) -> str:
        """The public key of the fabric's own account."""
        return self.project_public(subjects.FABRIC)

    def project_public(self, project: str) -> str:
        """Return the public key of a project's account (or of `subjects.FABRIC`)."""
        return self._account(project).own.public

    def account_jwt(self, project: str, revocations: Mapping[str, int] | None = None) -> str:
        """Return the account JWT of a project (or of `subjects.FABRIC`), to be pushed to the broker.

        `revocations` maps each revoked user's public key to Unix seconds: JWTs issued until then are refused.
        """
        keys = self._account(project)
        fabric = project == subjects.FABRIC
        publish, subscribe = subjects.machine_permissions() if fabric else subjects.agent_permissions(project)
        scopes = (
            Scope(key=keys.hub.public, role="hub", publish=EVERYTHING, subscribe=EVERYTHING),
            Scope(
                key=keys.member.public,
                role="machine" if fabric else "agent",
                publish=publish,
                subscribe=subscribe,
            ),
        )
        return account_jwt(self._operator, keys.own.public, project, scopes=scopes, revocations=revocations)

    def hub_credential(self, project: str, name: str) -> Credential:
        """Return a new credential with full rights inside one account and none outside it."""
        keys = self._account(project)
        user = KeyPair.generate(Kind.USER)
        name = subject_token(name, "hub")
        return Credential(jwt=user_jwt(keys.hub, keys.own.public, user.public, name), key=user)

    def system_credential(self, name: str) -> Credential:
        """Return a new credential of the system account, which pushes accounts and hears of connections."""
        user = KeyPair.generate(Kind.USER)
        name = subject_token(name, "name")
        return Credential(jwt=user_jwt(self._system, self.system_public, user.public, name), key=user)

    def agent_jwt(self, project: str, agent_id: str, user_public: str, expires_at: datetime) -> str:
        """Return the JWT by which the holder of `user_public` is that agent. Raises: InvalidArgument."""
        if project == subjects.FABRIC:
            raise InvalidArgument("the fabric's own account has machines, no agents")
        keys = self._account(project)
        return user_jwt(keys.member, keys.own.public, user_public, subject_token(agent_id, "agent"), expires_at)

    def machine_jwt(self, machine: str, user_public: str, expires_at: datetime | None = None) -> str:
        """Return the JWT by which the holder of `user_public` may enrol as that machine. Raises: InvalidArgument."""
        keys = self._account(subjects.FABRIC)
        name = subject_token(machine, "machine")
        return user_jwt(keys.member, keys.own.public, user_public, name, expires_at, (MACHINE_TAG,))

    def machine_credential(self, machine: str, expires_at: datetime | None = None) -> Credential:
        """Return a new credential that may only enrol agents as that machine (or invitation, or launch)."""
        user = KeyPair.generate(Kind.USER)
        return Credential(jwt=self.machine_jwt(machine, user.public, expires_at), key=user)

    def _account(self, project: str) -> _Account:
        name = subject_token(project, "project")
        if name not in self._accounts:
            own, hub, member = (self._derived(f"{name} {role}") for role in ("account", "hub", "member"))
            self._accounts[name] = _Account(own=own, hub=hub, member=member)
        return self._accounts[name]

    def _derived(self, purpose: str) -> KeyPair:
        """Return the key for `purpose`. Source: HKDF-Expand of RFC 5869, whose first block is as long as a key."""
        return KeyPair(Kind.ACCOUNT, hmac.digest(self._secret, f"loominal {purpose}".encode() + b"\x01", "sha256"))


def _read_or_create(path: Path) -> _Keys:
    """Return what the file holds; if there is none, what it holds after one was offered to it."""
    text = read_secret(path)
    if text is None:
        create_secret(path, msgspec.json.encode(_new_keys()).decode())
        text = read_secret(path) or ""  # perhaps another process's
    try:
        version = msgspec.json.decode(text, type=_Version).v
        if version > FORMAT:
            raise UpgradeNeeded(f"{path} was written by a newer Loominal (format {version})", "upgrade Loominal here")
        if version < FORMAT:
            raise InvalidArgument(
                f"{path} was written by an early Loominal (format {version}), whose fabrics cannot be carried on",
                f"move {path.parent.parent} away: a new fabric begins there",
            )
        return msgspec.json.decode(text, type=_Keys)
    except msgspec.DecodeError as error:
        raise InvalidArgument(
            f"{path} is no key file: {error}", "restore it from a backup; it is never made anew"
        ) from error


def _new_keys() -> _Keys:
    operator, system = KeyPair.generate(Kind.OPERATOR), KeyPair.generate(Kind.ACCOUNT)
    accounts = secrets.token_hex(SECRET_BYTES)
    return _Keys(v=FORMAT, operator=operator.seed, system=system.seed, accounts=accounts)


def _key(path: Path, seed: str, kind: Kind) -> KeyPair:
    try:
        key = KeyPair.from_seed(seed)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}", "restore it from a backup") from error
    if key.kind is not kind:
        raise InvalidArgument(f"{path} holds a key of kind {key.kind.name.lower()} for {kind.name.lower()}")
    return key


def _private_directory(directory: Path) -> None:
    """Make the directory and its parent, or take the rights of others away from them. Raises: InvalidArgument."""
    try:
        for folder in (directory.parent, directory):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
    except OSError as error:
        raise InvalidArgument(
            f"cannot keep keys in {directory}: {error}", "give weft a directory of its own"
        ) from error
