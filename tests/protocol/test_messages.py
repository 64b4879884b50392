"""Requests, replies, failures; the payload of a spawn."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.errors import (
    AmbiguousPtyError,
    InvalidValueError,
    ProtocolError,
    PtymuxError,
    RemoteError,
    UnknownMethodError,
    UnknownPtyError,
    error_from_wire,
)
from ptymux.protocol.lines import LARGEST_LINE
from ptymux.protocol.messages import (
    Failure,
    Notification,
    Reply,
    Request,
    decode_answer,
    decode_payload,
    decode_request,
    encode_error,
    encode_notification,
    encode_payload,
    encode_request,
    encode_result,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
).filter(lambda value: "inf" not in repr(value))
OBJECTS = st.dictionaries(st.text(max_size=9), JSON, max_size=4)
IDS = st.integers(-(1 << 63), 1 << 63) | st.text(max_size=20)
WORDS = st.binary(max_size=20).map(lambda word: os.fsdecode(word.replace(b"\0", b"")))
NAMES = (
    st.binary(max_size=20).map(lambda word: os.fsdecode(word.translate(None, b"\0="))).filter(bool)
)


# Messages ---------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 60), st.text(), OBJECTS)
def test_a_request_arrives_as_it_was_sent(id: int, method: str, params: dict[str, object]) -> None:
    line = encode_request(id, method, params)

    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert decode_request(line) == Request(id, method, params)


@given(IDS, OBJECTS, st.text())
def test_answers_arrive_as_they_were_sent(
    id: int | str, values: dict[str, object], method: str
) -> None:
    assert decode_answer(encode_result(id, values)) == Reply(id, values)
    assert decode_answer(encode_notification(method, values)) == Notification(method, values)


def test_an_error_has_its_number_sentence_code_and_exit_code() -> None:
    line = encode_error(7, UnknownPtyError("web"))

    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": -32000,
            "message": "no PTY 'web'; `ptymux ls -a` lists them all",
            "data": {"code": "unknown-pty", "exit_code": 125},
        },
    }


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (UnknownMethodError("fly"), -32601),
        (ProtocolError("no JSON"), -32700),
        (ProtocolError("no request", ProtocolError.NO_MESSAGE), -32600),
        (PtymuxError("something"), -32000),
    ],
)
def test_an_error_has_the_number_of_its_kind(error: PtymuxError, number: int) -> None:
    assert json.loads(encode_error(None, error))["error"]["code"] == number


def test_an_error_that_tells_too_much_is_cut() -> None:
    failure = decode_answer(encode_error(1, InvalidValueError("name", "x" * (1 << 21), "short")))

    assert isinstance(failure, Failure)
    assert len(str(failure.error)) == 2000
    assert str(failure.error).startswith("name is 'xx")
    assert str(failure.error).endswith("xx'; it must be short")


def test_an_error_comes_back_as_its_class() -> None:
    sent = AmbiguousPtyError("we", ["web", "web2"])
    failure = decode_answer(encode_error("a", sent))

    assert isinstance(failure, Failure)
    assert failure.id == "a"
    assert type(failure.error) is AmbiguousPtyError
    assert str(failure.error) == str(sent)


def test_every_class_of_error_can_come_back() -> None:
    kinds = [PtymuxError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        error = error_from_wire(kind.code, "a sentence", 7)
        if kind not in (PtymuxError, RemoteError):
            assert type(error).code == kind.code
        assert (str(error), error.code, error.exit_code) == ("a sentence", kind.code, 7)


def test_an_error_of_another_version_keeps_its_code_and_exit_code() -> None:
    error = error_from_wire("too-hot", "it is too hot; open a window", 3)

    assert type(error) is RemoteError
    assert (str(error), error.code, error.exit_code) == (
        "it is too hot; open a window",
        "too-hot",
        3,
    )


@pytest.mark.parametrize("error", ["no", {}, {"data": 1}, {"data": {"code": 5, "exit_code": 999}}])
def test_an_error_without_what_it_should_have_is_an_error_still(error: object) -> None:
    failure = decode_answer(json.dumps({"id": 1, "error": error}).encode())

    assert isinstance(failure, Failure)
    assert (failure.error.code, failure.error.exit_code) == ("error", 125)
    assert str(failure.error)


def test_a_request_without_an_id_is_not_to_be_answered() -> None:
    assert decode_request(b'{"method":"x","extra":1}') == Request(None, "x", {})


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b'{"id":NaN,"method":"x"}', -32700),
        (b"[" * 100_000, -32700),
        (b'{"id":' + b"9" * 5000 + b',"method":"x"}', -32700),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"method":5}', -32600),
        (b'{"method":"x","params":[]}', -32600),
        (b'{"method":"x","id":true}', -32600),
        (b'{"method":"x","id":1.5}', -32600),
        (b'{"method":"x","id":"' + b"x" * 129 + b'"}', -32600),
    ],
)
def test_what_is_no_request_has_the_number_for_it(line: bytes, number: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_request(line)

    assert caught.value.number == number
    assert len(encode_error(None, caught.value)) < 1000


@given(st.binary(max_size=300) | OBJECTS.map(lambda value: json.dumps(value).encode()))
def test_junk_becomes_a_message_or_a_protocol_error(junk: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(junk)
        except ProtocolError:
            continue


def test_a_message_that_is_too_long_or_no_json_is_refused() -> None:
    with pytest.raises(ProtocolError, match="longer than"):
        encode_result(1, {"text": "x" * LARGEST_LINE})
    with pytest.raises(ProtocolError, match="cannot be said"):
        encode_result(1, {"data": b""})
    with pytest.raises(ProtocolError, match="cannot be said"):
        encode_result(1, {"real": float("nan")})


# Spawn ------------------------------------------------------------------------------------------


@given(st.lists(WORDS, min_size=1), st.dictionaries(NAMES, WORDS))
def test_a_payload_arrives_as_it_was_sent_also_when_it_is_no_text(
    argv: list[str], env: dict[str, str]
) -> None:
    payload = encode_payload(argv, env)

    assert payload.startswith(os.fsencode(argv[0]) + b"\0")
    assert decode_payload(payload, len(argv), len(env)) == (argv, env)


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["a\0b"], {}),
        (["\ud800"], {}),
        (["a"], {"K": "\0"}),
        (["a"], {"": "v"}),
        (["a"], {"K=": ""}),
    ],
)
def test_a_payload_that_would_arrive_as_another_is_refused(
    argv: list[str], env: dict[str, str]
) -> None:
    with pytest.raises(InvalidValueError):
        encode_payload(argv, env)


@given(st.binary(max_size=40), st.integers(0, 5), st.integers(0, 5))
def test_a_payload_of_junk_is_a_protocol_error_or_what_was_promised(
    payload: bytes, argc: int, envc: int
) -> None:
    try:
        argv, env = decode_payload(payload, argc, envc)
    except ProtocolError:
        return
    assert len(argv) == argc
    assert len(env) <= envc
    assert "" not in env
