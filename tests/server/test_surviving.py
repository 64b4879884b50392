"""What a server and its keeper survive: clients of every kind, kills, removed files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ptymux.client import autostart, stream
from ptymux.errors import (
    ConnectionClosedError,
    PtymuxError,
    ServerStoppingError,
    UnsafeDirectoryError,
)
from ptymux.protocol.framing import Exit, Gap, Out
from ptymux.protocol.session import ServerSession
from tests.gate import Gate, gate
from tests.processes import children_of, fd_count, is_alive, kill, kill_at_once, memory_of, stop
from tests.server.raw_client import flood, greeted, raw, request, send, stopped_client, unread
from tests.serving import Serving, collect
from tests.timing import deadline_seconds, wait_until
from tests.world import windows

__all__ = ["gate"]  # the fixture

LINES = 400_000  # of 9 bytes
FLOOD = f"seq -f %08.0f {LINES}"
KILLS = 20
SHORT = 200_000  # lines of a flood of which there are as many
SHORT_FLOOD = f"seq -f %08.0f {SHORT}"
MIB = 1024 * 1024


def expected(count: int = LINES) -> bytes:
    return b"".join(b"%08d\n" % number for number in range(1, count + 1))


def answer_to(server: Serving, data: bytes) -> bytes:
    """Return what is answered to `data` until the server hangs up or the client had enough."""
    with raw(server) as sock:
        with suppress(BrokenPipeError):
            sock.sendall(data)
        got = b""
        with suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                got += piece
    return got


# Clients -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("junk", "code"),
    [
        (b"\0\xff\xfe\n", -32700),
        (b"{}\n", -32600),
        (b"[1,2]\n", -32600),
        (b"x" * (MIB + 1), -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"list"}\n', -32600),
    ],
)
def test_junk_gets_an_error_and_a_closed_connection(
    server: Serving, junk: bytes, code: int
) -> None:
    answer = json.loads(answer_to(server, junk))

    assert answer["error"]["code"] in (code, -32600, -32700)
    assert server.call("list")["ptys"] == []


def test_a_client_that_only_stopped_sending_gets_its_answers(server: Serving) -> None:
    with greeted(server) as sock:
        for number in range(2, 12):
            sock.sendall(request("status", id=number))
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while piece := sock.recv(65536):
            got += piece
    assert [json.loads(line)["id"] for line in got.splitlines()] == list(range(2, 12))


def test_who_leaves_while_waiting_is_forgotten(server: Serving) -> None:
    number = server.sh("sleep 60")["number"]
    half, full = greeted(server), greeted(server)
    for sock in (half, full):
        send(sock, request("wait", f'{{"pty":"{number}"}}'))
    half.shutdown(socket.SHUT_WR)
    wait_until(lambda: server.status()["connections"] == 3)
    half.close()
    full.close()
    wait_until(lambda: server.status()["connections"] == 1)


def test_fds_that_nobody_asked_for_are_closed(server: Serving) -> None:
    pid = server.status()["pid"]
    before = fd_count(pid)
    with greeted(server) as sock, open(os.devnull) as file:
        for count in (1, 2, 20, 200):
            socket.send_fds(sock, [request("status")], [file.fileno()] * count)
            assert b"uptime" in sock.recv(65536)
        for _ in range(50):
            socket.send_fds(sock, [b"{"], [file.fileno()] * 60)
        wait_until(lambda: not unread(sock))
        # It keeps some for a request to come.
        wait_until(lambda: fd_count(pid) < before + 30 + ServerSession.MOST_HELD)
    wait_until(lambda: fd_count(pid) <= before)


def test_half_a_frame_and_a_wrong_one_end_only_their_own_attachment(server: Serving) -> None:
    pty = server.sh("sleep 60")
    with server.attach(pty, wants_input=False) as half, server.attach(pty) as wrong:
        send(half._sock, b"\x02\x00\x00")
        wrong._sock.sendall(b"\x02\xff\xff\xff\xff")
        with pytest.raises(ConnectionClosedError):
            wrong.receive()
        wait_until(lambda: server.get(pty)["clients"] == 1)
    wait_until(lambda: server.get(pty)["clients"] == 0)


@pytest.mark.slow
def test_silent_stalled_and_greedy_clients_cost_the_others_no_byte(own_server: Serving) -> None:
    server = own_server.status()["pid"]
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(raw(own_server))
        flood(own_server, stack.enter_context(greeted(own_server)), request("status") * 1000)
        pty = own_server.sh(FLOOD, plain_output=True, buffer_size=8 * MIB)
        for _ in range(3):
            stack.enter_context(own_server.attach(pty, wants_input=False))  # and never read
        before = memory_of(server, "RssAnon")  # without the pages of rings

        data, missed, _end = own_server.output(pty)

        assert data == expected()
        assert missed == 0
        assert memory_of(server, "RssAnon") - before < 16 * MIB
        wait_until(lambda: own_server.get(pty)["clients"] == 3)
    wait_until(lambda: own_server.get(pty)["clients"] == 0)


def test_a_client_beyond_the_limit_is_told_so(
    own_server: Serving,
) -> None:
    with ExitStack() as stack:
        for _ in range(512):
            stack.enter_context(raw(own_server))
        with raw(own_server) as late:
            assert b"limit-reached" in late.recv(4096)
    wait_until(lambda: len(own_server.call("list")["ptys"]) == 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_refused(own_server: Serving) -> None:
    os.chmod(own_server.folder, 0o711)
    os.chmod(own_server.path, 0o666)
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(OSError):
            os.setgroups([])
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(own_server.path)
                sock.settimeout(deadline_seconds())
                code = 0 if sock.recv(100) == b"" else 2
        os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "refused a client" in own_server.log()


# The server dies -----------------------------------------------------------------------------


class Reader:
    """Reads a PTY from its beginning to its end, attaching again where it was cut off."""

    def __init__(self, server: Serving, pty: dict[str, object]) -> None:
        self.offset = 0
        self.data = bytearray()
        self.gaps: list[tuple[int, int]] = []
        self.end: dict[str, object] = {}
        self.attachments = 0
        self._place, self._pty = server, pty
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.end:
            with suppress(PtymuxError):
                self._read_on()

    def _read_on(self) -> None:
        with self._place.attach(self._pty, offset=self.offset, wants_input=False) as stream:
            self.attachments += 1
            for frame in stream:
                match frame:
                    case Out():
                        self.data += frame.data
                    case Gap():
                        self.gaps.append((frame.start, frame.end))
                    case Exit():
                        self.end = frame.pty
                self.offset = stream.offset


@pytest.mark.slow
def test_a_server_killed_again_and_again_loses_no_byte_and_no_pty(own_server: Serving) -> None:
    """Each time it has to take over in the middle of a flood, or before it, or behind it."""
    floods = f"stty -echo; echo ready; for i in $(seq {KILLS}); do read x; {SHORT_FLOOD}; done"
    script = f"{floods}; read x"
    pty = own_server.sh(script, plain_output=True, name="flood", lane="l9", buffer_size=4 * MIB)
    quiet = own_server.sh("sleep 60", name="quiet")
    own_server.call("resize", pty="quiet", cols=101, rows=31)
    own_server.call("kill", ptys=[own_server.sh("sleep 60")["pty_id"]])
    whole = b"ready\n" + expected(SHORT) * KILLS
    wait_until(lambda: own_server.get(pty)["buffer"]["total_written"] == len(b"ready\n"))
    reader = Reader(own_server, pty)
    for _ in range(KILLS):
        with own_server.connect() as connection:
            stream.send(connection, pty["pty_id"], b"\n")
            kill(connection.server["pid"])
    wait_until(lambda: reader.offset == len(whole), units=5)  # 36 MB, checked byte by byte
    status = own_server.status()
    assert status["server_replaced"] == KILLS
    told = own_server.get(pty)
    assert (told["number"], told["name"], told["lane_id"]) == (1, "flood", "l9")
    assert (own_server.get(quiet)["cols"], own_server.get(quiet)["name"]) == (101, "quiet")
    assert own_server.get(quiet)["spawn_ms"] == quiet["spawn_ms"]
    with own_server.connect() as connection:
        stream.send(connection, pty["pty_id"], b"\n")
    reader.thread.join(deadline_seconds())

    at, taken = 0, 0
    for start, end in [*reader.gaps, (len(whole), len(whole))]:
        size = start - at
        assert reader.data[taken : taken + size] == whole[at:start]
        at, taken = end, taken + size
    buffer = own_server.get(pty)["buffer"]
    written = buffer["total_written"]
    assert written == len(whole)
    assert written == buffer["retained"] + buffer["trimmed"] + buffer["total_dropped"]
    assert written == buffer["total_consumed"] + buffer["total_dropped"] + buffer["unread"]
    assert own_server.sh("true")["number"] == 4  # of three before, one is forgotten
    own_server.call("kill", all=True)


def test_restart_keeps_every_pty_and_input_goes_past_it(
    own_server: Serving, tmp_path: Path
) -> None:
    pty = own_server.sh(f"stty -echo; echo ready; read a b; echo $a-$b > {tmp_path}/got")
    old = own_server.status()["pid"]
    with own_server.attach(pty) as attached:
        assert attached.lifeline is not None
        attached.lifeline.send_all(b"one ")
        assert own_server.call("restart")["server_pid"] == old
        wait_until(lambda: not is_alive(old))
        attached.lifeline.send_all(b"two\n")
        own_server.call("wait", pty=pty["pty_id"])
    assert (tmp_path / "got").read_text() == "one-two\n"
    assert own_server.status()["pid"] != old
    assert len(own_server.keepers) == 2  # the old one and a new one


def test_a_stopped_child_is_known_to_the_next_server(own_server: Serving) -> None:
    pty = own_server.sh("sleep 60")
    own_server.call("signal", pty=pty["pty_id"], signal="STOP")
    wait_until(lambda: own_server.get(pty)["suspended"])
    kill(own_server.status()["pid"])
    wait_until(lambda: own_server.get(pty)["suspended"])
    own_server.call("signal", pty=pty["pty_id"], signal="CONT")
    wait_until(lambda: not own_server.get(pty)["suspended"])


@pytest.mark.requirement("FR-004")
def test_a_signal_is_sent_once_also_if_the_keeper_dies(own_server: Serving) -> None:
    script = "trap 'echo got' INT; echo ready; while :; do read x; done"
    pty = own_server.sh(script, plain_output=True)
    own_server.await_text(pty["pty_id"], "ready")
    keeper = own_server.status()["keeper_pid"]
    stop(keeper)

    (sent,) = own_server.call("signal", pty=pty["pty_id"], signal="INT")["envelopes"]
    kill(keeper)

    assert (sent["outcome"], sent["pid"]) == ("delivered", pty["pid"])
    own_server.await_text(pty["pty_id"], "got")
    own_server.call("kill", ptys=[pty["pty_id"]], grace=0.0)
    assert own_server.output(pty)[0] == b"ready\ngot\n"


def test_an_end_that_no_server_saw_is_told_by_the_next(own_server: Serving) -> None:
    pty = own_server.sh("read x; exit 7")
    server = own_server.status()["pid"]
    with own_server.attach(pty) as attached:
        stop(server)
        assert attached.lifeline is not None
        attached.lifeline.send_all(b"\n")
        wait_until(lambda: not is_alive(pty["pid"]))
        kill(server)
    wait_until(lambda: own_server.get(pty)["exit_code"] == 7)
    wait_until(lambda: own_server.get(pty)["state"] == "errored")


# The keeper ----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["keeper_pid", "pid"])
def test_term_ends_everything_and_leaves_nothing(own_server: Serving, which: str) -> None:
    pty = own_server.sh("sleep 60")

    os.kill(own_server.status()[which], signal.SIGTERM)

    wait_until(lambda: not own_server.processes())
    assert not is_alive(pty["pid"])
    assert set(os.listdir(own_server.folder)) <= {"s.log"}


def test_a_second_term_does_not_wait_for_a_server_that_hangs(own_server: Serving) -> None:
    status = own_server.status()
    stop(status["pid"])

    def is_gone_after_another() -> bool:
        with suppress(ProcessLookupError):
            os.kill(status["keeper_pid"], signal.SIGTERM)
        return not is_alive(status["keeper_pid"])

    wait_until(is_gone_after_another)
    wait_until(lambda: not own_server.processes())


def test_a_run_that_comes_while_the_server_stops_has_the_next_one(no_server: Serving) -> None:
    no_server.start()
    first = no_server.status()["keeper_pid"]
    pty = no_server.sh("trap '' TERM HUP; echo ready; while :; do read x; done", grace_seconds=1e4)
    no_server.await_text(pty["pty_id"], "ready")
    no_server.call("shutdown", force=True)
    with pytest.raises(ServerStoppingError, match="try again in a moment"):
        no_server.sh("true")

    run = no_server.world.start("run", "-c", "echo out", stdout=subprocess.PIPE)
    os.kill(pty["pid"], signal.SIGKILL)

    assert run.communicate()[0] == b"out\n"
    assert no_server.status()["keeper_pid"] != first


def test_two_starts_at_once_make_one_keeper(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in windows().items():
        monkeypatch.setenv(name, value)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(autostart.start_server(no_server.path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [False, False, False, True]
    keeper = no_server.status()["keeper_pid"]
    wait_until(lambda: set(no_server.processes()) == no_server.own())
    assert keeper in no_server.own()


def test_a_socket_and_a_lock_that_the_dead_left_are_taken_over(no_server: Serving) -> None:
    no_server.start()
    first = no_server.status()
    kill_at_once(first["keeper_pid"], first["pid"])
    wait_until(lambda: not no_server.processes())
    assert os.path.exists(no_server.path)

    assert no_server.start()

    assert no_server.status()["keeper_pid"] != first["keeper_pid"]


def remove_at_once(folder: str) -> None:
    """Remove a folder whose files are made again as soon as that is noticed."""
    os.rename(folder, f"{folder}-away")
    shutil.rmtree(f"{folder}-away")


def test_a_socket_that_was_removed_is_bound_again(no_server: Serving) -> None:
    no_server.start(check=0.05)
    pty = no_server.sh("sleep 60")
    before = no_server.status()
    remove_at_once(no_server.folder)

    wait_until(lambda: os.path.exists(no_server.path))

    after = no_server.status()
    assert (after["pid"], after["keeper_pid"]) == (before["pid"], before["keeper_pid"])
    assert no_server.get(pty)["state"] == "active"
    assert not autostart.start_server(no_server.path)
    assert stat.S_IMODE(os.stat(no_server.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(no_server.folder).st_mode) == 0o700


@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_whoever_comes_after_its_files_were_removed_finds_the_same_server(
    no_server: Serving, how: str
) -> None:
    no_server.start(check=deadline_seconds(10))
    pty = no_server.sh("sleep 60", name="old")
    keeper = no_server.status()["keeper_pid"]
    for _ in range(3):
        if how == "removed":
            remove_at_once(no_server.folder)
        else:
            for name in os.listdir(no_server.folder):
                os.unlink(f"{no_server.folder}/{name}")
        wait_until(lambda: os.path.exists(no_server.path))

    assert "old" in no_server.ok("ls")
    assert no_server.get(pty)["state"] == "active"
    assert no_server.status()["keeper_pid"] == keeper
    assert not autostart.start_server(no_server.path)


def test_it_leaves_after_a_while_without_anything_to_do(
    no_server: Serving, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first client is there before the server can leave; a PTY outlives that while."""
    monkeypatch.setenv("PTYMUX_LEAVE_SECONDS", "0.1")
    starting = threading.Thread(target=no_server.launch)
    starting.start()
    with no_server.connect(timeout=deadline_seconds()):
        starting.join()
        no_server.sh(f"{gate.wait}; sleep 0.5; echo whole > {tmp_path}/life")
    gate.open()

    wait_until(lambda: not no_server.processes())

    assert (tmp_path / "life").read_text() == "whole\n"
    assert "leaving" in no_server.log()
    assert not os.path.exists(f"{no_server.folder}/s.lock")


def test_a_server_that_cannot_start_is_given_up_and_said(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "import ptymux.keeper.zygote_client as zygote; zygote._ZYGOTE = 'boom'; "
    monkeypatch.setattr(
        autostart, "_KEEPER", broken + "from ptymux.keeper.daemon import main; main()"
    )
    with pytest.raises(PtymuxError, match="did not start"):
        no_server.start(again=0.01)
    wait_until(lambda: not no_server.processes())
    # One try sees two of them, if the first was dead when it was asked.
    assert 5 <= no_server.log().count("NameError") <= 10
    assert "giving up" in no_server.log()
    os.unlink(f"{no_server.folder}/s.log")


def test_orphans_are_adopted_and_reaped(server: Serving, gate: Gate) -> None:
    keeper = server.status()["keeper_pid"]
    orphan = f"setsid sh -c {shlex.quote(gate.wait)} </dev/null >/dev/null 2>&1"
    script = f"trap '' HUP; for i in $(seq 20); do ({orphan} &) ; done; exit 0"
    server.output(server.sh(script))
    wait_until(lambda: len(children_of(keeper)) == 21)
    gate.open(20)

    wait_until(lambda: len(children_of(keeper)) == 1)
    assert children_of(keeper) == [server.zygote()]


@pytest.mark.slow
def test_many_spawns_leave_no_fd_and_no_zombie(server: Serving) -> None:
    status = server.status()

    def cycle(count: int) -> None:
        for _ in range(count):
            server.output(server.spawn("true"))
        server.call("remove", all=True)

    cycle(5)
    wait_until(lambda: server.status()["connections"] == 1)
    before = fd_count(status["keeper_pid"]), fd_count(status["pid"])
    cycle(200)
    wait_until(lambda: fd_count(status["keeper_pid"]) <= before[0])
    wait_until(lambda: fd_count(status["pid"]) <= before[1])
    wait_until(lambda: children_of(status["keeper_pid"]) == [server.zygote()])
    assert children_of(server.zygote()) == [status["pid"]]


def test_what_is_typed_and_the_environment_are_in_no_file(server: Serving) -> None:
    pty = server.spawn("cat")
    with server.connect() as connection:
        stream.send(connection, pty["pty_id"], server.secret.encode() + b"\n\4")
    assert server.secret.encode() in server.output(pty)[0]
    answer_to(server, server.secret.encode() + b"\n")
    for name in os.listdir(server.folder):
        if not name.endswith(".sock"):
            assert server.secret not in Path(server.folder, name).read_text(errors="replace")


# Starting ------------------------------------------------------------------------------------


def test_a_directory_that_others_may_enter_is_refused(no_server: Serving) -> None:
    os.chmod(no_server.folder, 0o770)
    with pytest.raises(UnsafeDirectoryError, match="others may enter"):
        autostart.start_server(no_server.path)
    os.chmod(no_server.folder, 0o700)
    os.symlink(no_server.folder, f"{no_server.folder}/link")
    with pytest.raises(UnsafeDirectoryError, match="no directory"):
        autostart.start_server(f"{no_server.folder}/link/s.sock")
    os.unlink(f"{no_server.folder}/link")


def test_something_else_in_the_place_of_the_socket_is_left_alone(no_server: Serving) -> None:
    Path(no_server.path).write_text("mine")
    with pytest.raises(UnsafeDirectoryError):
        autostart.start_server(no_server.path)
    wait_until(lambda: not no_server.processes())
    assert Path(no_server.path).read_text() == "mine"
    os.unlink(no_server.path)


def test_a_log_that_cannot_be_written_is_an_error_in_one_line(no_server: Serving) -> None:
    os.mkdir(f"{no_server.folder}/s.log")
    with pytest.raises(PtymuxError, match="is a directory"):
        autostart.start_server(no_server.path)
    os.rmdir(f"{no_server.folder}/s.log")


def test_a_client_that_is_stopped_hurts_nobody(server: Serving, gate: Gate) -> None:
    pty = server.sh(f"{gate.wait}; {FLOOD}", plain_output=True, buffer_size=8 * MIB)

    @contextmanager
    def follower() -> Iterator[None]:
        with server.connect() as connection:
            connection.call("events", follow=True)
            yield

    with (
        stopped_client(follower),
        stopped_client(lambda: server.attach(pty)),
        server.attach(pty, wants_input=False) as other,
    ):
        gate.open()
        assert collect(other)[0] == expected()
