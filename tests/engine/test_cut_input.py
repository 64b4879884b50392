"""An engine that dies while it types: its successor goes on exactly where it was, or says so."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.ring import RingBuffer
from ptymux.engine.input import Input

NUMBER = 9


class Killed(BaseException):
    """What is not caught, as nothing is done by who was killed."""


class Fuse:
    """Ends everything before or after the n-th step."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **options: Any) -> Any:
            self.burn()
            result = step(*args, **options)
            self.burn()
            return result

        return stepped


class Fragile:
    """Another object each of whose methods is a step."""

    def __init__(self, target: object, fuse: Fuse) -> None:
        self._target = target
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return self._fuse.around(found) if callable(found) else found


class FragileWords:
    """A ring's header each of whose stores is a step."""

    def __init__(self, words: memoryview, fuse: Fuse) -> None:
        self._words = words
        self._store = fuse.around(words.__setitem__)

    def __getitem__(self, at: Any) -> Any:
        return self._words[at]

    def __setitem__(self, at: int, value: int) -> None:
        self._store(at, value)


class Typed:
    """A terminal that takes so much at a time, and one engine after the other that types."""

    def __init__(self, takes: list[int]) -> None:
        self.got = b""
        self.unknown = 0
        self.is_telling = False  # an engine that takes over died before it said what is unknown
        self._takes = takes
        self._ring = RingBuffer(1024)
        self._words = self._ring._words
        self._ours, self.client = socket.socketpair()

    def write(self, _fd: int, data: bytes) -> int:
        takes = self._takes.pop(0) if self._takes else len(data)
        if not takes:
            raise BlockingIOError
        self.got += data[:takes]
        return min(takes, len(data))

    def live(self, steps: int) -> bool:
        """Have an engine take over and type until all is typed; False: it died before."""
        fuse = Fuse(steps)
        sock: Any = Fragile(self._ours, fuse)
        ring: Any = self._ring
        ring._words = FragileWords(self._words, fuse)
        self.engine = engine = Input(
            -1, ring, lambda *_watch: None, lambda: None, lambda *_ended: None
        )
        write = os.write
        os.write = fuse.around(self.write)
        try:
            self.is_telling = self._ring.being_typed[1] > 0
            self.unknown += engine.restore(NUMBER, sock)
            self.is_telling = False
            while self.waits():
                if engine.is_waiting:
                    engine.feed()
                else:
                    engine._on_event(next(iter(engine._lines.values())), 1)
            return True
        except Killed:
            self.unknown += self.is_telling
            return False
        finally:
            os.write = write
            ring._words = self._words

    def waits(self) -> bool:
        # At an offset, so that the socket's own for peeking stays where it is.
        probe = socket.socket(fileno=os.dup(self._ours.fileno()))
        with probe:
            before = probe.getsockopt(socket.SOL_SOCKET, 42)
            probe.setsockopt(socket.SOL_SOCKET, 42, 0)
            try:
                return bool(probe.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except BlockingIOError:
                return False
            finally:
                probe.setsockopt(socket.SOL_SOCKET, 42, before)

    def begin(self, data: bytes) -> None:
        self._ring.set_lifeline(0, NUMBER, 0)
        self.client.sendall(data)

    @property
    def counted(self) -> int:
        return self._ring.lifelines()[NUMBER].taken

    @property
    def is_unsure(self) -> bool:
        return self._ring.lifelines()[NUMBER].is_unsure

    def last_word(self) -> bytes:
        """Return what the client is told of how much was typed, empty when nobody knows."""
        self.engine.close()
        return self.client.recv(100)

    def close(self) -> None:
        self.client.close()
        self._ours.close()


@pytest.mark.requirement("FR-010")
@given(
    st.integers(1, 60),
    st.lists(st.integers(1, 40), max_size=4),
    st.lists(st.integers(0, 4000), max_size=6),
)
def test_what_is_typed_is_exact_wherever_engines_die(
    first: int, deaths: list[int], takes: list[int]
) -> None:
    data = os.urandom(9000)
    typed = Typed(takes)
    typed.begin(data)

    for steps in (first, *deaths, 1_000_000):
        if typed.live(steps):
            break

    try:
        assert typed.counted == len(data)
        if not typed.is_unsure:
            assert typed.got == data
        if not typed.unknown:
            assert typed.got == data
    finally:
        typed.close()


@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize("steps", range(1, 80))
def test_one_death_leaves_no_more_unknown_than_was_in_hand(steps: int) -> None:
    """And nothing but in the moment around the write, before it could be noted."""
    data = os.urandom(5000)
    typed = Typed([1000])
    typed.begin(data)

    typed.live(steps)
    assert typed.live(1_000_000)
    word = typed.last_word()
    typed.close()

    assert word == (b"" if typed.unknown else len(data).to_bytes(8, "little"))
    missing = len(data) - len(typed.got)
    at = next((i for i, byte in enumerate(typed.got) if byte != data[i]), len(typed.got))
    assert 0 <= missing <= typed.unknown <= 4096
    assert typed.got[at:] == data[at + missing :]


@pytest.mark.requirement("FR-010")
def test_two_deaths_make_nothing_certain_that_is_not() -> None:
    """The second one between any two stores of the first one's successor."""
    data = os.urandom(100)
    for first in range(1, 30):
        for second in range(1, 30):
            typed = Typed([])
            typed.begin(data)
            for steps in (first, second, 1_000_000):
                if typed.live(steps):
                    break
            is_unsure = typed.is_unsure
            typed.close()
            assert is_unsure or typed.got == data, (first, second)


def test_a_place_that_is_free_has_no_count_of_one_that_ended() -> None:
    for steps in range(1, 8):
        ring: Any = RingBuffer(1024)
        ring.set_lifeline(0, NUMBER, 100)
        words, ring._words = ring._words, FragileWords(ring._words, Fuse(steps))
        with suppress(Killed):
            ring.set_lifeline(0, 0, 0)
        ring._words = words
        if NUMBER not in ring.lifelines():
            assert 100 not in ring._words[64:66].tolist(), steps
