"""The end of a child, of its terminal, and what is left of them: nothing."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ptymux.core.model import SpawnOptions
from ptymux.core.windows import Windows
from ptymux.engine.engine import Engine
from ptymux.engine.reports import Closed, Exited, Output, Suspended
from ptymux.errors import OutOfResourcesError
from ptymux.posix.process import send, session_members
from tests.engine.conftest import LONG, Driver
from tests.gate import Gate
from tests.timing import wait_until


def _kinds(driver: Driver, slot: int) -> list[str]:
    return [type(each).__name__ for each in driver.reports if each.slot == slot]


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize(
    ("script", "exit_code", "signum"),
    [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, signal.SIGKILL)],
)
def test_exit_status_is_reported_once_then_the_terminal_is_closed(
    driver: Driver, script: str, exit_code: int | None, signum: int | None
) -> None:
    slot = driver.shell(script)

    driver.until_closed(slot)

    status = driver.status(slot)
    assert (status.exit_code, status.signal) == (exit_code, signum)
    kinds = [kind for kind in _kinds(driver, slot) if kind != "Output"]
    assert kinds == ["Exited", "Closed"]
    expected = 256 + signum if signum else exit_code
    assert driver.rings[slot].ended == expected
    assert not driver.of(Exited, slot)[0].tail_pending


@pytest.mark.requirement("FR-012")
def test_output_of_a_child_that_dies_at_once_is_complete(driver: Driver) -> None:
    text = "x" * 9000
    slots = [driver.shell(f"printf {text}; exit 1") for _ in range(50)]

    for slot in slots:
        driver.status(slot)
        assert driver.output(slot) == text.encode()


@pytest.mark.requirement("FR-012")
def test_nothing_is_reported_after_the_terminal_closed(driver: Driver) -> None:
    slots = [driver.shell("printf hello") for _ in range(20)]

    driver.until(lambda: all(driver.of(Closed, slot) for slot in slots))
    driver.until_idle()

    assert {_kinds(driver, slot)[-1] for slot in slots} == {"Closed"}


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize("windows", [Windows(tail_silence=200, tail=LONG)])
def test_tail_ends_after_a_silence(driver: Driver) -> None:
    slot = driver.shell("trap '' HUP; sleep 60 & printf done")

    driver.status(slot)
    assert driver.of(Exited, slot)[0].tail_pending
    assert driver.output(slot) == b"done"
    driver.skip(100)
    assert not driver.of(Closed, slot)
    driver.skip(100)

    assert driver.of(Closed, slot)


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize("windows", [Windows(tail_silence=200, tail=LONG)])
def test_tail_lasts_while_it_is_not_silent(driver: Driver, gate: Gate) -> None:
    slot = driver.shell(
        f"trap '' HUP; (for i in 1 2 3 4; do {gate.wait}; printf $i; done; {gate.wait}) & printf 0"
    )
    driver.status(slot)

    for number in b"1234":
        driver.skip(150)
        gate.open()
        driver.until_output(slot, b"%c" % number)
    driver.until_idle()
    assert not driver.of(Closed, slot)
    driver.skip(200)

    assert driver.of(Closed, slot)
    assert driver.output(slot) == b"01234"


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize("windows", [Windows(tail_silence=200, tail=1000)])
def test_tail_lasts_a_time_at_most_although_it_is_not_silent(driver: Driver) -> None:
    slot = driver.shell("trap '' HUP; yes & printf done")
    ring = driver.rings[slot]

    driver.status(slot)
    for _ in range(9):
        driver.skip(100)
        before = ring.total
        driver.until(lambda before=before: ring.total > before)  # type: ignore[misc]
    assert not driver.of(Closed, slot)
    driver.skip(100)

    assert driver.of(Closed, slot)


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize("windows", [Windows(tail=0.05)])
def test_exit_is_announced_although_something_floods_the_terminal(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader slower than the writer never comes to the end of what there is.
    real_readv = os.readv

    def endless(fd: int, pieces: list[memoryview]) -> int:
        try:
            return real_readv(fd, pieces)
        except BlockingIOError:
            pieces[0][:4] = b"more"
            return 4

    slot = driver.shell("trap '' HUP; sleep 60 & printf done")
    driver.until_output(slot, b"done")
    monkeypatch.setattr(os, "readv", endless)

    driver.status(slot)
    driver.until_closed(slot)

    assert driver.of(Exited, slot)[0].tail_pending


def test_flood_of_a_tail_does_not_lengthen_the_turns(
    driver: Driver, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    def endless(_fd: int, pieces: list[memoryview]) -> int:
        nonlocal reads
        reads += 1
        driver.clock.skip(1)  # longer than a turn
        return min(4096, len(pieces[0]))

    slot = driver.shell(f"trap '' HUP; ({gate.wait}; echo flood; sleep 60) & printf done")
    driver.status(slot)
    monkeypatch.setattr(os, "readv", endless)
    gate.open()
    driver.until(lambda: reads)

    assert 0 < reads <= 8  # so many in a row
    assert not driver.of(Closed, slot)


@pytest.mark.requirement("FR-012")
def test_child_that_closes_its_terminal_may_open_it_again_and_costs_nothing_meanwhile(
    driver: Driver, gate: Gate, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    slot = driver.shell(
        f"exec </dev/null >/dev/null 2>&1; echo >{closed}; {gate.wait}; echo again >/dev/tty;"
        f"{gate.wait}; echo more >/dev/tty; exit 3"
    )

    driver.until(closed.exists)
    driver.until_idle()
    gate.open()
    driver.until_output(slot, b"again\r\n")
    driver.until_idle()
    gate.open()
    driver.until_closed(slot)

    assert driver.output(slot) == b"again\r\nmore\r\n"
    assert driver.status(slot).exit_code == 3


def test_input_in_hand_while_nobody_has_the_terminal_open_costs_nothing(
    driver: Driver, gate: Gate, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    slot = driver.shell(
        f"stty raw; exec </dev/null >/dev/null 2>&1; echo >{closed}; {gate.wait}; exit 0"
    )
    driver.until(closed.exists)
    _number, sock = driver.lifeline(slot)

    sock.send(b"x" * 60_000)
    driver.until_idle()
    gate.open()
    driver.until_closed(slot)

    assert driver.last_word(sock) <= 60_000


def test_output_is_told_when_total_reaches_the_mark_and_not_before(driver: Driver) -> None:
    slot = driver.shell("printf 1234; read x; printf 5678; exec cat")
    driver.rings[slot].wake_at = 5
    driver.until(lambda: driver.rings[slot].total == 4)
    assert not driver.of(Output, slot)

    _number, sock = driver.lifeline(slot)
    sock.send(b"\n")

    driver.until(lambda: driver.of(Output, slot))


@pytest.mark.requirement("FR-003")
def test_fds_and_memory_are_flat_over_spawns_and_exits() -> None:
    driver = Driver(Windows())
    gc.collect()
    gc.disable()  # nothing may wait for it
    try:
        before = set(os.listdir("/proc/self/fd"))
        for slot in range(1, 201):
            assert driver.spawn("true") == slot
            driver.until_closed(slot)
            driver.engine.forget(slot)
            driver.rings.pop(slot).release()
        after = set(os.listdir("/proc/self/fd"))
    finally:
        gc.enable()
        driver.engine.close()

    assert len(after) <= len(before)


@pytest.mark.requirement("FR-003")
def test_exited_children_are_no_zombies(driver: Driver) -> None:
    slots = [driver.shell(f"exit {number}") for number in range(20)]

    for slot in slots:
        driver.status(slot)

    assert not [pid for pid in driver.pids.values() if os.path.exists(f"/proc/{pid}/stat")]


def test_children_of_the_host_program_are_left_to_it(driver: Driver) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as foreign:
        os.waitid(os.P_PID, foreign.pid, os.WEXITED | os.WNOWAIT)
        slot = driver.shell("exit 4")

        assert driver.status(slot).exit_code == 4
        driver.until_closed(slot)
        assert foreign.wait() == 3


def test_close_of_the_engine_reaps_who_is_dead_already() -> None:
    driver = Driver(Windows())
    driver.shell("exit 0")
    pid = driver.pids[1]
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    driver.engine.close()

    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.requirement("FR-007")
def test_forced_close_ends_the_terminal_and_reports_the_child_when_it_ends(
    driver: Driver,
) -> None:
    slot = driver.shell("trap '' HUP; echo ready; read x; sleep 60")
    driver.until_output(slot, b"ready")

    driver.engine.close_pty(slot)
    driver.until_closed(slot)
    assert not driver.of(Exited, slot)
    for member in session_members(driver.pids[slot]):
        send(member, signal.SIGKILL)

    assert driver.status(slot).signal == signal.SIGKILL
    assert [kind for kind in _kinds(driver, slot) if kind != "Output"] == ["Closed", "Exited"]


def test_ring_of_the_caller_may_go_before_the_child_does(driver: Driver) -> None:
    slot = driver.shell("trap '' HUP; echo ready; read x; sleep 60")
    driver.until_output(slot, b"ready")
    driver.engine.close_pty(slot)
    driver.until_closed(slot)

    driver.rings[slot].release()
    for member in session_members(driver.pids[slot]):
        send(member, signal.SIGKILL)

    assert driver.status(slot).signal == signal.SIGKILL
    driver.rings[slot] = driver.rings[driver.shell("true")]  # for the clean-up


@pytest.mark.requirement("FR-003", "SC-002")
def test_spawn_that_cannot_be_watched_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    real = Engine.watch

    def full(self: Engine, fd: int, mask: int, handler: object) -> None:
        if mask and len(self._handlers) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, fd, mask, handler)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "watch", full)
    fds = set(os.listdir("/proc/self/fd"))

    with pytest.raises(OutOfResourcesError):
        engine.spawn(1, SpawnOptions(argv=("sleep", "60")), {"PATH": os.environ["PATH"]})

    assert len(os.listdir("/proc/self/fd")) == len(fds)
    monkeypatch.undo()
    engine.spawn(1, SpawnOptions(argv=("true",)), {"PATH": os.environ["PATH"]})
    wait_until(lambda: any(isinstance(each, Closed) for each in engine.run_once(0.02)))
    engine.close()


@pytest.mark.requirement("FR-004")
def test_stop_and_continuation_are_noticed(driver: Driver) -> None:
    slot = driver.spawn("sleep", "60")
    os.kill(driver.pids[slot], signal.SIGSTOP)
    for _ in driver.turns_until(lambda: driver.of(Suspended, slot)):
        driver.engine.check_stopped()
    os.kill(driver.pids[slot], signal.SIGCONT)
    for _ in driver.turns_until(lambda: len(driver.of(Suspended, slot)) == 2):
        driver.engine.check_stopped()

    assert [each.suspended for each in driver.of(Suspended, slot)] == [True, False]
