from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptymux.core.windows import Windows
from ptymux.errors import InvalidValueError, LimitReachedError
from ptymux.tui.pty_samples import Model
from ptymux.tui.recent_events import News
from ptymux.tui.source import Source, last_events
from tests.client.stub import Peer, StubServer
from tests.timing import Wait, deadline_seconds

# In which no stub is late, however slow the machine.
PATIENT = Windows(hello=deadline_seconds(), no_answer=deadline_seconds())
REFUSAL = LimitReachedError("subscribers", 256, "end a dashboard")


class Seen:
    """A source with what it needs, and what it said."""

    def __init__(self, path: str) -> None:
        self.told: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.source = Source(
            path, self.selector, Model(), News(), lambda: None, self.told.append, PATIENT
        )

    def turn_until(self, condition: Callable[[], bool]) -> None:
        wait = Wait(condition)
        while not wait.is_over():
            self.source.tick()
            for key, _events in self.selector.select(0.05):
                key.data()


@pytest.fixture
def see(tmp_path: Path) -> Iterator[Callable[[bool], Seen]]:
    """Begin to look at a server that has no room for who listens, from the first on or later."""
    path = str(tmp_path / "s")
    refuses_past = False

    def serve(peer: Peer) -> None:
        peer.greet()
        while True:
            request = peer.request()
            if request.method == "list":
                peer.reply(request, {"ptys": [], "ended": 0, "next": None})
            elif request.params.get("follow") or refuses_past:
                peer.refuse(request, REFUSAL)
            else:
                peer.reply(request, {"missed": 0, "epoch": "e1", "last_seq": 0})

    def begin(past: bool) -> Seen:
        nonlocal refuses_past
        refuses_past = past
        return seen

    seen = Seen(path)
    with StubServer(path, serve):
        try:
            yield begin
        finally:
            seen.source.close()
            seen.selector.close()


def test_a_server_with_no_room_for_clients_is_trouble_told_once(tmp_path: Path) -> None:
    full = LimitReachedError("the number of clients", 1, "end some of them")
    came = 0

    def serve(peer: Peer) -> None:
        nonlocal came
        came += 1
        peer.refuse(peer.request(), full)

    seen = Seen(str(tmp_path / "s"))
    with StubServer(str(tmp_path / "s"), serve):
        seen.turn_until(lambda: came > 3)
        seen.source.close()
    seen.selector.close()

    assert (seen.told, seen.source.trouble) == ([], str(full))


@pytest.mark.parametrize("past", [True, False])
def test_where_too_many_listen_samples_go_on_without_events_and_that_is_told(
    past: bool, see: Callable[[bool], Seen]
) -> None:
    seen = see(past)

    seen.turn_until(lambda: bool(seen.told) and seen.source.samples_taken > 2)

    assert seen.told == [f"no events: {REFUSAL}"]
    assert seen.source.trouble == ""


def test_a_server_that_knows_fewer_topics_is_asked_for_all_events(tmp_path: Path) -> None:
    asked: list[bool] = []

    def serve(peer: Peer) -> None:
        peer.greet()
        while True:
            request = peer.request()
            if request.method == "list":
                peer.reply(request, {"ptys": [], "ended": 0, "next": None})
            elif "topics" in request.params:
                peer.refuse(request, InvalidValueError("topics", "a list", "some of others"))
            else:
                asked.append(bool(request.params.get("follow")))
                peer.reply(request, {"missed": 0, "epoch": "e1", "last_seq": 7})

    path = str(tmp_path / "s")
    seen = Seen(path)
    with StubServer(path, serve):
        assert last_events(path, 0, News(), deadline_seconds()) == 7
        seen.turn_until(lambda: asked == [False, False, True] and seen.source.samples_taken > 2)
        seen.source.close()
    seen.selector.close()

    assert (seen.told, seen.source.trouble) == ([], "")
