"""`loominal agent run` with commands that say and do what none should: the runner goes on, its other items too."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.runners import item_when, offer, runner
from tests.integration.fabric import Fabric

NESTED = "n = {levels}\nprint('{{\"result\": ' + '{{\"a\":' * n + '1' + '}}' * n + '}}')"
FOLDER = "import shutil\nfolder = os.path.dirname(os.environ['LOOMINAL_ATTACH'])\nshutil.rmtree(folder)\n"


async def test_a_runner_goes_on_whatever_a_command_prints_or_does_to_its_folder(
    fabric: Fabric, project: str, tmp_path: Path
) -> None:
    deeds = [NESTED.format(levels=levels) for levels in (900, 968, 972, 976, 980, 984, 10_000)]
    deeds += [
        f"{FOLDER}open(folder, 'w').write('a file')",
        "sys.stderr.write('\\x1b]0;mine\\x07\\x1b[2J'); sys.exit(3)",
    ]
    async with (
        fabric.connect("boss", project=project, agent_type="boss") as boss,
        runner(tmp_path / "a", fabric.home, project) as running,
    ):
        refused = [await offer(boss, deed, max_attempts=1) for deed in deeds]
        done = await offer(boss, "print(json.dumps({'result': {'ok': True}}))")
        ends = [await item_when(boss, work, lambda item: item.ended_at) for work in (*refused, done)]

        assert [item.status for item in ends] == ["dead"] * len(refused) + ["done"]
        assert running.process.returncode is None
    assert "\x1b" not in running.said  # nobody's terminal is told what to do
