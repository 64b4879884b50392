from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "scripts" / "bench.py"


def test_bench_measures_every_part_and_says_what_each_goal_became() -> None:
    command = [sys.executable, str(BENCH), "--quick", "--bytes", "200000", "--json"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)["figures"]
    parts = {figure["part"] for figure in figures}
    assert parts == {"memory", "one", "eight", "ring", "spawn", "block", "account"}
    measured = [figure for figure in figures if figure["value"] is not None]
    assert all(figure["rounds"] for figure in measured if figure["goal"])
    assert all((figure["met"] is None) == (figure["goal"] is None) for figure in measured)
    overruns = [figure["value"] for figure in figures if figure["name"].startswith("read beyond")]
    assert overruns == [0]


def test_bench_without_a_compiler_says_so_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--quick", "--rounds=1", "--bytes=8000", "--only=one"]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"PATH": str(tmp_path)}
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("no C compiler") == 2
    assert "manager, speed" in done.stdout
