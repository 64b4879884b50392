"""Junk in every place where bytes come from elsewhere."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptymux.errors import ProtocolError
from ptymux.protocol.framing import FrameDecoder, Redraw
from ptymux.server import methods
from tests.fuzz.guided import fuzz
from tests.fuzz.targets import FRAME, JSON, TARGETS
from tests.processes import resident
from tests.serving import Serving
from tests.timing import deadline_seconds


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_junk_is_refused_as_documented(name: str) -> None:
    TARGETS[name]()


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_no_junk_that_is_looked_for_long_finds_another_way(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fuzz(TARGETS[name], 60 * float(os.environ.get("PTYMUX_MINUTES", "10")))

    with capsys.disabled():
        print(f"\n{name:<16} {found.line()}")  # noqa: T201 - what it was asked for
    assert not found.findings, "\n\n".join(found.findings.values())


def test_a_failure_that_junk_can_reach_is_a_finding_once_and_new_edges_are_kept() -> None:
    hits = 0

    @given(FRAME)
    def wary_of_redraws(data: bytes) -> None:
        nonlocal hits
        with suppress(ProtocolError):
            if any(isinstance(frame, Redraw) for frame in FrameDecoder().feed(data)):
                hits += 1
                raise LookupError

    found = fuzz(
        wary_of_redraws,
        seconds=deadline_seconds(),
        seed=1,
        is_enough=lambda found: hits > 1 and len(found.kept) > 3,
    )

    assert [finding.split()[0] for finding in found.findings] == ["LookupError"]
    assert len(found.edges) > 10
    assert len(found.kept) > 3


# A running server ------------------------------------------------------------------------------

NAMES = [
    *("pty", "ptys", "kind", "offset", "input", "lifeline", "line", "hangup", "cols", "rows"),
    *("signal", "session", "lane", "all", "grace", "name", "on_full", "until", "state", "since"),
    *("topics", "follow", "after", "payload_bytes", "argc", "envc", "has_stdin", "overrides"),
    *("umask", "nofile", "buffer_size", "threshold", "idle_timeout", "plain_output", "remove"),
]
LIKELY = st.sampled_from(
    [
        *("1", "2", "no", "pty_", "oldest", "now", "consumer", "lossless", "one-shot", "observer"),
        *("TERM", "CONT", "0", "drop", "block", "gone", "state", "stopped", "running", "l1"),
        *(0, 1, 2, 80, -1, 10_001, 1 << 62, 1 << 63, 0.0, 0.5, 1e300, True, False, None),
        *(["1"], ["2"], ["no"], [], ["pty.stopped"], [1, 1], {}, {"A": "b"}, {"A": 1}),
    ]
)
PARAMS = st.dictionaries(st.sampled_from(NAMES), LIKELY | JSON, max_size=6)
# What may rightly take for ever, or end the server, is asked for wrongly only.
WRONG = {"wait": {"pty": "2"}, "shutdown": {"force": "yes"}}
METHODS = sorted(set(methods.METHODS) - {"restart"})


@contextmanager
def greeted(server: Serving) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(deadline_seconds())
        sock.connect(server.path)
        sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[1,1]}}\n')
        assert b"epoch" in sock.recv(4096)
        yield sock


def answer(sock: socket.socket, data: bytes) -> dict[str, Any] | None:
    """Send all there is and say so; return the answer, None when there is the end alone."""
    with suppress(OSError):  # it was cut off before, and has said why
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    heard = b""
    while b"\n" not in heard:
        try:
            piece = sock.recv(65536)
        except ConnectionError:
            return None
        if not piece:
            return None
        heard += piece
    told: dict[str, Any] = json.loads(heard.split(b"\n")[0])
    return told


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(method=st.sampled_from(METHODS), params=PARAMS, payload=st.binary(max_size=60))
def ask(server: Serving, method: str, params: dict[str, object], payload: bytes) -> None:
    request = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": method,
        "params": params | WRONG.get(method, {}),
    }
    with greeted(server) as sock:
        told = answer(sock, json.dumps(request).encode() + b"\n" + payload)
    if told is None:
        # It waited for a payload of which not all came, or what was no JSON ended it.
        assert method == "spawn" or not _is_json(params)
        return
    assert told["id"] in (7, None)
    if "error" in told:
        assert told["error"]["data"]["code"] not in ("error", "internal-error"), told


def _is_json(params: dict[str, object]) -> bool:
    text = json.dumps(params)
    return not any(word in text for word in ("NaN", "Infinity"))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda line: line + b"\n"))
def tell_junk(server: Serving, junk: bytes) -> None:
    with greeted(server) as sock:
        told = answer(sock, junk)
    assert told is None or "error" in told


@pytest.mark.slow
def test_a_server_answers_whatever_it_is_asked_and_goes_on(own_server: Serving) -> None:
    own_server.sh("sleep 1000", name="live")
    own_server.call("kill", ptys=[own_server.sh("sleep 1000")["pty_id"]])
    before = own_server.status()

    ask(own_server)
    tell_junk(own_server)

    after = own_server.status()
    assert (after["pid"], after["keeper_pid"]) == (before["pid"], before["keeper_pid"])
    assert after["server_replaced"] == 0
    assert resident(after["pid"]) - before["memory"]["resident"] < 64 << 20
    own_server.call("kill", all=True)
