"""The client without a broker: its methods against the operations, its settings, and what it holds."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path

import msgspec
import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.calls.interface import typed
from loominal.fabric.client.entrance import find_entrance
from loominal.fabric.client.holds import PAST_KEPT, Holds
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.channels import SendMessage
from loominal.fabric.operations.work import WorkView
from loominal.model.errors import BrokerUnavailable, InvalidArgument

OURS = {"hello", "abandon_claim"}  # what the client asks by itself
CALLS = [name for name in OPERATIONS if name not in OURS]


@pytest.mark.parametrize("name", CALLS)
def test_every_operation_is_a_method_with_the_same_arguments_and_defaults(name: str) -> None:
    signature = inspect.signature(getattr(Agent, name))
    fields = {field.name: field for field in msgspec.structs.fields(OPERATIONS[name].arguments)}
    parameters = {key: value for key, value in signature.parameters.items() if key != "self"}

    assert set(parameters) == set(fields)
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty:
            assert fields[key].required
        elif parameter.default is not None:  # None is left out: the operation's own default holds
            assert parameter.default == fields[key].default


@pytest.mark.parametrize("name", CALLS)
def test_every_method_answers_what_the_operation_answers(name: str) -> None:
    assert inspect.signature(getattr(Agent, name)).return_annotation == OPERATIONS[name].answer.__name__


def test_plain_values_become_typed_arguments() -> None:
    args = typed("send_message", {"channel": "general", "message": "hi", "importance": "high", "reply_to": None})
    assert isinstance(args, SendMessage)
    assert (args.importance, args.reply_to, args.create) == ("high", None, False)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("send_message", {"channel": "general", "message": ""}),
        ("send_message", {"channel": "general", "message": "hi", "importance": "very"}),
        ("register_agent", {"agent_type": "x", "capabilities": "python"}),
        ("claim_work", {"limit": 11}),
        ("send_message", {"channel": "general", "message": "x" * 200_001}),
    ],
)
def test_what_the_hub_would_refuse_is_refused_before_it_is_sent(name: str, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        typed(name, fields)


def settings(
    tmp_path: Path, environ: dict[str, str], *, project: str | None = None, handle: str | None = None
) -> ClientSettings:
    home = {"LOOMINAL_HOME": str(tmp_path)}
    return ClientSettings.from_env(home | environ, directory=tmp_path, project=project, handle=handle)


def test_an_argument_goes_before_its_variable_and_an_empty_variable_is_none(tmp_path: Path) -> None:
    environ = {"LOOMINAL_PROJECT_ID": "bar", "LOOMINAL_HANDLE": "alice", "LOOMINAL_AGENT_ID": "", "NATS_URL": ""}
    found = settings(tmp_path, environ, project="shop")
    assert (found.project.id, found.handle, found.agent_id, found.servers.urls) == ("shop", "alice", "", ())


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    environ = {"LOOMINAL_PROJECT_ID": "No Good", "LOOMINAL_AGENT_ID": "7", "NATS_URL": "http://x", "NATS_CREDS": "/no"}
    with pytest.raises(InvalidArgument) as refused:
        settings(tmp_path, environ, handle="Not A Handle")
    for what in ("project", "agent id", "NATS_URL", "NATS_CREDS", "handle"):
        assert what in refused.value.message


def test_a_password_in_the_url_is_used_and_never_shown(tmp_path: Path) -> None:
    found = settings(tmp_path, {"NATS_URL": "nats://me:s%40cret@example.org, tls://[::1]:4333"})
    assert found.servers.urls == ("nats://example.org:4222", "tls://[::1]:4333")
    assert (found.servers.user, found.servers.password) == ("me", "s@cret")
    assert "s@cret" not in repr(found)


def test_tls_in_the_url_means_tls(tmp_path: Path) -> None:
    assert find_entrance(settings(tmp_path, {"NATS_URL": "tls://example.org"})).tls is not None
    assert find_entrance(settings(tmp_path, {"NATS_URL": "nats://example.org"})).tls is None


def test_without_a_fabric_the_error_says_what_starts_one(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="no fabric is running") as refused:
        find_entrance(settings(tmp_path, {}))
    assert "loominal up" in refused.value.hint


def claim(item: str, lease_token: int, task_id: str = "") -> WorkView:
    return WorkView(id=item, task_id=task_id, lease_token=lease_token)


def test_a_held_item_is_known_by_id_and_by_task_id() -> None:
    holds = Holds()
    holds.take([claim("w_1", 7, "build"), claim("w_2", 8, "test")])
    assert holds.item("build") == "w_1"
    assert holds.lease_token(holds.item("test")) == 8
    assert holds.pairs() == (("w_1", 7), ("w_2", 8))


def test_a_task_id_of_two_held_items_names_none_of_them() -> None:
    holds = Holds()
    holds.take([claim("w_1", 7, "build"), claim("w_2", 8, "build")])
    assert holds.item("build") == "build"
    assert holds.lease_token("build") == 0


def test_an_ended_claim_keeps_its_lease_token_for_a_repeated_ending_but_is_not_beaten() -> None:
    holds = Holds()
    holds.take([claim("w_1", 7, "build")])
    holds.end("w_1")
    assert holds.pairs() == ()
    assert holds.lease_token(holds.item("build")) == 7


def test_an_older_claims_loss_does_not_touch_the_present_one() -> None:
    holds = Holds()
    holds.take([claim("w_1", 9)])
    holds.lose("w_1", 7)
    assert "w_1" in holds
    holds.lose("w_1", 9)
    assert "w_1" not in holds
    assert holds.lost("w_1")
    holds.take([claim("w_1", 11)])
    assert not holds.lost("w_1")


def test_what_was_touched_is_told_once() -> None:
    holds = Holds()
    holds.take([claim("w_1", 9)])
    holds.touch("w_1")
    holds.touch("w_foreign")
    assert (holds.active(), holds.active()) == (("w_1",), ())


def test_memory_of_ended_claims_is_bounded() -> None:
    holds = Holds()
    for number in range(3 * PAST_KEPT):
        holds.take([claim(f"w_{number}", number + 1, f"task {number}")])
        holds.end(f"w_{number}")
    assert holds.lease_token("w_0") == 0
    assert holds.item("task 0") == "task 0"
    assert holds.lease_token(f"w_{3 * PAST_KEPT - 1}") == 3 * PAST_KEPT


def test_a_traceback_shows_what_to_do_next() -> None:
    shown = traceback.format_exception(BrokerUnavailable("no fabric is running", "`loominal up` starts one"))
    assert shown[-1] == "`loominal up` starts one\n"
