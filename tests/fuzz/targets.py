"""What is fed with junk, and what may come of it: a value, or the error that is documented.

Each target is a property that hypothesis can draw for: `test_fuzz.py` draws some examples in the
default run, and for minutes, led by coverage, on request.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptymux.cli.options.config import KEYS, defaults_for, load
from ptymux.core.account import Account
from ptymux.core.bus import Bus
from ptymux.core.event_log import HEADER_SIZE, EventLog, Topic
from ptymux.core.model import Limits, OnFull
from ptymux.core.output import OutputBuffer
from ptymux.core.pattern import PERIOD, Pattern
from ptymux.core.reader import ReaderKind
from ptymux.core.ring import SLACK, Cursor, RingBuffer, ring_size
from ptymux.errors import ConfigError, InvalidValueError, LinkClosedError, PtymuxError
from ptymux.errors import ProtocolError as Refused
from ptymux.handover.state_file import StateFile, read_proofs
from ptymux.handover.wire import Inbox, Outbox
from ptymux.protocol.framing import HEADER_SIZE as FRAME_HEADER
from ptymux.protocol.framing import LARGEST_FRAME, FrameDecoder
from ptymux.protocol.lines import LineDecoder
from ptymux.protocol.messages import decode_answer, decode_payload, decode_request
from ptymux.protocol.params import Params, agree
from tests.timing import deadline_seconds

__all__ = ["TARGETS", "Target"]

Target = Callable[[], None]

# What is nested deeper has tests of its own: hypothesis may not be interrupted by a RecursionError.
DEEPEST: Final = 60

JUNK = st.binary(max_size=300)
CUTS = st.lists(st.integers(1, 60), max_size=8)
WORD = st.one_of(
    st.sampled_from([0, 1, 2, 8, 1 << 16, 1 << 20, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
    st.integers(0, 1 << 17),
    st.integers(0, (1 << 64) - 1),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["oldest", "block", "exit", "consumer", 0, 1, 80, 4096, 1 << 62, 0.5]),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for size in cuts:
        yield data[at : at + size]
        at += size
    yield data[at:]


def _never_ends(_signum: int, _frame: FrameType | None) -> None:
    raise AssertionError("it computes without end")


@contextmanager
def ending() -> Iterator[None]:
    """Fail when a loop in the block does not end; only the time that it computes counts."""
    before = signal.signal(signal.SIGVTALRM, _never_ends)
    signal.setitimer(signal.ITIMER_VIRTUAL, deadline_seconds())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# Framing ----------------------------------------------------------------------------------------

FRAME = st.builds(
    lambda kind, size, content: struct.pack(">BI", kind, size & 0xFFFFFFFF) + content,
    st.integers(0, 12),
    st.integers(0, 40) | st.just(LARGEST_FRAME) | st.just(LARGEST_FRAME + 1) | WORD,
    st.binary(max_size=40),
)
LINE = st.builds(lambda value: json.dumps(value).encode() + b"\n", JSON)


@given(st.lists(FRAME | JUNK, max_size=6).map(b"".join), CUTS)
def frames(data: bytes, cuts: list[int]) -> None:
    decoder = FrameDecoder()
    with suppress(Refused):
        for piece in pieces(data, cuts):
            for frame in decoder.feed(piece):
                assert repr(frame)
            assert decoder.held <= FRAME_HEADER + LARGEST_FRAME


@given(st.lists(LINE | JUNK, max_size=6).map(b"".join), CUTS, st.integers(0, 400))
def lines(data: bytes, cuts: list[int], payload: int) -> None:
    decoder = LineDecoder(largest=200)
    taken = 0
    with suppress(Refused):
        for piece in pieces(data, cuts):
            decoder.feed(piece)
            while (line := decoder.next_line()) is not None:
                taken += len(line) + 1
                assert len(line) < 200
        taken += len(decoder.take_payload(payload) or b"")
        assert taken + len(decoder.take_rest()) == len(data)


# Messages ---------------------------------------------------------------------------------------


def read_every_way(params: Params, name: str) -> None:
    for read in (
        lambda: params.text(name),
        lambda: params.number(name),
        lambda: params.real(name),
        lambda: params.flag(name),
        lambda: params.choice(name, ["exit"]),
        lambda: params.number_or_choice(name, ["oldest"]),
        lambda: params.optional_text(name),
        lambda: params.optional_number(name, 0, 10),
        lambda: params.optional_real(name),
        lambda: params.texts_list(name),
        lambda: params.choices(name, ["a"]),
        lambda: params.texts(name),
        lambda: params.pair(name),
        lambda: agree(params),
    ):
        with suppress(PtymuxError):
            read()


CALL = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": LEAVES,
        "id": LEAVES,
        "method": st.text(max_size=8) | LEAVES,
        "params": st.dictionaries(st.sampled_from(["protocol", "pty", "x"]), JSON) | JSON,
        "result": JSON,
        "error": st.dictionaries(st.sampled_from(["code", "message", "data"]), JSON) | JSON,
    },
).map(lambda members: json.dumps(members).encode())


@given(CALL | LINE | JUNK | st.integers(0, DEEPEST).map(lambda depth: b"[" * depth))
def messages(line: bytes) -> None:
    with suppress(PtymuxError):
        request = decode_request(line)
        for name in ("protocol", *request.params):
            read_every_way(Params(request.params), name)
    with suppress(PtymuxError):
        decode_answer(line)


@given(st.lists(JUNK, max_size=5), st.integers(-1, 6), st.integers(-1, 6))
def payloads(words: list[bytes], argc: int, envc: int) -> None:
    payload = b"\0".join(words)
    with suppress(PtymuxError):
        argv, env = decode_payload(payload, max(0, argc), max(0, envc))
        assert len(argv) == max(0, argc)
        assert len(env) <= max(0, envc)


# The link between server and keeper ------------------------------------------------------------

BODY = st.builds(lambda value: json.dumps(value).encode(), JSON) | JUNK
PACKET = st.builds(
    lambda text, data, skew: struct.pack("!II", max(0, len(text) + skew), len(data)) + text + data,
    BODY | st.dictionaries(st.just("fds"), JSON).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=20),
    st.sampled_from([0, 0, 0, 0, -1, 1, 4_000_000_000]),
)


def _open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@given(st.lists(PACKET | JUNK, max_size=4), st.integers(0, 3))
def link(packets: list[bytes], fds: int) -> None:
    before = _open_fds()
    left, right = socket.socketpair()
    right.setblocking(False)
    inbox = Inbox(right)
    with left, right, open(os.devnull) as null:
        for packet in packets:
            if packet:
                socket.send_fds(left, [packet], [null.fileno()] * fds)
        left.shutdown(socket.SHUT_WR)
        try:
            with suppress(LinkClosedError):
                while True:
                    for message in inbox.receive():
                        for fd in message.fds:
                            os.close(fd)
        finally:
            inbox.close()
    assert _open_fds() == before


SAID = st.tuples(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3).filter(
        lambda body: "fds" not in body
    ),
    st.binary(max_size=60) | st.sampled_from([bytes(9000), bytes(70_000)]),
    st.integers(0, 3),
)


@given(st.lists(SAID, max_size=5))
def link_both_ways(said: list[tuple[dict[str, object], bytes, int]]) -> None:
    before = _open_fds()
    left, right = socket.socketpair()
    with left, right, open(os.devnull) as null:
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for sock in (left, right):
            sock.setblocking(False)
        outbox, inbox = Outbox(left), Inbox(right)
        for body, data, fds in said:
            outbox.send(body, data, [null.fileno()] * fds)
        heard: list[tuple[Mapping[str, object], bytes, int]] = []
        while len(heard) < len(said):
            for message in inbox.receive():
                heard.append((message.body, message.data, len(message.fds)))
                for fd in message.fds:
                    os.close(fd)
            outbox.flush()
        assert heard == said
        assert not outbox.is_waiting
    assert _open_fds() == before


# What the dead left ----------------------------------------------------------------------------


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state")
        path.write_bytes(content)
        yield str(path)


SLOT = st.builds(
    lambda pid, start, number, boot: struct.pack("=QQQ36s4x", pid, start, number, boot),
    *(WORD, WORD, st.integers(0, 3) | WORD, st.binary(max_size=36)),
)


@given(st.lists(SLOT | JUNK, max_size=6).map(b"".join), st.integers(1, 8))
def state_file(content: bytes, slots: int) -> None:
    with _file(content) as path:
        assert len(read_proofs(path)) <= len(content) // 64
        file = StateFile(path, slots)
        assert len(file.left) <= slots
        file.forget_left()
        if not file.is_full:
            file.enter(1 << 40, os.getpid(), 1)
            assert (1 << 40) in [proof.number for proof in read_proofs(path)]
            file.leave(1 << 40)
        file.close()


CHANGE = st.tuples(st.integers(0, 63), WORD)
SPOIL = st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12) | LINE)


@given(
    st.integers(0, 2000),
    st.lists(st.tuples(st.sampled_from(list(Topic)), st.text(max_size=30)), max_size=8),
    st.lists(CHANGE, max_size=3),
    st.lists(SPOIL, max_size=2),
    st.integers(0, 2600),
)
def event_log(
    capacity: int,
    told: list[tuple[Topic, str]],
    words: list[tuple[int, int]],
    spoilt: list[tuple[int, bytes]],
    size: int,
) -> None:
    memory = bytearray(HEADER_SIZE + capacity)
    bus = Bus("e", EventLog(memory, epoch="e"))
    for at, (topic, text) in enumerate(told):
        bus.publish(topic, id=f"evt{at}", at=1.0, payload={"text": text})
    for word, value in words:
        memory[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
    for place, content in spoilt:
        if capacity:
            at = HEADER_SIZE + place % capacity
            memory[at : at + len(content)] = content[: HEADER_SIZE + capacity - at]
    assert len(memory) == HEADER_SIZE + capacity
    with ending(), suppress(InvalidValueError):
        log = EventLog.recover(memory if size > len(memory) else memory[:size] or memory)
        with suppress(InvalidValueError):  # a record in the middle may be what is damaged
            missed, events = log.since(0)
            assert missed + len(events) == log.last_seq
        with suppress(InvalidValueError):
            log.after_checkpoint()
        Bus(log.epoch, log).publish(Topic.RESIZED, id="new", at=2.0, payload={})


HEADER_CHANGE = st.tuples(
    st.sampled_from([*range(16), *range(64, 72), *range(510, 540), 640, 652, 653])
    | st.integers(0, Limits.HEADER // 8 - 1),
    WORD,
)
# What a header that was damaged may be met with; whoever takes over catches all of it.
_DAMAGED = (InvalidValueError, LookupError, ValueError)


@given(st.integers(0, 300), st.integers(0, 1 << 17), st.lists(HEADER_CHANGE, max_size=5))
def ring_header(capacity: int, written: int, changes: list[tuple[int, int]]) -> None:
    memory = bytearray(ring_size(capacity) + 64)
    whole = memoryview(memory)
    whole[-64:] = b"\xaa" * 64  # what lies behind
    ring = RingBuffer(capacity, whole[:-64])
    out = OutputBuffer(ring)
    out.attach(ReaderKind.CONSUMER, 0)
    ring.write(bytes(min(written, 2 * (capacity + SLACK))))
    out.advance(0)
    for word, value in changes:
        whole[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
    with ending(), suppress(*_DAMAGED):
        _use(RingBuffer.attach(whole[:-64]), ring_size(capacity))
    assert bytes(whole[-64:]) == b"\xaa" * 64


def _use(ring: RingBuffer, size: int) -> None:
    for step in (
        lambda: ring.recover(Pattern(bytes(PERIOD))),
        lambda: len(ring.copy(ring.edge, ring.total - ring.edge)),
        lambda: Account.from_words(ring.load_account() or []),
        lambda: ring.lifelines(),
        lambda: ring.write(bytes(100)),
        lambda: len(Cursor(ring).read().data),
        lambda: OutputBuffer(ring, 0.75, OnFull.BLOCK, resumes=True).stats(),
    ):
        with suppress(*_DAMAGED):
            found = step()
            assert not isinstance(found, int) or found <= size


# What the user wrote ---------------------------------------------------------------------------

TOML = st.lists(
    st.builds(
        lambda key, value: f"{key} = {value}\n",
        st.sampled_from([*KEYS, "other", "[table]", "a.b"]) | st.text(max_size=9),
        st.builds(json.dumps, LEAVES) | st.text(max_size=12) | st.sampled_from(["4M", '"4M"']),
    ),
    max_size=4,
).map(lambda rows: "".join(rows).encode("utf-8", "surrogatepass"))


@given(TOML | JUNK | st.integers(0, DEEPEST).map(lambda depth: b"a = " + b"[" * depth))
def config(content: bytes) -> None:
    before = os.environ.get("XDG_CONFIG_HOME")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "ptymux").mkdir()
        Path(folder, "ptymux", "config.toml").write_bytes(content)
        os.environ["XDG_CONFIG_HOME"] = folder
        try:
            with suppress(ConfigError):
                assert set(load()) <= set(KEYS)
            defaults_for("run")
        finally:
            os.environ.pop("XDG_CONFIG_HOME")
            if before is not None:
                os.environ["XDG_CONFIG_HOME"] = before


TARGETS: Final[Mapping[str, Target]] = {
    target.__name__: settings(
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )(target)
    for target in (
        *(frames, lines, messages, payloads, link, link_both_ways),
        *(state_file, event_log, ring_header, config),
    )
}
