"""One fd stands for what is held and for a socket, whichever there is."""

from __future__ import annotations

import select
import socket

from ptymux.client.readiness import Readiness


def is_readable(readiness: Readiness) -> bool:
    return bool(select.select([readiness], [], [], 0)[0])


def test_it_is_readable_while_something_is_held() -> None:
    with Readiness() as readiness:
        assert not is_readable(readiness)
        for holds in (True, True, False, False, True):
            readiness.update(None, holds=holds)
            assert is_readable(readiness) is holds


def test_it_follows_its_source_to_another() -> None:
    ours, theirs = socket.socketpair()
    next_ours, next_theirs = socket.socketpair()
    with Readiness() as readiness, ours, theirs, next_ours, next_theirs:
        fd = readiness.fileno()
        readiness.update(ours, holds=False)
        assert not is_readable(readiness)
        theirs.send(b"x")
        assert is_readable(readiness)
        readiness.update(next_ours, holds=False)
        assert not is_readable(readiness)
        next_theirs.send(b"x")
        assert is_readable(readiness)
        next_ours.close()
        readiness.update(None, holds=False)
        assert not is_readable(readiness)
        assert readiness.fileno() == fd


def test_a_closed_one_has_no_fd() -> None:
    readiness = Readiness()

    readiness.close()
    readiness.close()

    assert readiness.fileno() == -1
    readiness.update(None, holds=True)
