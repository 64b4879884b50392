"""What a keeper does with its sessions when nobody is left to ask for it more gently."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest

from ptymux.core.escalation import GRACE_SCAN_SECONDS, Escalation
from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.core.windows import Windows
from ptymux.engine.session_end import end_newborn, end_sessions, perform
from ptymux.posix.process import ProcessId, SessionMember, session_members, start_time
from ptymux.posix.spawn import open_pty, spawn
from tests.engine.conftest import LONG, Driver
from tests.timing import deadline_seconds, wait_until


def _end(driver: Driver, windows: Windows, *slots: int) -> None:
    """End the sessions of these PTYs."""

    def close_terminals() -> None:
        for slot in slots:
            driver.engine.close_pty(slot)

    leaders = {driver.pids[slot]: start_time(driver.pids[slot]) for slot in slots}
    end_sessions(leaders, close_terminals, windows)


def _steps(plan: Escalation[ProcessId], *alive: SessionMember) -> tuple[float | None, list[str]]:
    """Take a step; return what `perform` returned, and what it delivered to whom."""
    sent: list[str] = []

    def deliver(process: ProcessId, signum: int) -> None:
        sent.append(f"{signal.Signals(signum).name} {process.pid}")

    return perform(plan, alive, deliver), sent


@pytest.mark.requirement("FR-007")
def test_a_step_delivers_in_the_order_given_and_says_when_the_next_one_is_due() -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), LONG)
    leader = SessionMember(7, 1, 7, True, "S")
    job = SessionMember(5, 1, 5, False, "S")

    seconds, sent = _steps(plan, leader, job)

    assert sent == ["SIGTERM 7", "SIGTERM 5", "SIGHUP 7", "SIGCONT 7", "SIGCONT 5"]
    assert seconds is not None
    assert 0 <= seconds <= GRACE_SCAN_SECONDS


@pytest.mark.requirement("FR-007")
def test_another_process_with_the_same_pid_gets_signals_of_its_own() -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), LONG)
    _steps(plan, SessionMember(7, 1, 7, False, "S"))

    assert _steps(plan, SessionMember(7, 1, 7, False, "S"))[1] == []
    assert _steps(plan, SessionMember(7, 2, 7, False, "S"))[1] == ["SIGTERM 7", "SIGCONT 7"]


@pytest.mark.requirement("FR-007")
def test_there_is_no_next_step_once_nothing_is_alive() -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), LONG)

    assert _steps(plan) == (None, [])
    assert plan.is_over


@pytest.mark.requirement("FR-007")
def test_hang_up_is_enough_for_most_also_for_what_is_stopped(driver: Driver) -> None:
    obeying = driver.shell("echo ready; exec sleep 60")
    stopped = driver.shell("echo ready; kill -STOP $$; sleep 60")
    for slot in (obeying, stopped):
        driver.until_output(slot, b"ready")

    _end(driver, Windows(hangup=deadline_seconds()), obeying, stopped)

    assert driver.status(obeying).signal == driver.status(stopped).signal == signal.SIGHUP


@pytest.mark.requirement("FR-007")
def test_what_obeys_hang_up_has_time_to_clean_up(driver: Driver) -> None:
    # A TERM, which would end it, comes some milliseconds after the window.
    slot = driver.shell("trap 'sleep 0.2; exit 7' HUP; echo ready; while :; do sleep 0.01; done")
    driver.until_output(slot, b"ready")

    _end(driver, Windows(hangup=deadline_seconds()), slot)

    assert driver.status(slot).exit_code == 7


@pytest.mark.requirement("FR-007")
def test_what_ignores_all_is_killed_after_the_grace_with_its_jobs(driver: Driver) -> None:
    windows = Windows(hangup=0.05, grace=0.1)
    slot = driver.shell("trap '' HUP TERM; sleep 60 & echo ready; while :; do sleep 1; done")
    driver.until_output(slot, b"ready")

    began = time.monotonic()
    _end(driver, windows, slot)

    assert time.monotonic() - began >= windows.hangup + windows.grace
    wait_until(lambda: not session_members(driver.pids[slot]))
    assert driver.status(slot).signal == signal.SIGKILL


@pytest.mark.requirement("FR-007")
def test_term_comes_before_kill(driver: Driver, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    slot = driver.shell(
        f"trap '' HUP; trap 'echo bye >{proof}; exit' TERM; echo ready; "
        "while :; do sleep 0.01; done"
    )
    driver.until_output(slot, b"ready")

    _end(driver, Windows(hangup=0.05, grace=deadline_seconds()), slot)

    assert proof.read_text() == "bye\n"


@pytest.mark.requirement("FR-007")
def test_session_with_the_id_of_an_ended_child_is_left_alone(driver: Driver) -> None:
    slot = driver.spawn("/bin/cat")
    pid = driver.pids[slot]

    end_sessions({pid: (start_time(pid) or 0) - 1}, lambda: None, Windows())

    assert session_members(pid)


def test_without_sessions_only_the_terminals_are_closed() -> None:
    closed = []

    end_sessions({}, lambda: closed.append(True), Windows())

    assert closed == [True]


@pytest.mark.requirement("FR-008")
def test_newborn_is_killed_with_its_jobs_whatever_it_ignores() -> None:
    pty = open_pty(WindowSize(80, 24), plain_output=False)
    script = "trap '' HUP TERM; sleep 60 & echo ready; while :; do sleep 1; done"
    child = spawn(SpawnOptions(argv=("/bin/sh", "-c", script)), {"PATH": os.environ["PATH"]}, pty)
    try:
        said = b""
        while b"ready" not in said:
            assert select.select([pty.master], [], [], deadline_seconds())[0]
            said += os.read(pty.master, 100)

        end_newborn(pty.master)

        assert os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED).si_status == signal.SIGKILL  # type: ignore[union-attr]
        wait_until(lambda: not session_members(child.pid))
        with pytest.raises(OSError, match="Input/output"):
            os.open(pty.slave_name, os.O_RDWR | os.O_NOCTTY)  # none of its kind can come
    finally:
        for fd in (pty.master, child.master, child.pidfd):
            os.close(fd)


def test_terminal_on_which_nothing_was_started_is_only_locked() -> None:
    pty = open_pty(WindowSize(80, 24), plain_output=False)
    try:
        end_newborn(pty.master)
        with pytest.raises(OSError, match="Input/output"):
            os.open(pty.slave_name, os.O_RDWR | os.O_NOCTTY)
    finally:
        os.close(pty.master)
