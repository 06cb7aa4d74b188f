"""What docs/http.md tells people to type does what it says, and no route is missing there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loominal.weft.weft_file import read_weft_file
from tests.acceptance.pages import DOCS, a_users_home, blocks, typed
from tests.ports import free_port

PAGE = (DOCS / "http.md").read_text()
SECONDS = 150.0  # for all of it, on a loaded machine; alone it takes 15
ROUTE = re.compile(r"^\| `([A-Z]+) (/[^`]+)` \|.*\| `(loom [^`]+)` \|$", re.MULTILINE)
NAMES = dict.fromkeys(("AGENT", "DEAD", "GRANT", "INVITATION", "LAUNCH"), "l_0")  # of what is not there
MADE = re.compile(r"^(\w+)=\$\(weft token create .*$", re.MULTILINE)
KNOWN = (  # a weft learns of a new bearer token a moment after it was made
    r'\g<0>\nuntil curl -sf -H "Authorization: Bearer $\1" "$URL/api/projects" >/dev/null; do sleep 0.1; done'
)
LOOM = """
loom() { curl -sS --max-time 30 -w '\\n%{http_code}\\n' -H "Authorization: Bearer $TOKEN" "$URL$1" "${@:2}"; }
loom /api/openapi.json >openapi.json
"""  # the page's own, but it says the status


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with a_users_home(tmp_path) as home:
        yield home


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="NOT SHOWN HERE: bash and curl run it")
@pytest.mark.timeout(SECONDS + 60)
def test_each_line_does_what_the_page_says(place: Path) -> None:
    *first, last = blocks(PAGE, "sh")
    examples = ROUTE.findall(PAGE)
    asked = "".join(f"echo '### {number}'\n{line} || true\n" for number, (_, _, line) in enumerate(examples))
    page = "\n".join(MADE.sub(KNOWN, block) for block in first)
    script = "\n".join(["set -euo pipefail", page, LOOM, "echo; echo '### examples'", asked, "echo '### last'", last])

    code, told = typed(script, place, free_port(), seconds=SECONDS, **NAMES)

    assert code == 0, told
    begun, *answers, ended = re.split(r"^### .*\n", told, flags=re.MULTILINE)
    assert '"result":{"count":[1,2,3]}' in begun
    assert "No registered agent is online in this project." in begun
    assert "ci  role agent  projects shop  revoked" in begun
    assert '{"healthy":true' in begun
    assert '"status":"ready","duplicate":false' in begun
    for (method, path, line), answer in zip(examples, answers[1:], strict=True):
        assert was_asked_rightly(line, answer), (line, answer)
        assert follows(line, method, path), (line, method, path)
    assert '{"ready":true' in ended
    assert '{"time":"' in ended
    known = json.loads((place / "openapi.json").read_text().rpartition("\n")[0].rpartition("\n")[0])
    routes = {f"{each.upper()} {nameless(path)}" for path, item in known["paths"].items() for each in item}
    assert {f"{method} {nameless(path)}" for method, path, _ in examples} == routes


def was_asked_rightly(line: str, answer: str) -> bool:
    """Return whether an example was done, or refused only because its id is none, or because of whose token it is."""
    status = answer.rstrip().rpartition("\n")[2]
    if "$" in line:
        return status == "404" and "openapi.json" not in answer
    if "/api/events" in line:
        return status in ("200", "000")  # it may take longer to begin than the example lets it
    if "/api/activity" in line or line.startswith("loom /api/invitations -d"):
        return status == "403"
    return status in ("200", "201", "202")


def follows(line: str, method: str, path: str) -> bool:
    """Return whether an example asks the route beside which it stands."""
    used = re.search(r" -X ([A-Z]+)", line)
    asked = re.match(r"loom '?([^'? ]+)", line)
    pattern = re.sub(r"\\\{[a-z]+\\\}", "[^/]+", re.escape(path))
    return (
        method == (used[1] if used else "POST" if " -d " in line else "GET")
        and asked is not None
        and re.fullmatch(pattern, asked[1]) is not None
    )


def nameless(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_the_file_of_weft_is_one_that_weft_takes(tmp_path: Path) -> None:
    [text] = blocks(PAGE, "toml")
    file = tmp_path / "weft.toml"
    file.write_text(text)
    file.chmod(0o600)

    read = read_weft_file(file)

    assert [each.name for each in read.identities()] == ["grafana"]
    assert [each.name for each in read.made_targets(datetime.now(UTC))] == ["this-machine"]
    assert list(read.default_policy(open_mode=False).boundaries) == ["personal"]
