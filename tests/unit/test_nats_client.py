"""How the NATS client is loaded: without what is not for us, and nobody else notices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from loominal.broker.nats_client import AT_FIRST_USE, WITHOUT, Sparing


@pytest.mark.parametrize("name", WITHOUT)
def test_what_the_client_does_without_is_not_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        Sparing().find_spec(name, None)


def test_other_modules_are_found_as_ever() -> None:
    assert Sparing().find_spec("email", None) is None  # then the next finder is asked


@pytest.mark.parametrize("name", [*WITHOUT, AT_FIRST_USE])
def test_other_threads_find_everything_meanwhile(name: str) -> None:
    sparing = Sparing()

    with ThreadPoolExecutor(1) as other:
        assert other.submit(sparing.find_spec, name, None).result() is None
