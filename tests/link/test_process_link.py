"""What a keeper takes from a manager that hands over to it."""

from __future__ import annotations

import os
import socket

import pytest

from ptymux.core.ring import RingBuffer, ring_size
from ptymux.engine.input import Input
from ptymux.engine.reports import Closed, Exited
from ptymux.engine.terminal import PtyFds
from ptymux.handover.snapshot import PtySnapshot, SnapshotStore
from ptymux.handover.wire import LINK_VERSION, Inbox, Outbox
from ptymux.keeper.service import receive_handover
from ptymux.posix.memory import create_ring_memory
from ptymux.posix.process import ExitStatus


def test_what_a_manager_says_while_it_hands_over_is_kept_for_later() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox(theirs)
        outbox.send({"op": "takeover", "version": LINK_VERSION, "slots": 2})
        for slot in (1, 2):
            outbox.send({"op": "record", "slot": slot}, b"{}")
            message = PtySnapshot(slot, b"{}").message
            outbox.send(message.body, message.data)
        outbox.send({"op": "forget", "slot": 1})

        hello, slots, others = receive_handover(ours, Inbox(ours))

    assert hello.body["slots"] == 2
    assert [PtySnapshot.of(message).slot for message in slots] == [1, 2]
    assert [message.body["op"] for message in others] == ["record", "record", "forget"]


def test_a_lifeline_that_had_ended_when_the_engine_died_is_told() -> None:
    """Else the attachment would be waited for, and who hangs up on its end would not."""
    ended: list[tuple[int, bool]] = []
    lines = Input(
        -1,
        RingBuffer(1024),
        lambda _fd, _mask, _handler: None,
        lambda: None,
        lambda number, by_client: ended.append((number, by_client)),
    )
    ours, theirs = socket.socketpair()
    with theirs:
        assert lines.restore(7, ours) == 0

    assert ended == [(7, True)]


def test_what_ended_before_its_fds_came_is_not_held() -> None:
    """A terminal closes only when its last holder lets go."""
    memfd, memory = create_ring_memory(ring_size(1024))
    RingBuffer(1024, memory).release()
    memory.close()
    master, of_master = os.pipe()
    pidfd = os.pidfd_open(os.getpid())
    pty_fds = SnapshotStore()

    pty_fds.expect(7)
    pty_fds.note(Exited(7, ExitStatus(0, None, False), False))
    pty_fds.note(Closed(7))
    pty_fds.hold(7, PtyFds(memfd, master, pidfd)).release()
    try:
        assert not pty_fds.has_live
        with pytest.raises(BrokenPipeError):
            os.write(of_master, b"x")
    finally:
        os.close(of_master)
        pty_fds.clear()
