"""How who asks over REST is called: made of role and token name, read back, and never mistaken for an agent."""

from __future__ import annotations

import pytest

from loominal.model import names
from loominal.model.errors import InvalidArgument
from loominal.model.grant import Role


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ["local", "a", "9-", "x" * 40])
def test_role_and_name_of_a_caller_are_read_back(role: Role, name: str) -> None:
    caller = names.api_caller(role, name)

    assert (names.api_role(caller), names.api_user(caller, "ann")) == (
        role,
        "ann" if name == "local" else f"{name}@api",
    )
    assert names.subject_token(caller, "caller") == caller


@pytest.mark.parametrize(
    "other",
    [
        "",
        "api_",
        "api_operator_",
        "api_root_ci",
        "api_operator_CI",
        "api_operator_a_b",
        "api_operator_ci\n",
        "operator_ci",
    ],
)
def test_what_is_nobody_who_asks_over_rest_has_no_role(other: str) -> None:
    assert names.api_role(other) == ""


@pytest.mark.parametrize("name", ["", "Ci", "a b", "a_b", "x" * 41, "ä", "ci\n"])
def test_a_token_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="1-40"):
        names.token_name(name)
    with pytest.raises(InvalidArgument):
        names.api_caller(Role.AGENT, name)
