"""How a server is had from a zygote, and what becomes of those that do not come, or too late."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import ptymux
from ptymux.keeper import supervisor as supervisor_module
from ptymux.keeper import zygote_client as zygote_module
from ptymux.keeper.supervisor import Supervisor
from ptymux.keeper.zygote_client import CONTROL_FD, pause
from ptymux.posix.procfs import pid_behind
from tests.client.clock import FakeClock
from tests.processes import children_of, fds_of, is_alive
from tests.timing import deadline_seconds, wait_until

FOLDER = str(Path(ptymux.__file__).parent.parent)


class Nursery:
    """A supervisor, the socket that its servers listen at, and what a keeper does for it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s.sock")
        self.supervisor = Supervisor(self.path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self._before = set(children_of(os.getpid()))

    @property
    def zygote(self) -> int:
        assert self.supervisor.zygote.pid
        return self.supervisor.zygote.pid

    def ask(self) -> socket.socket:
        link = self.supervisor.start(self.listener)
        assert link is not None
        return link

    def come(self, link: socket.socket, *, serves: bool = True) -> int:
        """Return the pid of the server that comes on this link."""
        assert readable(link.fileno())
        assert self.supervisor.accept(link)
        if serves:
            self.supervisor.note_ready()
        return pid_behind(self.supervisor.pidfd)

    def end_of_server(self) -> None:
        assert readable(self.supervisor.pidfd)
        self.supervisor.note_end()

    def kill_zygote(self) -> int:
        """Kill it without the supervisor's knowledge; return once it is dead, and not reaped."""
        pid = self.zygote
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    def end(self) -> None:
        self.supervisor.zygote.close()
        if self.supervisor.is_there:
            os.close(self.supervisor.pidfd)
        self.listener.close()
        for pid in set(children_of(os.getpid())) - self._before:  # zygotes that were killed
            os.waitpid(pid, 0)


def readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(1000 * deadline_seconds()))


def sockets_of(pid: int) -> set[str]:
    return {name for name in fds_of(pid).values() if name.startswith("socket:")}


def inheritable_of(pid: int) -> list[int]:
    """Return the fds that a process passes on, but for the standard ones."""
    found = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # it was closed during the look
            lines = info.read_text().splitlines()
            flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
            if int(info.name) > 2 and not flags & os.O_CLOEXEC:
                found.append(int(info.name))
    return found


def signals_of(pid: int, kind: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(f"{kind}:"))


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    monkeypatch.syspath_prepend(FOLDER)
    nursery = Nursery(tmp_path)
    try:
        yield nursery
    finally:
        nursery.end()


def test_a_server_comes_from_the_zygote_and_ends_with_its_link(nursery: Nursery) -> None:
    link = nursery.ask()
    server = nursery.come(link)

    assert nursery.supervisor.due is None
    assert children_of(nursery.zygote) == [server]
    link.close()
    nursery.end_of_server()

    assert not nursery.supervisor.is_there
    wait_until(lambda: not Path(f"/proc/{server}").exists())  # reaped by nobody, and no zombie


def test_the_zygote_has_nothing_open_and_the_server_nothing_of_the_zygote(
    nursery: Nursery,
) -> None:
    with nursery.ask() as link:
        server = nursery.come(link)
        own = os.readlink(f"/proc/{nursery.zygote}/fd/{CONTROL_FD}")

        wait_until(lambda: set(os.listdir(f"/proc/{nursery.zygote}/fd")) == set("0123"))
        assert own not in sockets_of(server)
    nursery.end_of_server()


def test_no_child_inherits_what_was_passed(nursery: Nursery) -> None:
    with nursery.ask() as link:
        server = nursery.come(link)

        assert not os.get_inheritable(nursery.supervisor.pidfd)
        assert not inheritable_of(server)
    nursery.end_of_server()


def test_the_server_has_the_usual_signals(nursery: Nursery) -> None:
    bit = 1 << signal.SIGCHLD - 1
    with nursery.ask() as link:
        server = nursery.come(link)

        wait_until(lambda: not signals_of(server, "SigIgn") & bit)
        assert signals_of(nursery.zygote, "SigIgn") & bit
        assert not signals_of(server, "SigBlk")
    nursery.end_of_server()


def test_one_that_was_given_up_serves_nobody(nursery: Nursery) -> None:
    nursery.come(link := nursery.ask())
    link.close()
    nursery.end_of_server()
    os.kill(nursery.zygote, signal.SIGSTOP)
    nursery.ask().close()
    os.kill(nursery.zygote, signal.SIGCONT)
    link = nursery.ask()  # served after the one before

    with link, socket.socket(socket.AF_UNIX) as client:
        server = nursery.come(link)
        client.connect(nursery.path)
        wait_until(lambda: children_of(nursery.zygote) == [server])
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    nursery.end_of_server()


def test_one_that_came_as_it_was_given_up_serves_nobody(nursery: Nursery) -> None:
    link = nursery.ask()
    assert readable(link.fileno())  # it has introduced itself
    (server,) = children_of(nursery.zygote)

    link.close()

    wait_until(lambda: not is_alive(server))


def test_a_zygote_that_died_unnoticed_is_replaced_when_it_is_needed(nursery: Nursery) -> None:
    nursery.supervisor.zygote.start()
    dead = nursery.kill_zygote()

    with nursery.ask() as link:
        nursery.come(link)

        assert nursery.zygote != dead
    nursery.end_of_server()


def test_a_zygote_that_dies_with_a_request_closes_the_link(nursery: Nursery) -> None:
    nursery.supervisor.zygote.start()
    os.kill(nursery.zygote, signal.SIGSTOP)
    with nursery.ask() as link:
        nursery.kill_zygote()

        assert readable(link.fileno())
        assert not nursery.supervisor.accept(link)

    assert not nursery.supervisor.is_there
    assert nursery.supervisor.due is not None
    assert nursery.supervisor.due <= time.monotonic()  # the first time at once
    with nursery.ask() as link:
        nursery.come(link)
    nursery.end_of_server()


def test_a_server_outlives_its_zygote_and_its_end_is_seen(nursery: Nursery) -> None:
    link = nursery.ask()
    server = nursery.come(link)
    nursery.kill_zygote()

    assert is_alive(server)
    nursery.supervisor.kill()
    nursery.end_of_server()

    link.close()
    assert not is_alive(server)


def test_a_zygote_that_cannot_start_is_hopeless_after_five_tries(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote_module, "_ZYGOTE", "raise SystemExit")
    for failures in range(1, 6):
        assert not nursery.supervisor.is_hopeless
        with nursery.ask() as link:
            assert readable(link.fileno())
            before = time.monotonic()
            assert not nursery.supervisor.accept(link)
            after = time.monotonic()
        assert nursery.supervisor.due is not None
        wait = pause(failures, 0.1)
        assert before + wait <= nursery.supervisor.due <= after + wait

    assert nursery.supervisor.is_hopeless


def test_a_server_that_did_not_serve_takes_its_zygote_along(nursery: Nursery) -> None:
    link = nursery.ask()
    nursery.come(link, serves=False)
    zygote = nursery.zygote

    link.close()
    nursery.end_of_server()

    assert not nursery.supervisor.zygote.pid
    wait_until(lambda: not is_alive(zygote))


def test_one_that_never_comes_is_waited_for_no_longer_than_half_a_minute(nursery: Nursery) -> None:
    nursery.supervisor._failures = 5000

    before = time.monotonic()
    nursery.ask().close()

    assert nursery.supervisor.due is not None
    assert before + 20 < nursery.supervisor.due <= time.monotonic() + 30


def test_pauses_grow_to_a_bound() -> None:
    assert pause(1, 0.1) == 0
    assert pause(2, 0.1) < pause(3, 0.1) < pause(4, 0.1)
    assert pause(100, 0.1) == pause(1000, 0.1) == 5.0


def test_servers_that_die_soon_after_each_other_are_replaced_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(supervisor_module, "time", clock)
    supervisor = Supervisor("/nowhere")

    def pause_after(life_seconds: float) -> float:
        """Return the pause after a server that lived so long."""
        supervisor.take_over(os.open(os.devnull, os.O_RDONLY), supervisor.replacements)
        clock.now += life_seconds
        supervisor.note_end()
        assert supervisor.due is not None
        return round(supervisor.due - clock.now, 6)

    pauses = [pause_after(1.9) for _ in range(40)]

    assert pauses[0] == 0  # at once
    assert pauses == sorted(pauses)
    assert sum(pauses[:8]) > 0.2
    assert pauses[-1] == pytest.approx(0.25)
    assert pause_after(2.1) == 0
    assert supervisor.replacements == 41
