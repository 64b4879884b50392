"""What a terminal answers to a key goes to the client that typed at once."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from ptymux.core.windows import Windows
from ptymux.engine.input import Input
from ptymux.engine.reports import LifelineEnded, Output
from ptymux.protocol.framing import Frame, FrameDecoder, Out, Taken
from tests.engine.conftest import LONG, Driver
from tests.gate import Gate
from tests.timing import deadline_seconds

RAW_CAT = "stty raw -echo; printf ready; exec cat"
PROMPT = b"ready"


class Echoing:
    """A client's end of a lifeline that echoes."""

    def __init__(self, driver: Driver, slot: int) -> None:
        self._driver = driver
        self.number, self.sock = driver.lifeline(slot, echoes=True)
        self.frames: list[Frame] = []
        self.decoder = FrameDecoder()

    def type(self, data: bytes) -> None:
        sent = self.sock.send(data)
        assert sent == len(data)

    def take(self) -> bool:
        """Read what is there; True: something new."""
        before = len(self.frames)
        with suppress(BlockingIOError):
            self.frames += self.decoder.feed(self.sock.recv(65536))
        return len(self.frames) > before

    def wait(self) -> None:
        self._driver.until(self.take)


@pytest.fixture
def windows() -> Windows:
    """Windows in which all output answers a key, for as long as `driver.skip` lets time pass."""
    return Windows(typing=LONG)


@pytest.fixture
def slot(driver: Driver) -> int:
    slot = driver.shell(RAW_CAT)
    driver.until_output(slot, PROMPT)
    driver.rings[slot].wake_at = len(PROMPT) + 1
    driver.reports.clear()
    return slot


def test_an_answer_to_a_key_comes_on_the_lifeline_and_is_reported_too(
    driver: Driver, slot: int
) -> None:
    line = Echoing(driver, slot)

    line.type(b"k")
    line.wait()
    assert line.frames == [Out(5, b"k")]

    driver.until(lambda: driver.of(Output, slot))
    assert driver.output(slot) == b"readyk"
    assert len(driver.of(Output, slot)) == 1


def test_keys_are_answered_on_the_way_while_there_is_nothing_to_report(
    driver: Driver, slot: int
) -> None:
    line = Echoing(driver, slot)

    line.type(b"k")
    reports = driver.engine.run_once(deadline_seconds())

    assert reports == [Output(slot)]
    assert line.take()
    assert line.frames == [Out(5, b"k")]


def test_keys_without_end_make_no_turn_longer(driver: Driver, slot: int) -> None:
    line = Echoing(driver, slot)
    driver.rings[slot].wake_at = 1 << 40  # nobody wants to be told
    line.sock.settimeout(deadline_seconds())
    has_returned = threading.Event()
    give_up_at = time.monotonic() + deadline_seconds()
    keys = 0

    def type_at_each_answer() -> None:
        nonlocal keys
        while not has_returned.is_set() and time.monotonic() < give_up_at:
            line.type(b"k")
            line.sock.recv(100)
            keys += 1

    typist = threading.Thread(target=type_at_each_answer)
    typist.start()
    answered, seconds = 0, 0.02
    while answered < 3 and time.monotonic() < give_up_at:  # in one turn
        before, seconds = keys, 2 * seconds
        driver.engine.run_once(seconds)
        answered = keys - before
    returned_at = time.monotonic()
    has_returned.set()
    driver.until(lambda: not typist.is_alive())

    assert answered >= 3
    assert returned_at < give_up_at  # and not because there were no more keys


def test_all_who_asked_get_it_and_nobody_else(driver: Driver, slot: int) -> None:
    first, second = Echoing(driver, slot), Echoing(driver, slot)
    _number, plain = driver.lifeline(slot)

    plain.send(b"k")
    first.wait()
    second.wait()

    assert first.frames == second.frames == [Out(5, b"k")]
    with pytest.raises(BlockingIOError):
        plain.recv(1)


def test_what_comes_long_after_a_key_is_no_answer(driver: Driver, gate: Gate) -> None:
    slot = driver.shell(f"stty raw -echo; printf ready; {gate.wait}; printf late; exec cat")
    driver.until_output(slot, PROMPT)
    line = Echoing(driver, slot)

    line.type(b"k")
    driver.until(lambda: driver.engine.typing_until)
    driver.skip(LONG)
    gate.open()
    driver.until_output(slot, b"late")

    assert not line.take()


def test_long_output_is_no_answer(driver: Driver, gate: Gate) -> None:
    slot = driver.shell(f"stty raw -echo; printf ready; {gate.wait}; printf %01000d 7; exec cat")
    driver.until_output(slot, PROMPT)
    line = Echoing(driver, slot)

    line.type(b"k")
    driver.until(lambda: driver.engine.typing_until)
    gate.open()
    driver.wait_unread(slot, 1000)
    driver.until_output(slot, b"0007")

    line.take()
    assert b"0" not in b"".join(frame.data for frame in line.frames if isinstance(frame, Out))


def test_a_client_that_does_not_read_holds_nothing_up_and_gets_whole_frames(
    driver: Driver, slot: int
) -> None:
    line = Echoing(driver, slot)
    typed = bytes(ord("a") + number % 26 for number in range(600))

    for count, key in enumerate(typed, 1):
        line.type(bytes((key,)))
        driver.until_output(slot, typed[:count])
    driver.until(lambda: not line.take())

    assert 0 < len(line.frames) < len(typed)
    assert line.decoder.held == 0
    for frame in line.frames:
        assert isinstance(frame, Out)
        assert frame.data == driver.output(slot)[frame.offset :][: len(frame.data)]


def test_there_is_room_for_the_last_word_behind_echoes_that_nobody_reads(
    driver: Driver, slot: int
) -> None:
    line = Echoing(driver, slot)
    for count in range(1, 201):
        line.type(b"x")
        driver.until_output(slot, b"x" * count)

    line.sock.shutdown(socket.SHUT_WR)
    driver.until(lambda: driver.of(LifelineEnded, slot))
    while line.take():
        pass

    assert len(line.frames) < 200
    assert line.frames[-1] == Taken(200)


def test_its_last_word_is_a_frame(driver: Driver, slot: int) -> None:
    line = Echoing(driver, slot)
    line.type(b"abc")
    driver.until_output(slot, b"abc")

    line.sock.shutdown(socket.SHUT_WR)
    driver.until(lambda: line.take() and isinstance(line.frames[-1], Taken))

    assert line.frames[-1] == Taken(3)
    assert line.sock.recv(1) == b""


def test_a_client_that_left_is_no_error(driver: Driver, slot: int) -> None:
    line, other = Echoing(driver, slot), Echoing(driver, slot)
    line.type(b"k")
    line.sock.close()

    other.wait()

    assert other.frames == [Out(5, b"k")]


def test_who_takes_over_goes_on_echoing(driver: Driver, slot: int) -> None:
    ours, theirs = socket.socketpair()
    ring = driver.rings[slot]
    ring.set_lifeline(3, 9, 100, echoes=True)
    successor = Input(
        -1,
        ring,
        lambda _fd, _mask, _handler: None,
        lambda: None,
        lambda _number, _by_client: None,
    )
    with theirs:
        assert successor.restore(9, ours) == 0
        assert successor.echo(5, b"k")
        successor.close()

        answer = list(FrameDecoder().feed(theirs.recv(100)))

    assert answer == [Out(5, b"k"), Taken(100)]
