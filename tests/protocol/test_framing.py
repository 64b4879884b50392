"""Frames, fed in any pieces, also with junk."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptymux.protocol
from ptymux.errors import ProtocolError
from ptymux.protocol.frame_header import encode_taken
from ptymux.protocol.framing import (
    HEADER_SIZE,
    LARGEST_DATA,
    LARGEST_FRAME,
    Ack,
    Detach,
    Exit,
    Frame,
    FrameDecoder,
    Gap,
    In,
    Out,
    Ping,
    Redraw,
    Resize,
    Taken,
    only_out,
    out_header,
)
from tests.protocol.pieces import CUTS, pieces

U64 = st.integers(0, (1 << 64) - 1)
U16 = st.integers(0, (1 << 16) - 1)
SMALL = st.binary(max_size=200)
FRAMES = st.one_of(
    st.builds(Out, U64, SMALL),
    st.builds(In, SMALL),
    st.builds(Ack, U64),
    st.builds(Resize, U16, U16),
    st.builds(Redraw),
    st.tuples(U64, U64).map(lambda pair: Gap(min(pair), max(pair))),
    st.builds(Exit, st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9))),
    st.builds(Ping, SMALL),
    st.builds(Detach),
    st.builds(Taken, U64),
)


def frames_of(decoder: FrameDecoder, parts: list[bytes]) -> list[Frame]:
    return [frame for part in parts for frame in decoder.feed(part)]


@given(st.lists(FRAMES), CUTS)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    decoder = FrameDecoder()
    data = b"".join(frame.encode() for frame in frames)

    assert frames_of(decoder, pieces(data, cuts)) == frames
    assert decoder.held == 0


@given(FRAMES, SMALL, FRAMES, CUTS)
def test_what_a_newer_version_says_is_skipped(
    first: Frame, content: bytes, second: Frame, cuts: list[int]
) -> None:
    unknown = b"".join(
        bytes((number,)) + len(content).to_bytes(4, "big") + content for number in (0, 6, 12, 255)
    )
    longer = Ack(5).encode()[1 + 4 :] + content
    grown = b"\3" + len(longer).to_bytes(4, "big") + longer
    data = first.encode() + unknown + grown + second.encode()

    assert frames_of(FrameDecoder(), pieces(data, cuts)) == [first, Ack(5), second]


def test_frames_are_laid_out_as_documented() -> None:
    assert Out(1, b"ab").encode() == b"\1\0\0\0\12" + b"\0\0\0\0\0\0\0\1" + b"ab"
    assert In(b"ls\n").encode() == b"\2\0\0\0\3ls\n"
    assert Ack(258).encode() == b"\3\0\0\0\10" + b"\0\0\0\0\0\0\1\2"
    assert Resize(80, 24).encode() == b"\4\0\0\0\4\0\x50\0\x18"
    assert Redraw().encode() == b"\5\0\0\0\0"
    assert Gap(1, 2).encode() == b"\7\0\0\0\20" + b"\0\0\0\0\0\0\0\1" + b"\0\0\0\0\0\0\0\2"
    assert Exit({"a": 1}).encode() == b'\10\0\0\0\7{"a":1}'
    assert Ping(b"?").encode() == b"\11\0\0\0\1?"
    assert Detach().encode() == b"\12\0\0\0\0"
    assert Taken(3).encode() == b"\13\0\0\0\10" + b"\0\0\0\0\0\0\0\3"


@given(U64, SMALL)
def test_a_header_and_the_output_are_a_frame(offset: int, data: bytes) -> None:
    assert out_header(offset, len(data)) + data == Out(offset, data).encode()


@given(U64)
def test_what_a_keeper_sends_at_the_end_of_a_lifeline_is_a_frame(size: int) -> None:
    assert encode_taken(size) == Taken(size).encode()


@given(st.one_of(FRAMES, st.builds(Out, U64, SMALL)), SMALL)
def test_only_a_whole_output_by_itself_is_one(frame: Frame, more: bytes) -> None:
    data = frame.encode()

    assert only_out(data) == (frame if isinstance(frame, Out) else None)
    assert only_out(data[:-1]) is None
    assert not more or only_out(data + more) is None


def test_the_largest_frame_passes_and_a_larger_one_is_refused_at_both_ends() -> None:
    largest = Out(0, bytes(LARGEST_DATA))
    header = b"\1" + (LARGEST_FRAME + 1).to_bytes(4, "big")

    assert list(FrameDecoder().feed(largest.encode())) == [largest]
    with pytest.raises(ProtocolError, match="larger than"):
        Out(0, bytes(LARGEST_DATA + 1)).encode()
    with pytest.raises(ProtocolError, match="larger than"):
        list(FrameDecoder().feed(header))  # nothing of it has arrived yet


def test_frames_before_a_bad_one_are_given_before_it_is_refused() -> None:
    decoder = FrameDecoder(Redraw().encode() + Gap(2, 3).encode()[:-1] + b"\0")

    assert decoder.take() == Redraw()
    with pytest.raises(ProtocolError, match="ends before it begins"):
        decoder.take()


def test_frames_that_nobody_takes_are_not_held_without_end() -> None:
    decoder = FrameDecoder()
    decoder.feed(bytes(HEADER_SIZE + LARGEST_FRAME + 1))

    with pytest.raises(ProtocolError, match="wait"):
        decoder.feed(b"\0")


@pytest.mark.parametrize("number", [1, 3, 4, 7, 8])
def test_a_frame_that_lacks_something_is_refused(number: int) -> None:
    with pytest.raises(ProtocolError):
        list(FrameDecoder().feed(bytes((number,)) + b"\0\0\0\1["))


@given(st.binary(max_size=2000), CUTS)
def test_junk_becomes_frames_or_a_protocol_error(junk: bytes, cuts: list[int]) -> None:
    with suppress(ProtocolError):
        frames_of(FrameDecoder(), pieces(junk, cuts))


def test_a_value_shows_no_input_and_equals_only_its_like() -> None:
    assert repr(In(b"secret")) == "In(data=<6 in bytes>)"
    assert repr(Resize(80, 24)) == "Resize(cols=80, rows=24)"
    assert Redraw() != Detach()
    assert Ack(1) != Ack(2)
    assert Ack(1) != 1


def test_the_protocol_is_pure() -> None:
    folder = Path(ptymux.protocol.__file__).parent
    for module in folder.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in {"socket", "os", "time", "asyncio", "select"}
