"""Clients that hurt: what they cost the server, and that they cost nobody else anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import KIB, MIB, Limits
from ptymux.errors import PtymuxError
from ptymux.protocol.lines import LARGEST_LINE
from ptymux.protocol.messages import LARGEST_PAYLOAD
from tests.processes import memory_of
from tests.server.raw_client import await_reply, flood, greeted, raw, request, send, stopped_client
from tests.serving import Serving, collect, read_until
from tests.timing import wait_until

LIMITS = Limits()
LINES = 300_000  # of 9 bytes
COUNTER = f"seq -f %08.0f {LINES}"
EVENTS = 2500
SILENT = 200


def counted() -> bytes:
    return b"".join(b"%08d\n" % number for number in range(1, LINES + 1))


def private_memory(pid: int) -> int:
    """Return the bytes of a process that nobody shares, the pages of rings left out."""
    return memory_of(pid, "RssAnon")


# What they cost -------------------------------------------------------------------------------


def test_the_limits_know_what_the_protocol_lets_a_client_send() -> None:
    assert (LIMITS.LINE, LIMITS.PAYLOAD) == (LARGEST_LINE, LARGEST_PAYLOAD)


@pytest.mark.slow
@pytest.mark.requirement("EVENTS")
def test_who_asks_for_all_events_and_reads_none_costs_a_page_of_them(own_server: Serving) -> None:
    own_server.sh("sleep 1000")
    with own_server.connect() as connection:
        for number in range(EVENTS):
            connection.call("resize", pty="1", cols=80 + number % 2, rows=24)
    server = own_server.status()["pid"]
    before = private_memory(server)
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(greeted(own_server))
            sock.sendall(request("events", '{"since":0,"follow":true}'))
            await_reply(sock)
        with own_server.connect() as connection:
            reply = connection.call("events", since=0)
            told = [note.params["seq"] for note in connection.notifications()]

        assert told == list(range(1, reply["last_seq"] + 1))
        assert reply["last_seq"] > EVENTS
        assert private_memory(server) - before < 20 * LIMITS.EVENT_PAGE * LIMITS.event_size


def half_a_line(_server: Serving, sock: socket.socket) -> None:
    send(sock, b"x" * (LARGEST_LINE - 1))


def half_a_payload(_server: Serving, sock: socket.socket) -> None:
    send(sock, request("spawn", f'{{"payload_bytes":{LARGEST_PAYLOAD}}}'))
    send(sock, bytes(LARGEST_PAYLOAD - 1))


def everything_at_once(server: Serving, sock: socket.socket) -> None:
    flood(server, sock, request("list", '{"all":true}') * 1000)


@pytest.mark.parametrize("hurt", [half_a_line, half_a_payload, everything_at_once])
def test_what_a_client_leaves_unfinished_or_unread_is_held_within_its_limit(
    own_server: Serving, hurt: Callable[[Serving, socket.socket], None]
) -> None:
    count = 10
    server = own_server.status()["pid"]
    before = private_memory(server)
    with ExitStack() as stack:
        for _ in range(count):
            hurt(own_server, stack.enter_context(greeted(own_server)))
        assert own_server.call("list")["ptys"] == []

        assert private_memory(server) - before < count * LIMITS.connection_bytes


# What they cost others ------------------------------------------------------------------------


@contextmanager
def all_kinds_of_harm(server: Serving, pty: dict[str, object]) -> Iterator[int]:
    """Have clients of every bad kind around; give the bytes that the server may hold for them."""
    with ExitStack() as stack:
        stack.enter_context(stopped_client(lambda: server.attach(pty)))
        stack.enter_context(server.attach(pty, wants_input=False))  # and never reads
        send(stack.enter_context(server.attach(pty, wants_input=False))._sock, b"\2\0\0")
        for hurt in (half_a_line, half_a_payload, everything_at_once):
            hurt(server, stack.enter_context(greeted(server)))
        follower = stack.enter_context(greeted(server))
        follower.sendall(request("events", '{"since":0,"follow":true}'))
        await_reply(follower)
        junk = stack.enter_context(greeted(server))
        send(junk, os.urandom(MIB // 2).replace(b"\n", b" ") + b"\n")
        for _ in range(SILENT):
            stack.enter_context(raw(server))
        page = LIMITS.EVENT_PAGE * LIMITS.event_size
        yield 7 * LIMITS.connection_bytes + page + SILENT * LIMITS.CHUNK


@pytest.mark.slow
@pytest.mark.requirement("FR-005", "SC-002")
def test_among_bad_clients_of_every_kind_a_good_one_gets_every_byte(own_server: Serving) -> None:
    endless = own_server.sh("while :; do seq -f %070.0f 100000; done", plain_output=True)
    server = own_server.status()["pid"]
    before = private_memory(server)
    with all_kinds_of_harm(own_server, endless) as allowed:
        pty = own_server.sh(f"read x; {COUNTER}", plain_output=True, buffer_size=8 * MIB)
        with own_server.attach(pty) as attached:
            assert attached.lifeline is not None
            attached.lifeline.send_all(b"\n")
            data, missed, end = collect(attached)
        echo = own_server.spawn("cat")
        with own_server.attach(echo) as attached:
            assert attached.lifeline is not None
            attached.lifeline.send_all(b"still here\n")
            read_until(attached, b"still here\r\nstill here\r\n")
        growth = private_memory(server) - before

        assert data == counted()
        assert (missed, end["exit_code"]) == (0, 0)
        assert growth < allowed
        assert own_server.get(endless)["clients"] == 3
        assert own_server.status()["server_replaced"] == 0
    wait_until(lambda: own_server.get(endless)["clients"] == 0)


@pytest.mark.requirement("FR-005")
def test_a_child_in_drop_mode_never_waits_for_clients_that_do_not_read(server: Serving) -> None:
    pty = server.sh(f"read x; {COUNTER}; {COUNTER}", plain_output=True, buffer_size=64 * KIB)
    with stopped_client(lambda: server.attach(pty)), server.attach(pty) as never_reads:
        assert never_reads.lifeline is not None
        never_reads.lifeline.send_all(b"\n")

        ended = server.call("wait", pty=pty["pty_id"])["pty"]

    assert ended["exit_code"] == 0
    assert ended["buffer"]["total_written"] == 2 * 9 * LINES
    assert ended["buffer"]["dropped_attended"] > 0


# Who is no client -----------------------------------------------------------------------------


@pytest.mark.requirement("FR-010", "SC-002")
def test_who_holds_all_input_channels_bars_nobody_from_typing(server: Serving) -> None:
    pty = server.sh("read x; echo got $x; read x", name="a")
    with ExitStack() as held:
        for _ in range(Limits.LIFELINES):
            connection = held.enter_context(server.connect())
            for fd in connection.call_with_fds("send", pty=pty["pty_id"])[1]:
                held.callback(os.close, fd)

        server.ok("send", "a", "it", "--enter")

        server.await_text("a", "got it")


@pytest.mark.requirement("SC-002")
def test_a_text_that_no_program_can_get_is_refused_in_one_line(server: Serving) -> None:
    params = '{"argc":1,"envc":0,"payload_bytes":5,"overrides":{"A":"\\ud800"}}'
    root = os.open("/", os.O_PATH)
    with greeted(server) as sock:
        sock.sendall(request("spawn", params))
        socket.send_fds(sock, [b"true\0"], [root])
        assert b"environment variable" in sock.recv(4096)

        sock.sendall(request("status"))
        assert b'"result"' in sock.recv(4096)
    os.close(root)


@pytest.mark.requirement("SC-002")
def test_an_urgent_byte_on_a_connection_is_dropped(server: Serving) -> None:
    with greeted(server) as sock:
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(request("status"))

        assert b'"result"' in sock.recv(4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_told_whose_server_it_is(own_server: Serving) -> None:
    os.chmod(own_server.folder, 0o711)
    os.chmod(own_server.path, 0o666)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(65534)
        try:
            ServerConnection(own_server.path)
        except PtymuxError as error:
            os.write(tell, str(error).encode())
        os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(told) as pipe:
        message = pipe.read()

    assert message.endswith("it belongs to user 0, and you are user 65534")
    assert own_server.call("list")["ptys"] == []
