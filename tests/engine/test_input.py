"""Lifelines: in order, whole, pushed back, and never silently lost."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ptymux.core.model import Limits
from ptymux.engine.reports import LifelineEnded
from ptymux.errors import LimitReachedError, OutOfResourcesError
from tests.engine.conftest import Driver, seeded
from tests.posix.conftest import soft_limit_of_open_files
from tests.processes import is_stopped
from tests.timing import wait_until

_RAW_READER = """
import hashlib, os, sys, time, tty
tty.setraw(0)
os.write(1, b"ready")
size, pause, got = int(sys.argv[1]), float(sys.argv[2]), bytearray()
while len(got) < size:
    got += os.read(0, 4096)
    time.sleep(pause)
os.write(1, hashlib.sha256(got).hexdigest().encode() + b".")
"""


def _reader(driver: Driver, size: int, pause: float = 0.0) -> int:
    slot = driver.spawn(sys.executable, "-c", _RAW_READER, str(size), str(pause))
    driver.until_output(slot, b"ready")
    return slot


def _send_all(driver: Driver, sock: socket.socket, data: bytes) -> int:
    """Send until all is sent or the other end is closed; return how much was sent."""
    sent = 0

    def more() -> bool:
        nonlocal sent
        with suppress(BlockingIOError):
            try:
                sent += sock.send(data[sent : sent + 100_000])
            except (BrokenPipeError, ConnectionResetError):
                return True
        return sent == len(data)

    driver.until(more)
    return sent


def _bytes(size: int) -> bytes:
    return seeded().randbytes(size)


@pytest.mark.requirement("FR-010")
def test_a_mebibyte_arrives_whole_and_in_order_at_a_slow_child(driver: Driver) -> None:
    data = _bytes(1 << 20)
    slot = _reader(driver, len(data), 0.0005)
    _number, sock = driver.lifeline(slot)

    sent = _send_all(driver, sock, data)
    sock.shutdown(socket.SHUT_WR)
    taken = driver.last_word(sock)
    driver.status(slot)

    assert (sent, taken) == (len(data), len(data))
    assert hashlib.sha256(data).hexdigest().encode() in driver.output(slot)


@pytest.mark.requirement("FR-010")
def test_lifeline_pushes_back_while_the_child_reads_nothing(driver: Driver) -> None:
    slot = driver.shell("stty raw; echo ready; sleep 60")
    driver.until_output(slot, b"ready")
    _number, sock = driver.lifeline(slot)

    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += sock.send(b"x" * 4096)
            driver.turn(0)
            assert sent < 1 << 20

    assert sent < 300_000


@pytest.mark.requirement("FR-010")
def test_last_word_is_exact_when_the_pty_ends_in_between(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _bytes(1 << 20)
    slot = _reader(driver, 10_000)
    _number, sock = driver.lifeline(slot)
    taken = 0
    real_write = os.write

    def counting(fd: int, chunk: bytes) -> int:
        nonlocal taken
        count = real_write(fd, chunk)
        taken += count
        return count

    monkeypatch.setattr(os, "write", counting)
    sent = _send_all(driver, sock, data)
    word = driver.last_word(sock)

    assert 10_000 <= word == taken <= sent


@pytest.mark.requirement("FR-010")
def test_client_that_leaves_is_seen_while_the_terminal_takes_nothing(driver: Driver) -> None:
    slot = _reader(driver, 60_000, 0.0)
    os.kill(driver.pids[slot], signal.SIGSTOP)
    wait_until(lambda: is_stopped(driver.pids[slot]))
    number, sock = driver.lifeline(slot)
    other, _sock = driver.lifeline(slot)
    data = _bytes(60_000)
    _send_all(driver, sock, data)
    driver.until_idle()
    assert not driver.of(LifelineEnded, slot)

    sock.close()
    driver.until(lambda: driver.of(LifelineEnded, slot))
    assert [each.lifeline for each in driver.of(LifelineEnded, slot)] == [number]
    os.kill(driver.pids[slot], signal.SIGCONT)

    # What was sent before is typed all the same.
    driver.until_output(slot, hashlib.sha256(data).hexdigest().encode())
    driver.status(slot)
    assert [each.lifeline for each in driver.of(LifelineEnded, slot)] == [number, other]


@pytest.mark.requirement("FR-010")
def test_waiting_lifelines_cost_nothing_while_the_terminal_takes_nothing(driver: Driver) -> None:
    slot = driver.shell("stty raw; echo ready; sleep 60")
    driver.until_output(slot, b"ready")
    socks = [driver.lifeline(slot)[1] for _ in range(3)]
    for sock in socks:
        sock.send(b"x" * 60_000)
    driver.until_idle()

    socks[0].shutdown(socket.SHUT_WR)
    driver.until_idle()
    socks[1].close()
    driver.until_idle()

    assert len(driver.of(LifelineEnded, slot)) == 1


@pytest.mark.requirement("FR-010")
def test_lifelines_interleave_by_whole_chunks(driver: Driver) -> None:
    size, chunk = 8 * 4096, 4096
    slot = driver.spawn(
        sys.executable,
        "-c",
        "import os, time, tty\ntty.setraw(0)\nos.write(1, b'ready')\ngot = b''\n"
        f"while len(got) < {3 * size}:\n    got += os.read(0, 1000)\n"
        "os.write(1, got + b'!')\ntime.sleep(60)\n",
    )
    driver.until_output(slot, b"ready")

    for letter in b"abc":
        _number, sock = driver.lifeline(slot)
        assert sock.send(bytes([letter]) * size) == size
    driver.until_output(slot, b"!")
    output = driver.output(slot)[len("ready") : -1]

    runs = [len(run.group()) for run in re.finditer(rb"a+|b+|c+", output)]
    assert len(runs) > 3
    assert {run % chunk for run in runs} == {0}
    assert max(runs) == chunk  # nobody waits for two of another
    assert all(output.count(letter) == size for letter in (b"a", b"b", b"c"))


@pytest.mark.requirement("FR-010")
def test_close_of_a_lifeline_is_told_once(driver: Driver) -> None:
    slot = driver.shell("exec cat")
    number, sock = driver.lifeline(slot)

    sock.send(b"bye\n")
    sock.close()
    driver.until(lambda: driver.of(LifelineEnded, slot))
    driver.until_output(slot, b"bye\r\nbye\r\n")
    driver.until_idle()

    assert driver.of(LifelineEnded, slot) == [LifelineEnded(slot, number, by_client=True)]


@pytest.mark.requirement("FR-010")
def test_input_for_a_terminal_that_is_closed_for_a_moment_waits_for_who_opens_it_again(
    driver: Driver, tmp_path: Path
) -> None:
    closed, sent = tmp_path / "closed", tmp_path / "sent"
    slot = driver.shell(
        f"exec </dev/null >/dev/null 2>&1; echo >{closed}; until test -e {sent}; do sleep 0.01;"
        "done; read word </dev/tty; echo got $word >/dev/tty"
    )
    driver.until(closed.exists)
    _number, sock = driver.lifeline(slot)

    sock.send(b"patience\n")
    sock.shutdown(socket.SHUT_WR)
    assert driver.last_word(sock) == 9
    sent.touch()

    driver.until_output(slot, b"got patience")


def test_lifeline_of_an_ended_pty_says_that_nothing_was_taken(driver: Driver) -> None:
    slot = driver.shell("exit 0")
    driver.until_closed(slot)

    _number, sock = driver.lifeline(slot)

    assert driver.last_word(sock) == 0
    assert sock.recv(1) == b""


def test_too_many_lifelines_are_refused_and_a_closed_one_makes_room(driver: Driver) -> None:
    slot = driver.shell("exec cat")
    lines = [driver.lifeline(slot) for _ in range(Limits.LIFELINES)]
    kept = [number for number, _sock in lines]

    with pytest.raises(LimitReachedError):
        driver.engine.open_lifeline(slot, kept=kept)
    lines[0][1].close()
    driver.until(lambda: driver.of(LifelineEnded, slot))

    driver.lifeline(slot)


def test_of_too_many_lifelines_the_one_that_was_used_least_lately_gives_way(
    driver: Driver,
) -> None:
    slot = driver.shell("stty raw -echo; echo ready; exec cat")
    driver.until_output(slot, b"ready")
    lines = [driver.lifeline(slot) for _ in range(Limits.LIFELINES)]
    lines[0][1].send(b"used")
    driver.until_output(slot, b"used")
    lines[1][1].send(b"waits")  # for a turn of the engine

    _number, sock = driver.engine.open_lifeline(slot, kept=[lines[2][0]])

    with sock:
        assert driver.last_word(lines[3][1]) == 0
        sock.send(b"heard")
        driver.until_output(slot, b"heard")
    assert b"waits" in driver.output(slot)
    driver.until_idle()
    ended = {report.lifeline for report in driver.of(LifelineEnded, slot)}
    assert lines[3][0] in ended
    assert not ended & {number for number, _sock in lines if number != lines[3][0]}


def test_lifeline_without_fds_is_a_clear_error(driver: Driver) -> None:
    slot = driver.shell("exec cat")

    with soft_limit_of_open_files(3), pytest.raises(OutOfResourcesError):
        driver.engine.open_lifeline(slot)

    assert driver.lifeline(slot)


@pytest.mark.requirement("FR-010", "SC-002")
@pytest.mark.parametrize("before", [b"", b"a"])
def test_an_urgent_byte_is_dropped_and_keeps_nobody_busy(driver: Driver, before: bytes) -> None:
    slot = driver.shell("stty raw -echo; echo ready; exec cat")
    driver.until_output(slot, b"ready")
    _number, sock = driver.lifeline(slot)

    for text in (b"b", b"c"):
        sock.send(before + b"!", socket.MSG_OOB)
        driver.until_idle()
        sock.send(text + b"\n")
        driver.until_output(slot, text)
        driver.until_idle()

    assert driver.output(slot).endswith(b"ready\n" + before + b"b\n" + before + b"c\n")


@pytest.mark.requirement("FR-010")
def test_input_around_an_urgent_byte_is_typed_once(driver: Driver) -> None:
    slot = _reader(driver, 8000)
    _number, sock = driver.lifeline(slot)

    sock.send(b"a" * 3000)
    sock.send(b"!", socket.MSG_OOB)
    sock.send(b"b" * 5000)
    sock.shutdown(socket.SHUT_WR)

    assert driver.last_word(sock) == 8000
    driver.status(slot)
    digest = hashlib.sha256(b"a" * 3000 + b"b" * 5000).hexdigest().encode()
    assert digest in driver.output(slot)


@pytest.mark.requirement("FR-010")
def test_a_lifeline_that_ends_with_an_urgent_byte_ends(driver: Driver) -> None:
    slot = driver.shell("exec sleep 60")
    number, sock = driver.lifeline(slot)

    sock.send(b"!", socket.MSG_OOB)
    driver.until_idle()
    sock.close()

    driver.until(lambda: driver.of(LifelineEnded, slot))
    assert driver.of(LifelineEnded, slot) == [LifelineEnded(slot, number, by_client=True)]
