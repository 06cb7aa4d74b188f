"""Keys, JWTs, credential files and the keyring's directory."""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from loominal.broker.claims import Scope, account_jwt, user_jwt
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.nkeys import BASE32, KEY_BYTES, KeyPair, Kind, is_public_key
from loominal.model.errors import InvalidArgument, UpgradeNeeded

if TYPE_CHECKING:
    from pathlib import Path

# the example of the NATS documentation (nk -gen user -pubout)
KNOWN_SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
KNOWN_PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
STOCK_FILE = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""
AGENT = "6f0c3a52-9c1e-4d0e-8f6e-2d1f7a4be001"

keys = st.builds(KeyPair, st.sampled_from(Kind), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))


def a_credential(name: str = AGENT, expires_at: datetime | None = None) -> Credential:
    account, user = KeyPair.generate(Kind.ACCOUNT), KeyPair.generate(Kind.USER)
    return Credential(jwt=user_jwt(account, account.public, user.public, name, expires_at), key=user)


def claims_of(jwt: str) -> dict[str, dict[str, object]]:
    body = jwt.split(".")[1]
    claims: dict[str, dict[str, object]] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def changed(text: str, at: int, by: int) -> str:
    at %= len(text)
    return text[:at] + BASE32[(BASE32.index(text[at]) + by) % len(BASE32)] + text[at + 1 :]


def test_a_seed_of_the_documentation_gives_the_public_key_that_it_shows() -> None:
    assert KeyPair.from_seed(KNOWN_SEED).public == KNOWN_PUBLIC


@given(keys)
def test_a_key_comes_back_from_its_seed(key: KeyPair) -> None:
    again = KeyPair.from_seed(key.seed)

    assert again == key
    assert (again.kind, again.public) == (key.kind, key.public)
    assert key.seed.startswith("S" + key.kind)


@given(keys, st.sampled_from(Kind))
def test_a_public_key_is_one_of_its_own_kind_only(key: KeyPair, kind: Kind) -> None:
    assert is_public_key(key.public, kind) == (kind is key.kind)
    assert not is_public_key(key.seed, kind)


@given(keys, st.integers(0, 100), st.integers(1, 31))
def test_a_mistyped_character_is_found(key: KeyPair, at: int, by: int) -> None:
    assert not any(is_public_key(changed(key.public, at, by), kind) for kind in Kind)
    with pytest.raises(InvalidArgument):
        KeyPair.from_seed(changed(key.seed, at, by))


@given(st.text() | st.text(alphabet=BASE32 + "=", max_size=64))
def test_other_text_is_no_key(text: str) -> None:
    assert not any(is_public_key(text, kind) for kind in Kind)
    with pytest.raises(InvalidArgument):
        KeyPair.from_seed(text)


def test_a_refused_seed_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidArgument) as refused:
        KeyPair.from_seed(changed(KNOWN_SEED, 9, 1))

    assert KNOWN_SEED[12:30] not in str(refused.value)
    assert KNOWN_SEED not in repr(KeyPair.from_seed(KNOWN_SEED))


def test_a_jwt_is_signed_by_its_issuer() -> None:
    account, user = KeyPair.generate(Kind.ACCOUNT), KeyPair.generate(Kind.USER)

    head, body, signature = user_jwt(account, account.public, user.public, AGENT).split(".")

    raw = base64.b32decode(account.public)[1:-2]
    Ed25519PublicKey.from_public_bytes(raw).verify(
        base64.urlsafe_b64decode(signature + "=="), f"{head}.{body}".encode()
    )


def test_a_jwt_for_something_that_is_no_user_key_is_not_made() -> None:
    account = KeyPair.generate(Kind.ACCOUNT)

    for wrong in ("", "*", account.public, changed(KNOWN_PUBLIC, 7, 1)):
        with pytest.raises(InvalidArgument):
            user_jwt(account, account.public, wrong, AGENT)
        with pytest.raises(InvalidArgument):
            account_jwt(KeyPair.generate(Kind.OPERATOR), account.public, "p1", revocations={wrong: 1})


@pytest.mark.parametrize(("publish", "subscribe"), [([], [">"]), ([">"], []), ([], [])])
def test_a_role_without_a_list_is_refused_since_the_broker_takes_it_for_everything(
    publish: list[str], subscribe: list[str]
) -> None:
    operator, account = KeyPair.generate(Kind.OPERATOR), KeyPair.generate(Kind.ACCOUNT)
    scope = Scope(key=account.public, role="agent", publish=publish, subscribe=subscribe)

    with pytest.raises(InvalidArgument, match="agent"):
        account_jwt(operator, account.public, "p1", scopes=[scope])


def test_a_credential_comes_back_from_its_file(tmp_path: Path) -> None:
    ends = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    credential = a_credential(expires_at=ends)
    path = tmp_path / "agent.creds"
    path.write_text("an older one")
    path.chmod(0o644)

    credential.write(path)

    again = Credential.read(path)
    assert again == credential
    assert (again.name, again.expires_at) == (AGENT, ends)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["agent.creds"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_stock_credential_file_is_read(tmp_path: Path, line_end: str) -> None:
    credential = a_credential()
    path = tmp_path / "stock.creds"
    path.write_bytes(STOCK_FILE.format(jwt=credential.jwt, seed=credential.key.seed).replace("\n", line_end).encode())

    again = Credential.read(path)

    assert again == credential
    assert again.expires_at is None


def test_a_credentials_life_is_told_by_the_clock_of_who_made_it() -> None:
    ends = datetime.now(UTC) + timedelta(hours=24)

    assert abs((a_credential(expires_at=ends).life_seconds or 0) - 86_400) <= 2
    assert a_credential().life_seconds is None


def test_a_file_that_holds_no_credential_is_refused_with_its_name(tmp_path: Path) -> None:
    good, other = a_credential(), a_credential()
    malformed = [
        b"",
        b"\xff\xfe",
        good.to_text().replace(good.key.seed, "").encode(),
        good.to_text().replace(good.key.seed, other.key.seed).encode(),
        good.to_text().replace(good.jwt, "eyJ.x.y").encode(),
        good.to_text().replace(good.jwt, good.jwt[:90]).encode(),
        good.to_text().partition("-----BEGIN USER")[0].encode(),
    ]
    path = tmp_path / "bad.creds"

    with pytest.raises(InvalidArgument, match=r"bad\.creds"):
        Credential.read(path)
    for text in malformed:
        path.write_bytes(text)
        with pytest.raises(InvalidArgument, match=r"bad\.creds"):
            Credential.read(path)


def test_a_keyring_is_the_same_when_opened_again_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    directory = tmp_path / "state" / "keys"
    first = Keyring.open(directory)
    made = first.project_public("p1")

    again = Keyring.open(directory)

    assert (again.system_public, again.fabric_public, again.project_public("p1")) == (
        first.system_public,
        first.fabric_public,
        made,
    )
    assert directory.stat().st_mode & 0o777 == 0o700
    [file] = directory.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("operator.json", 0o600)


def test_a_copy_of_a_new_keyring_has_the_keys_of_every_later_project(tmp_path: Path) -> None:
    first = Keyring.open(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second, other = Keyring.open(tmp_path / "second"), Keyring.open(tmp_path / "other")

    def account(ring: Keyring, project: str) -> tuple[object, ...]:
        claims = claims_of(ring.account_jwt(project))
        roles = claims["nats"]["signing_keys"]
        return claims["iss"], claims["sub"], json.dumps(roles)

    assert account(first, "later") == account(second, "later")
    public = [first.system_public, *(first.project_public(name) for name in ("_fabric", "later", "p1"))]
    assert len({*public, *re.findall("A[A-Z2-7]{55}", str([account(first, "later"), account(first, "p1")]))}) == 8
    assert first.project_public("later") != other.project_public("later")


def test_an_accounts_key_is_what_rfc_5869_derives(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path)
    secret = bytes.fromhex(json.loads((tmp_path / "operator.json").read_text())["accounts"])

    derived = HKDFExpand(hashes.SHA256(), 32, b"loominal p1 account").derive(secret)

    assert ring.project_public("p1") == KeyPair(Kind.ACCOUNT, derived).public


def test_a_keyring_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir(mode=0o755)

    Keyring.open(directory)

    assert directory.stat().st_mode & 0o777 == 0o700


def test_many_that_open_a_new_keyring_at_once_end_with_the_same_keys(tmp_path: Path) -> None:
    openers = 8
    together = threading.Barrier(openers)

    def open_one(round_: int) -> tuple[str, ...]:
        together.wait(30)
        ring = Keyring.open(tmp_path / f"keys-{round_}")
        return ring.system_public, ring.fabric_public, ring.project_public("p1")

    with ThreadPoolExecutor(openers) as threads:
        for round_ in range(5):
            assert len(set(threads.map(open_one, [round_] * openers))) == 1


def test_what_an_interrupted_start_left_is_not_taken_for_a_key(tmp_path: Path) -> None:
    (tmp_path / ".draft-x").write_text('{"v":2,"oper')

    assert Keyring.open(tmp_path).fabric_public == Keyring.open(tmp_path).fabric_public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"v":2,"operator":"SO',
        '{"v":2,"operator":"x","system":"y"}',
        '{"v":2,"operator":"x","system":"y","accounts":"00"}',
        json.dumps({"v": 2, "operator": "x", "system": "y", "accounts": "00" * 32}),
        '{"v":1,"operator":"x","system":"y"}',
        "\ufffd",
    ],
)
def test_a_damaged_key_file_is_named_and_never_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "operator.json"
    path.write_text(text)

    with pytest.raises(InvalidArgument, match=r"operator\.json"):
        Keyring.open(tmp_path)
    assert path.read_text() == text


def test_a_seed_of_another_kind_is_found(tmp_path: Path) -> None:
    user = KeyPair.generate(Kind.USER).seed
    (tmp_path / "operator.json").write_text(
        json.dumps({"v": 2, "operator": user, "system": user, "accounts": "00" * 32})
    )

    with pytest.raises(InvalidArgument, match="kind user"):
        Keyring.open(tmp_path)


def test_keys_of_a_newer_loominal_ask_for_an_upgrade(tmp_path: Path) -> None:
    (tmp_path / "operator.json").write_text('{"v":3}')

    with pytest.raises(UpgradeNeeded, match=r"operator\.json"):
        Keyring.open(tmp_path)


@pytest.mark.parametrize("name", ["*", ">", "a.b", "", "a b", "x" * 65, "é", "{{name()}}", "a\n"])
def test_a_name_that_is_more_than_one_subject_token_is_refused_at_minting(tmp_path: Path, name: str) -> None:
    ring = Keyring.open(tmp_path)
    user = KeyPair.generate(Kind.USER).public
    soon = datetime(2031, 1, 1, tzinfo=UTC)

    with pytest.raises(InvalidArgument):
        ring.agent_jwt("p1", name, user, soon)
    with pytest.raises(InvalidArgument):
        ring.agent_jwt(name, AGENT, user, soon)
    with pytest.raises(InvalidArgument):
        ring.machine_jwt(name, user)
    with pytest.raises(InvalidArgument):
        ring.hub_credential("p1", name)
    with pytest.raises(InvalidArgument):
        ring.project_public(name)
    assert [path.name for path in tmp_path.iterdir()] == ["operator.json"]


def test_the_fabrics_own_account_has_no_agents(tmp_path: Path) -> None:
    user = KeyPair.generate(Kind.USER).public

    with pytest.raises(InvalidArgument, match="machines"):
        Keyring.open(tmp_path).agent_jwt("_fabric", AGENT, user, datetime(2031, 1, 1, tzinfo=UTC))


def test_an_agents_jwt_holds_no_permissions_of_its_own(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path)

    nats = claims_of(ring.agent_jwt("p1", AGENT, KNOWN_PUBLIC, datetime(2031, 1, 1, tzinfo=UTC)))["nats"]

    assert nats == {"type": "user", "version": 2, "issuer_account": ring.project_public("p1")}
