"""Small real runs: the command as users have it, and scenarios that go wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ptymux.cli.commands.stress import stress
from ptymux.core.model import KIB, MIB
from ptymux.errors import InvalidValueError
from ptymux.stress.child import ChildKind
from ptymux.stress.measurements import Measured
from ptymux.stress.plan import Plan, Scenario, make_plan
from ptymux.stress.runner import Progress, run
from ptymux.stress.verdict import VerdictOutcome, judge
from tests.processes import children_of, is_alive
from tests.program import Program
from tests.timing import deadline_seconds, wait_until

COMMAND = [sys.executable, "-c", "from ptymux.cli.main import main; main()", "stress"]


def command(*args: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | ({"PATH": path} if path else {})
    return subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, timeout=deadline_seconds(4), env=env
    )


def measure(scenario: Scenario) -> Measured:
    plan = Plan(sizes=(), child=scenario.child, child_bytes=0, scenarios=(scenario,))
    (measured,) = asyncio.run(run(plan))
    return measured


def scenario(name: str, size: int, child_bytes: int, child: ChildKind) -> Scenario:
    return next(s for s in make_plan([size], child_bytes, child).scenarios if s.name == name)


@pytest.fixture
def liar(tmp_path: Path) -> str:
    """Return a PATH on which `yes` says something else."""
    for name in ("sh", "head"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    fake = tmp_path / "yes"
    fake.write_text("#!/bin/sh\nwhile echo n; do :; done 2>/dev/null\n")
    fake.chmod(0o755)
    return str(tmp_path)


@pytest.mark.slow
@pytest.mark.requirement("FR-005", "OVERFLOW", "BACKPRESSURE", "BLOCK", "LAW-PTY", "LAW-READER")
def test_whole_small_run_passes_and_is_told_in_json_and_svg(tmp_path: Path) -> None:
    picture = tmp_path / "flood.svg"

    ended = command(
        "--size", "64k", "--size", "2M", "--bytes", "2000000",
        "--no-timing", "--json", "--plot", str(picture),
    )  # fmt: skip

    values: dict[str, Any] = json.loads(ended.stdout)
    reasons = [
        f"{scenario['name']} {scenario['capacity']}: {reason}"
        for scenario in values["scenarios"]
        for verdict in scenario["verdicts"]
        for reason in verdict["reasons"]
    ]
    assert (ended.returncode, reasons) == (0, [])
    assert len(values["scenarios"]) == 10
    assert "\x1b" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == "[10/10] paced 64k: ok"
    by_name = {(s["name"], s["capacity"]): s for s in values["scenarios"]}
    never = by_name["never reads", 64 * KIB]
    assert never["dropped"] == 2_000_000 - 64 * KIB
    assert (never["backpressure_on"], never["backpressure_off"]) == (1, 1)
    # A buffer for everything: in a smaller one something is lost when we are stopped for long.
    assert by_name["fast", 2 * MIB]["consumed"] == 2_000_000
    assert by_name["slow", 64 * KIB]["dropped"] > 1_400_000
    assert by_name["block", 64 * KIB]["consumed"] == 2_000_000
    assert by_name["no buffer", 0]["dropped"] == 2_000_000
    paced = by_name["paced", 64 * KIB]
    assert min(paced["overflow_spacing"]) >= 0.99 - paced["lateness"]["max"]
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")


@pytest.mark.slow
def test_child_that_writes_something_else_fails_the_run(liar: str) -> None:
    ended = command("--child", "yes", "--bytes", "3000", "--size", "1k", "--no-timing", path=liar)

    assert ended.returncode == 1
    assert "never reads 1k: correctness failed: the retained byte at 3477 is wrong" in ended.stdout
    assert "block 1k: correctness failed: the consumed byte at 0 is wrong" in ended.stdout
    # The paced one too, where a slow machine leaves it too little time to overflow.
    assert re.search(r"^[45] of 6 scenarios did not pass", ended.stdout, re.MULTILINE)
    assert "\x1b" not in ended.stdout


@pytest.mark.parametrize(("signum", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_interrupted_run_leaves_nothing_behind(signum: str, status: int, tmp_path: Path) -> None:
    picture = tmp_path / "flood.svg"
    args = ["--bytes", "1000000000", "--plot", str(picture)]
    with Program([*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        pids = wait_until(lambda: children_of(it.pid))

        it.send_signal(signal.Signals[signum])

        out, err = it.communicate(timeout=deadline_seconds())
    assert it.returncode == status
    assert out == b""
    assert b"Traceback" not in err
    assert not picture.exists()
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)])


@pytest.mark.parametrize("name", ["never reads", "slow", "fast", "block"])
def test_yes_is_measured_byte_by_byte_too(name: str) -> None:
    result = judge(measure(scenario(name, 32 * KIB, 300_001, ChildKind.YES)), timing=False)

    assert result.has_passed, result.verdicts
    assert result.measured.stats.total_written == 450_001


def test_child_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sh").symlink_to(shutil.which("false") or "")
    monkeypatch.setenv("PATH", str(tmp_path))

    result = judge(measure(scenario("never reads", 32 * KIB, 300_000, ChildKind.YES)))

    assert "the child ended with 1" in result.verdicts[0].reasons


class _Hasty(Scenario):
    """A scenario with no time."""

    @property
    def deadline_seconds(self) -> float:
        return 0.05


def test_scenario_that_does_not_end_is_ended_and_fails() -> None:
    calm = scenario("paced", 32 * KIB, 5_000_000, ChildKind.COUNTER)
    hasty = _Hasty(**{name: getattr(calm, name) for name in Scenario.__dataclass_fields__})

    measured = measure(hasty)

    assert measured.is_stuck
    assert judge(measured).verdicts[0].outcome is VerdictOutcome.FAILED


def test_progress_tells_every_scenario_once_it_ended() -> None:
    plan = make_plan([64 * KIB], 500_000)
    plan = replace(plan, scenarios=plan.scenarios[:3])
    told: list[Progress] = []

    asyncio.run(run(plan, told.append))

    ended = [each.finished.scenario for each in told if each.finished]
    assert ended == list(plan.scenarios)
    assert all(each.sample.written <= each.scenario.total for each in told)


def test_failure_while_showing_progress_is_no_secret() -> None:
    def show(_progress: Progress) -> None:
        raise RuntimeError("cannot draw")

    with pytest.raises(RuntimeError, match="cannot draw"):
        asyncio.run(run(make_plan([64 * KIB], 500_000), show))


@pytest.mark.parametrize(
    "args",
    [
        ["--size", "4MX"],
        ["--child", "no"],
        ["--bytes", "x"],
        ["--what"],
        ["--plot", "/tmp"],
        ["--chaos", "x"],
        ["--chaos", "--child", "yes"],
        ["--chaos", "--plot", "x.svg"],
    ],
)
def test_what_cannot_work_is_a_usage_error(args: list[str]) -> None:
    assert CliRunner().invoke(stress, args).exit_code == 2


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--size", "2G"], "--size"),
        (["--bytes", "10"], "--bytes"),
        (["--chaos", "--bytes", "10"], "--bytes"),
        (["--chaos", "0"], "--chaos"),
        (["--plot", "/nonexistent/flood.svg"], "no such file"),
    ],
)
def test_what_is_out_of_bounds_is_refused_before_the_run(args: list[str], told: str) -> None:
    result = CliRunner().invoke(stress, args)

    assert isinstance(result.exception, InvalidValueError)
    assert result.exception.exit_code == 2
    assert told in str(result.exception)


def test_help_ends_with_examples() -> None:
    text = CliRunner().invoke(stress, ["--help"]).output

    assert text.rstrip().splitlines()[-1].strip().startswith("ptymux stress --json |")
