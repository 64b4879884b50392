"""Connecting, asking, being refused, giving up: against a server that behaves or does not."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ptymux.client.server_connection import ServerConnection, socket_path
from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.errors import (
    ArgumentsTooLongError,
    BadDirectoryError,
    ConnectionClosedError,
    InvalidValueError,
    NoServerError,
    OldServerError,
    ProtocolError,
    PtymuxError,
    RemoteError,
    UnknownMethodError,
    UnknownPtyError,
    UnreachableError,
    VersionError,
)
from ptymux.protocol.messages import (
    LARGEST_PAYLOAD,
    Notification,
    Request,
    decode_payload,
    encode_error,
    encode_notification,
    encode_result,
)
from tests.client.stub import HELLO, Peer, StubServer
from tests.timing import deadline_seconds


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


def once(answer: Callable[[Peer, Request], None]) -> Callable[[Peer], None]:
    """Return what greets and gives each request to `answer`."""

    def serve(peer: Peer) -> None:
        peer.greet()
        while True:
            answer(peer, peer.request())

    return serve


def echo(peer: Peer, request: Request) -> None:
    peer.reply(request, {"method": request.method, "params": request.params})


# The path ---------------------------------------------------------------------------------------


def test_the_socket_is_the_one_given_then_that_of_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PTYMUX_SOCKET", "/run/other")
    assert socket_path("/x/y") == "/x/y"
    assert socket_path("y") == os.path.abspath("y")
    assert socket_path() == "/run/other"
    monkeypatch.setenv("PTYMUX_SOCKET", "")
    assert socket_path() == f"/tmp/ptymux-{os.getuid()}/default.sock"


@pytest.mark.parametrize("wrong", ["/" + "x" * 103, "/" + "ä" * 52, "", "/a\0b"])
def test_what_can_be_no_socket_is_refused(wrong: str) -> None:
    assert socket_path("/" + "x" * 102)
    with pytest.raises(InvalidValueError, match="at most 103 bytes"):
        socket_path(wrong)


# Connecting -------------------------------------------------------------------------------------


def test_hello_tells_the_versions_and_the_client(path: str) -> None:
    hellos = []

    def serve(peer: Peer) -> None:
        hellos.append(peer.request())
        peer.reply(hellos[0], HELLO | {"of a newer server": [1]})

    with StubServer(path, serve), ServerConnection(path) as connection:
        assert connection.server["epoch"] == "e1"
        assert connection.server["pid"] == 123
    assert hellos[0].params["protocol"] == [1, 1]
    assert re.fullmatch(r"ptymux \d+\.\d+\.\d+", hellos[0].params["client"])


def test_without_a_server_there_is_one_clear_error(path: str) -> None:
    with pytest.raises(NoServerError, match="server start"):
        ServerConnection(path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(NoServerError, match="no server runs at"):
        ServerConnection(path)


def test_a_path_through_a_file_is_no_missing_server(path: str) -> None:
    Path(path).touch()

    with pytest.raises(UnreachableError, match="not a directory"):
        ServerConnection(f"{path}/socket")


def test_a_silent_server_is_given_up(path: str) -> None:
    def serve(peer: Peer) -> None:
        while True:
            peer.receive()

    began = time.monotonic()
    with StubServer(path, serve), pytest.raises(UnreachableError, match="did not answer 'hello'"):
        ServerConnection(path, 0.2)
    assert time.monotonic() - began >= 0.2


def test_a_server_that_answers_in_drops_is_given_up_too(path: str) -> None:
    drops = 0

    def serve(peer: Peer) -> None:
        nonlocal drops
        while True:
            peer.send(b" ")
            drops += 1
            time.sleep(0.01)  # the drops come slowly, that is the point

    seconds = 0.1
    with StubServer(path, serve):
        while drops < 3:  # of which a slow machine sends fewer in the same time
            drops, seconds = 0, 2 * seconds
            with pytest.raises(UnreachableError, match="did not answer"):
                ServerConnection(path, seconds)


def test_a_server_that_accepts_nobody_is_given_up(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            with pytest.raises(UnreachableError, match="took no connection within"):
                ServerConnection(path, 0.2)


def test_a_server_of_somebody_else_is_not_talked_to(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    def serve(peer: Peer) -> None:
        heard.append(peer.receive())

    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with StubServer(path, serve), pytest.raises(UnreachableError, match="you are user 54321"):
        ServerConnection(path)
    assert not heard


@pytest.mark.parametrize("version", [0, 2, None, "1", True])
def test_a_server_of_another_version_is_one_clear_error(path: str, version: object) -> None:
    def serve(peer: Peer) -> None:
        peer.reply(peer.request(), HELLO | {"protocol": version})

    with StubServer(path, serve), pytest.raises(VersionError, match="server restart"):
        ServerConnection(path)


def test_a_server_that_refuses_our_version_says_so(path: str) -> None:
    def serve(peer: Peer) -> None:
        peer.refuse(peer.request(), VersionError("2 to 3", "1 to 1"))

    with StubServer(path, serve), pytest.raises(VersionError, match="version 1 to 1 of"):
        ServerConnection(path)


def test_what_is_no_server_of_ours_is_one_clear_error(path: str) -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mail.example.org ESMTP\r\n")
        peer.receive()

    with StubServer(path, serve), pytest.raises(ProtocolError, match="does not speak as"):
        ServerConnection(path)


def test_a_server_that_hangs_up_is_told_from_a_silent_one(path: str) -> None:
    with (
        StubServer(path, lambda _peer: None),
        pytest.raises(ConnectionClosedError, match="closed the connection"),
    ):
        ServerConnection(path)


# Asking -----------------------------------------------------------------------------------------


def test_a_call_gives_the_result_and_leaves_out_what_is_none(path: str) -> None:
    with StubServer(path, once(echo)), ServerConnection(path) as connection:
        for _ in range(3):
            assert connection.call("list", lane="a", method=None, all=False) == {
                "method": "list",
                "params": {"lane": "a", "all": False},
            }


def test_a_refused_call_raises_the_servers_error_and_the_connection_goes_on(path: str) -> None:
    errors = {
        "get": UnknownPtyError("web"),
        "fly": UnknownMethodError("fly"),
        "new": RemoteError("too hot", "too-hot", 3),
    }

    def answer(peer: Peer, request: Request) -> None:
        if request.method in errors:
            peer.refuse(request, errors[request.method])
        else:
            echo(peer, request)

    with StubServer(path, once(answer)), ServerConnection(path) as connection:
        with pytest.raises(UnknownPtyError, match="no PTY 'web'"):
            connection.call("get", pty="web")
        with pytest.raises(UnknownMethodError, match="'fly'"):
            connection.call("fly")
        with pytest.raises(RemoteError, match="too hot") as caught:
            connection.call("new")
        assert (caught.value.code, caught.value.exit_code) == ("too-hot", 3)
        assert connection.call("list")["method"] == "list"


def test_answers_to_nobody_and_news_of_a_newer_server_are_skipped(path: str) -> None:
    def answer(peer: Peer, request: Request) -> None:
        peer.send(encode_notification("weather", {"rain": True}))
        peer.send(encode_result(99, {}) + encode_error(98, PtymuxError("no")))
        echo(peer, request)

    with StubServer(path, once(answer)), ServerConnection(path) as connection:
        assert connection.call("status")["method"] == "status"


def test_an_error_about_the_connection_ends_it(path: str) -> None:
    def answer(peer: Peer, _request: Request) -> None:
        peer.send(encode_error(None, ProtocolError("not JSON")))

    with StubServer(path, once(answer)), ServerConnection(path) as connection:
        with pytest.raises(ProtocolError, match="not JSON"):
            connection.call("get")
        assert connection.fileno() == -1
        with pytest.raises(ConnectionClosedError):
            connection.call("get")


def test_a_call_that_is_not_answered_ends_the_connection(path: str) -> None:
    def answer(_peer: Peer, _request: Request) -> None:
        return

    with (
        StubServer(path, once(answer)),
        ServerConnection(path, reply_timeout=0.1) as connection,
    ):
        with pytest.raises(UnreachableError, match=r"did not answer 'list' within 0\.1 s"):
            connection.call("list")
        assert connection.fileno() == -1


@pytest.mark.parametrize("method", ["wait", "kill", "shutdown", "restart"])
def test_what_takes_as_long_as_it_takes_is_not_given_up(path: str, method: str) -> None:
    """Any answer takes longer than no time, which is what others have here."""
    with StubServer(path, once(echo)), ServerConnection(path, reply_timeout=0.0) as connection:
        assert connection.call(method)["method"] == method


def test_a_server_that_dies_during_a_call_is_an_error(path: str) -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        peer.request()
        peer.send(b'{"id":2,"resu')

    with (
        StubServer(path, serve),
        ServerConnection(path) as connection,
        pytest.raises(ConnectionClosedError),
    ):
        connection.call("get")


def test_a_server_that_never_ends_its_line_is_cut_off(path: str) -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        peer.request()
        while True:
            peer.send(b"x" * 65536)

    with (
        StubServer(path, serve),
        ServerConnection(path) as connection,
        pytest.raises(ProtocolError, match="longer than"),
    ):
        connection.call("get")


def test_a_request_that_is_too_long_is_not_sent(path: str) -> None:
    with StubServer(path, once(echo)), ServerConnection(path) as connection:
        with pytest.raises(ProtocolError, match="longer than"):
            connection.call("get", pty="x" * (1 << 20))
        assert connection.call("get", pty="x")["method"] == "get"


# Fds --------------------------------------------------------------------------------------------


def send_pipe(peer: Peer, request: Request) -> None:
    told, describer = os.pipe()
    os.write(describer, b"through the pipe")
    os.close(describer)
    peer.reply(request, {}, [told])
    os.close(told)


def test_fds_come_with_the_reply_and_are_not_inherited(path: str) -> None:
    with StubServer(path, once(send_pipe)), ServerConnection(path) as connection:
        _result, fds = connection.call_with_fds("attach")

        assert [os.read(fd, 99) for fd in fds] == [b"through the pipe"]
        assert not os.get_inheritable(fds[0])
        os.close(fds[0])
        assert connection.call("attach") == {}  # those that nobody asked for are closed


def test_fds_of_a_refused_request_are_closed(path: str) -> None:
    def answer(peer: Peer, request: Request) -> None:
        peer.send(encode_error(request.id, PtymuxError("no")), [0, 1])

    with (
        StubServer(path, once(answer)),
        ServerConnection(path) as connection,
        pytest.raises(PtymuxError, match="no"),
    ):
        connection.call_with_fds("attach")


# Spawn ------------------------------------------------------------------------------------------


class SpawningServer(StubServer):
    """Keeps what the last spawn asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path, once(self._answer))
        self.params: dict[str, object] = {}
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.fds: list[str] = []

    def _answer(self, peer: Peer, request: Request) -> None:
        params = request.params
        payload = peer.payload(params["payload_bytes"])
        self.params = params
        self.argv, self.env = decode_payload(payload, params["argc"], params["envc"])
        self.fds = [os.readlink(f"/proc/self/fd/{fd}") for fd in peer.fds]
        while peer.fds:
            os.close(peer.fds.pop())
        peer.reply(request, {"pty": {"pty_id": "pty_1"}})


def test_a_spawn_brings_all_that_was_asked_for(path: str, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    stdin = os.open("/dev/zero", os.O_RDONLY)
    options = SpawnOptions(
        argv=("make", "", odd),
        env={"A": "1", "B": odd},
        overrides={"C": "=\n"},
        cwd=str(tmp_path),
        umask=0o27,
        nofile=99,
        size=WindowSize(100, 30),
        name="web",
        buffer_size=4096,
        on_full=OnFull.BLOCK,
        plain_output=True,
        stdin_fd=stdin,
    )

    with SpawningServer(path) as server, ServerConnection(path) as connection:
        assert connection.spawn(options, remove=True) == {"pty": {"pty_id": "pty_1"}}
    os.close(stdin)

    assert (server.argv, server.env) == (["make", "", odd], {"A": "1", "B": odd})
    assert server.fds == [str(tmp_path), "/dev/zero"]
    assert server.params | {"payload_bytes": 0} == {
        "name": "web",
        "lane": "default",
        "cols": 100,
        "rows": 30,
        "buffer_size": 4096,
        "threshold": 0.75,
        "on_full": "block",
        "idle_timeout": 300.0,
        "grace": 5.0,
        "plain_output": True,
        "keep_term": False,
        "umask": 0o27,
        "nofile": 99,
        "argc": 3,
        "envc": 2,
        "overrides": {"C": "=\n"},
        "has_stdin": True,
        "remove": True,
        "payload_bytes": 0,
    }


def test_fds_are_passed_in_the_order_of_their_numbers_in_the_request(path: str) -> None:
    zero = os.open("/dev/zero", os.O_RDONLY)
    options = SpawnOptions(argv=("true",), pass_fds={7: zero, 3: 0}, stdin_fd=zero)
    with SpawningServer(path) as server, ServerConnection(path) as connection:
        connection.server["passes_fds"] = 64
        connection.spawn(options)
    os.close(zero)

    assert server.params["pass_fds"] == [7, 3]
    assert server.fds == [os.getcwd(), "/dev/zero", "/dev/zero", os.readlink("/proc/self/fd/0")]


def test_a_server_that_passes_no_fds_is_not_asked_to(path: str) -> None:
    options = SpawnOptions(argv=("true",), pass_fds={3: 0})
    with SpawningServer(path), ServerConnection(path) as connection:
        assert not connection.passes_fds
        with pytest.raises(OldServerError, match="older and cannot pass fds"):
            connection.spawn(options)
        connection.spawn(SpawnOptions(argv=("true",)))  # the connection is as it was


@pytest.mark.parametrize("field", ["stdin_fd", "pass_fds"])
def test_an_fd_that_is_not_open_is_refused_before_the_server_is_asked(
    path: str, field: str
) -> None:
    closed = 999_999
    given: Any = {"stdin_fd": closed, "pass_fds": (closed,)}[field]
    with SpawningServer(path), ServerConnection(path) as connection:
        connection.server["passes_fds"] = 64
        with pytest.raises(InvalidValueError, match=f"{field} .*{closed}"):
            connection.spawn(SpawnOptions(argv=("true",), **{field: given}))
        connection.spawn(SpawnOptions(argv=("true",)))


def test_a_spawn_takes_from_this_process_what_was_left_out(path: str) -> None:
    umask = os.umask(0o22)
    os.umask(umask)
    with SpawningServer(path) as server, ServerConnection(path) as connection:
        connection.spawn(SpawnOptions(argv=("true",)))

    assert server.env == dict(os.environ)
    assert server.fds == [os.getcwd()]
    assert server.params["umask"] == umask
    assert server.params["has_stdin"] is False


def test_a_payload_larger_than_the_sockets_buffer_arrives(path: str) -> None:
    argv = ("echo", "x" * (LARGEST_PAYLOAD - 100))

    with SpawningServer(path) as server, ServerConnection(path) as connection:
        connection.spawn(SpawnOptions(argv=argv, env={}))
        assert server.argv == list(argv)
        with pytest.raises(ArgumentsTooLongError):
            connection.spawn(SpawnOptions(argv=(*argv, "x" * 100), env={}))


def test_a_directory_that_cannot_be_entered_is_refused_here(path: str) -> None:
    with SpawningServer(path), ServerConnection(path) as connection:
        with pytest.raises(BadDirectoryError, match="no such file"):
            connection.spawn(SpawnOptions(argv=("true",), cwd="/no/such"))
        assert connection.spawn(SpawnOptions(argv=("true",)))["pty"]


def test_a_server_that_refuses_before_it_read_the_payload_is_heard(path: str) -> None:
    def answer(peer: Peer, request: Request) -> None:
        peer.refuse(request, PtymuxError("no more PTYs"))
        raise ConnectionResetError  # hang up on the rest of the payload

    with (
        StubServer(path, once(answer)),
        ServerConnection(path) as connection,
        pytest.raises(PtymuxError, match="no more PTYs"),
    ):
        connection.spawn(SpawnOptions(argv=("echo", "x" * 2_000_000), env={}))


# Notifications ----------------------------------------------------------------------------------


def test_notifications_come_until_the_last(path: str) -> None:
    def answer(peer: Peer, request: Request) -> None:
        told = [encode_notification("event", {"seq": seq}) for seq in (1, 2)]
        told += [encode_notification("missed", {"count": 5}), encode_notification("end", {})]
        peer.send(encode_result(request.id, {"missed": 0}) + b"".join(told))

    with StubServer(path, once(answer)), ServerConnection(path) as connection:
        assert connection.call("events", since=0) == {"missed": 0}
        assert list(connection.notifications()) == [
            Notification("event", {"seq": 1}),
            Notification("event", {"seq": 2}),
            Notification("missed", {"count": 5}),
        ]


def test_waiting_for_a_notification_can_be_limited(path: str) -> None:
    go_on = threading.Event()

    def answer(peer: Peer, request: Request) -> None:
        peer.reply(request, {})
        go_on.wait(deadline_seconds())
        peer.send(encode_notification("event", {}))

    with StubServer(path, once(answer)), ServerConnection(path) as connection:
        connection.call("events", follow=True)
        assert connection.notification(0.05) is None
        go_on.set()
        assert connection.notification(deadline_seconds()) == Notification("event", {})


@pytest.mark.parametrize("line", [b'{"method":"event","params":{}}\n', b'{"id":99,"result":{}}\n'])
def test_a_server_that_never_stops_sending_is_given_up(path: str, line: bytes) -> None:
    def serve(peer: Peer) -> None:
        with suppress(OSError):
            while True:
                peer.send(line * 1000)

    with StubServer(path, serve), pytest.raises(UnreachableError):
        ServerConnection(path, 0.05)


def test_a_server_that_dies_is_not_the_last_notification(path: str) -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        peer.reply(peer.request(), {})

    with StubServer(path, serve), ServerConnection(path) as connection:
        connection.call("events")
        with pytest.raises(ConnectionClosedError):
            list(connection.notifications())


def test_what_comes_behind_the_last_reply_is_kept_for_an_upgrade(path: str) -> None:
    def answer(peer: Peer, request: Request) -> None:
        peer.send(encode_result(request.id, {}) + b"\1\2\n\3")
        peer.receive()

    with StubServer(path, once(answer)), ServerConnection(path) as connection:
        connection.call("attach")
        sock, piece = connection.upgrade()
        with sock:
            assert piece == b"\1\2\n\3"
            assert connection.fileno() == -1


# Start-up ---------------------------------------------------------------------------------------


def test_importing_the_client_imports_nothing_slow() -> None:
    code = "import sys, ptymux.client.server_connection, ptymux.client.stream; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.check_output(command, text=True, env={}).split()  # not being measured

    assert not {"asyncio", "dataclasses", "inspect", "click", "rich", "logging"} & set(loaded)
    assert not {"ptymux.core.model", "subprocess", "resource"} & set(loaded)


def test_an_interrupt_gets_out_of_a_wait(path: str) -> None:
    waiting = threading.Event()

    def answer(peer: Peer, _request: Request) -> None:
        waiting.set()
        os.kill(os.getpid(), signal.SIGINT)
        peer.receive()

    with (
        StubServer(path, once(answer)),
        ServerConnection(path) as connection,
        pytest.raises(KeyboardInterrupt),
    ):
        connection.call("wait", pty="x")
    assert waiting.is_set()
