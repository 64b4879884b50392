"""A stream goes on at its offset with the next server, which learns what was received."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ptymux.client.attach_request import AttachRequest
from ptymux.client.followed_stream import FollowedStream
from ptymux.errors import UnknownPtyError
from ptymux.protocol.framing import Exit, Frame, Gap, Out
from ptymux.protocol.messages import Request
from tests.client.stub import Peer, StubServer, engine_end

Answer = Callable[[Peer, Request], None]

END = Exit({"pty_id": "pty_1"})


def serving(asked: list[dict[str, object]], *answers: Answer) -> Callable[[Peer], None]:
    """Return what answers one attach after another, each on a connection of its own."""
    left = list(answers)

    def serve(peer: Peer) -> None:
        peer.greet()
        request = peer.request()
        asked.append(dict(request.params))
        left.pop(0)(peer, request)

    return serve


def streaming(offset: int, *frames: Frame, line: int | None = None) -> Answer:
    """Return what attaches, sends frames, and dies."""

    def answer(peer: Peer, request: Request) -> None:
        reply = {"pty": {"pty_id": "pty_1"}, "offset": offset, "line": line}
        if line is None:
            peer.reply(request, reply)
        else:
            lifeline, engine = engine_end(take=0)
            peer.reply(request, reply, [lifeline])
            os.close(lifeline)
            engine.join()
        peer.send_frames(*frames)

    return answer


def everything(followed: FollowedStream) -> list[Frame]:
    """Return all frames, from whichever server."""
    found: list[Frame] = []
    while not any(isinstance(frame, Exit) for frame in found):
        found += followed.wait().pending()
        with followed.until_lost() as stream:
            while not stream.is_over:
                found += stream.receive()
    return found


def test_the_next_server_is_asked_for_what_comes_next(tmp_path: Path) -> None:
    path, asked = str(tmp_path / "s"), list[dict[str, object]]()
    serve = serving(
        asked,
        streaming(2, Out(2, b"ab"), Gap(4, 10), Out(10, b"cd"), line=7),
        streaming(12, Out(12, b"ef")),
        streaming(14, END),
    )
    first = {"pty": "web", "kind": "consumer", "input": False, "lifeline": True, "offset": "oldest"}
    then = {"pty": "web", "kind": "consumer", "input": False, "line": 7}

    with (
        StubServer(path, serve),
        FollowedStream(path, AttachRequest.to_read("web")) as followed,
    ):
        followed.wait()
        lifeline = followed.take_lifeline()
        found = everything(followed)

    assert lifeline is not None
    lifeline.close()
    assert found == [Out(2, b"ab"), Gap(4, 10), Out(10, b"cd"), Out(12, b"ef"), END]
    assert asked == [
        first,
        then | {"offset": 12, "received_from": 10},
        then | {"offset": 14, "received_from": 12},
    ]


def test_a_next_server_that_does_not_know_the_pty_ends_it(tmp_path: Path) -> None:
    path, asked = str(tmp_path / "s"), list[dict[str, object]]()

    def refuse(peer: Peer, request: Request) -> None:
        peer.refuse(request, UnknownPtyError("web"))

    with (
        StubServer(path, serving(asked, streaming(0, Out(0, b"ab")), refuse)),
        FollowedStream(path, AttachRequest.to_read("web", "observer")) as followed,
        pytest.raises(UnknownPtyError),
    ):
        everything(followed)

    assert len(asked) == 2
