"""What clients can ask a server for, through a real keeper, a real server and real children."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ptymux.client import stream
from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.errors import (
    BadDirectoryError,
    CommandNotFoundError,
    InvalidStateError,
    InvalidValueError,
    NameTakenError,
    PtymuxError,
    UnknownMethodError,
    UnknownPtyError,
)
from ptymux.protocol.framing import Detach, Frame, Out, Ping
from tests.processes import is_alive, kill
from tests.protocol import foreign_client
from tests.serving import Serving, collect, read_until
from tests.timing import deadline_seconds, wait_until


def test_a_command_runs_and_all_its_output_and_its_end_are_told(server: Serving) -> None:
    pty = server.sh("printf hello; exit 3", name="greeter", lane="l1")

    data, missed, end = server.output(pty)

    assert (data, missed) == (b"hello", 0)
    assert (end["exit_code"], end["shown"], end["name"]) == (3, "exited (3)", "greeter")
    assert end["buffer"]["total_written"] == end["buffer"]["total_consumed"] == 5


def test_a_client_in_another_language_can_talk_to_it(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_client.talk(server.path)


def test_the_child_gets_what_the_caller_has_and_where_it_runs(
    server: Serving, tmp_path: Path
) -> None:
    folder = tmp_path / "a dir"
    folder.mkdir()
    script = 'pwd; umask; ulimit -n; echo "$PTYMUX_SOCKET $PTYMUX_ID $PTYMUX_LANE $TERM $X"'
    env = {"PATH": os.environ["PATH"], "X": "1", "TERM": "dumb"}
    pty = server.sh(
        script, env=env, overrides={"X": "2"}, cwd=str(folder), umask=0o27, nofile=99, lane="l"
    )

    words = server.output(pty)[0].decode().split("\r\n")

    place_told = f"{server.path} {pty['pty_id']} l xterm-256color 2"
    assert words == [str(folder), "0027", "99", place_told, ""]
    assert pty["cwd"] == str(folder)


def test_a_directory_that_was_removed_can_be_started_in(server: Serving, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    fd = os.open(folder, os.O_PATH)
    folder.rmdir()
    try:
        pty = server.sh("echo started", cwd=f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)

    assert b"started" in server.output(pty)[0]


def test_stdin_can_be_a_file_of_the_caller(server: Serving, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with (tmp_path / "in").open("rb") as file:
        pty = server.spawn("cat", stdin_fd=file.fileno(), plain_output=True)

    assert server.output(pty)[0] == b"from a file"


def test_a_spawn_that_fails_says_why_and_leaves_the_server_as_it_was(
    server: Serving, tmp_path: Path
) -> None:
    with server.connect() as connection:
        for _round in range(3):
            with pytest.raises(CommandNotFoundError):
                connection.spawn(SpawnOptions(argv=("no-such-command",), env={"PATH": "/bin"}))
        with pytest.raises(BadDirectoryError):
            connection.spawn(SpawnOptions(argv=("true",), cwd=str(tmp_path / "none")))

        assert connection.call("list")["ptys"] == []
        failed = connection.call("list", all=True)["ptys"]
    assert [pty["shown"] for pty in failed] == ["failed to start"] * 3


def test_list_get_and_stats_find_by_id_number_name_and_prefix(server: Serving) -> None:
    first = server.sh("sleep 60", name="webserver", lane="a", session="s1")
    second = server.sh("sleep 60", lane="b")

    def numbers(**params: object) -> list[int]:
        return [pty["number"] for pty in server.call("list", **params)["ptys"]]

    assert numbers() == [first["number"], second["number"]]
    assert numbers(lane="b") == [second["number"]]
    assert numbers(session="s1") == [first["number"]]
    assert numbers(state="running") == numbers(state="active") == numbers()
    assert numbers(after=first["number"]) == [second["number"]]
    for reference in (first["pty_id"], str(first["number"]), "webserver", "webs"):
        assert server.call("get", pty=reference)["pty"]["pty_id"] == first["pty_id"]
    told = server.call("stats", pty="webserver")["pty"]
    assert [step["to"] for step in told["history"]] == ["spawning", "active"]
    assert "SECRET" in told["env_names"]
    with pytest.raises(UnknownPtyError):
        server.call("kill", ptys=["webs"])


def test_a_long_list_comes_in_pages_without_a_gap(server: Serving) -> None:
    word = "x" * 100_000
    numbers = [server.spawn("true", word)["number"] for _ in range(3)]

    seen: list[list[int]] = []
    page: dict[str, Any] = {"next": 0}
    while page["next"] is not None:
        page = server.call("list", after=page["next"], all=True)
        seen.append([pty["number"] for pty in page["ptys"]])

    assert seen == [[number] for number in numbers]


def test_a_list_is_in_the_order_of_the_numbers_whatever_server_tells_it(
    own_server: Serving,
) -> None:
    word = "x" * 100_000
    for _ in range(3):
        own_server.spawn("sh", "-c", "sleep 1000", word)
    own_server.call("resize", pty="1", cols=100, rows=30)  # so that it was changed last

    kill(own_server.status()["pid"])

    seen: list[int] = []
    page: dict[str, Any] = {"next": 0}
    while page["next"] is not None:
        page = own_server.call("list", after=page["next"])
        seen += [pty["number"] for pty in page["ptys"]]
    assert seen == [1, 2, 3]


def test_a_command_longer_than_a_line_is_shown_cut(server: Serving) -> None:
    # 120 KB is what the kernel takes as one argument, 2 MB what it takes in all.
    pty = server.spawn("true", *["\x01" * 100_000] * 15)

    assert server.output(pty)[2]["command"][0] == "true"
    assert server.call("list", all=True)["ptys"][0]["pty_id"] == pty["pty_id"]


def test_keys_reach_the_child_and_the_echo_comes_back(server: Serving) -> None:
    pty = server.spawn("cat")
    with server.attach(pty) as attached:
        assert attached.lifeline is not None
        attached.lifeline.send_all(b"hello\n")
        read_until(attached, b"hello\r\nhello\r\n")
        attached.lifeline.send_all(b"\4")
        _data, _missed, end = collect(attached)

    assert end["shown"] == "exited"


def test_send_tells_the_offset_before_and_what_was_taken(server: Serving) -> None:
    pty = server.spawn("cat")
    with server.connect() as connection:
        assert stream.send(connection, pty["pty_id"], b"one\n") == 0
        wait_until(lambda: server.get(pty)["buffer"]["total_written"] == 10)
        assert stream.send(connection, pty["pty_id"], b"two\n") == 10
        result, fds = connection.call_with_fds("send", pty=pty["pty_id"], size=1)
        for fd in fds:
            os.close(fd)
        assert result["canonical"] is True
    server.call("kill", ptys=[pty["pty_id"]])
    with pytest.raises(InvalidStateError):
        server.call("send", pty=pty["pty_id"], size=1)


def test_input_in_frames_arrives_whole_though_the_client_leaves_at_once(
    server: Serving, tmp_path: Path
) -> None:
    lines = b"".join(b"%07d\n" % number for number in range(20_000))
    pty = server.sh(f"stty -echo; echo ready; head -n 20000 > {tmp_path}/got; echo done")
    with server.attach(pty, wants_input=False) as attached:
        read_until(attached, b"ready")
        attached.send_input(lines)

    server.call("wait", pty=pty["pty_id"])

    assert (tmp_path / "got").read_bytes() == lines


def test_a_ping_comes_back_and_detach_ends_it(server: Serving) -> None:
    pty = server.sh("sleep 60")
    with server.attach(pty, wants_input=False) as attached:
        attached.ping(b"are you there")
        frames: list[Frame] = []
        while not (pings := [frame.data for frame in frames if isinstance(frame, Ping)]):
            frames += attached.receive()
        assert pings == [b"are you there"]
        wait_until(lambda: server.get(pty)["clients"] == 1)
        attached.detach()
        wait_until(lambda: server.get(pty)["clients"] == 0)


def test_one_shot_gets_what_there_is_and_then_takes_its_leave(server: Serving) -> None:
    pty = server.sh("echo here; sleep 60")
    wait_until(lambda: server.get(pty)["buffer"]["total_written"] == 6)
    with server.attach(pty, kind="one-shot", wants_input=False) as attached:
        frames = attached.pending()
        while not attached.is_over:
            frames += attached.receive()

    assert b"".join(f.data for f in frames if isinstance(f, Out)) == b"here\r\n"
    assert isinstance(frames[-1], Detach)
    server.call("kill", ptys=[pty["pty_id"]])
    assert server.output(pty, kind="one-shot")[2]["shown"] == "killed (TERM)"


def test_attach_begins_where_it_was_asked_to(server: Serving) -> None:
    pty = server.sh("printf 0123456789; read x")
    wait_until(lambda: server.get(pty)["buffer"]["total_written"] == 10)
    with server.attach(pty, offset=7, wants_input=False) as attached:
        assert attached.offset == 7
        assert read_until(attached, b"9") == b"789"
    with server.attach(pty, offset="now", wants_input=False) as attached:
        assert attached.offset == 10
    with pytest.raises(InvalidValueError):
        server.attach(pty, offset=11)
    wait_until(lambda: server.get(pty)["clients"] == 0)


def test_the_last_client_to_resize_wins_and_a_size_of_nothing_is_ignored(server: Serving) -> None:
    pty = server.sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
    with (
        server.attach(pty, wants_input=False) as first,
        server.attach(pty, cols=100, rows=30, wants_input=False) as second,
    ):
        assert (second.pty["cols"], second.pty["rows"]) == (100, 30)
        read_until(first, b"ready")
        first.resize(120, 40)
        wait_until(lambda: server.get(pty)["cols"] == 120)
        second.resize(0, 0)
        second.resize(90, 20)
        wait_until(lambda: (server.get(pty)["cols"], server.get(pty)["rows"]) == (90, 20))
        second.redraw()
        read_until(first, b"20 90")
        assert server.get(pty)["clients"] == 2


def test_resize_signal_rename_set_and_clear(server: Serving) -> None:
    pty = server.sh("echo some; sleep 60", name="old")
    id = pty["pty_id"]
    wait_until(lambda: server.get(pty)["buffer"]["retained"] == 6)

    assert server.call("resize", pty=id, cols=99, rows=33)["pty"]["cols"] == 99
    assert server.call("rename", pty="old", name="new")["pty"]["name"] == "new"
    assert server.call("set", pty="new", on_full="block")["offset"] == 6
    assert server.get(pty)["on_full"] == "block"
    assert server.call("clear", pty=id)["pty"]["buffer"]["total_dropped"] == 6
    envelopes = server.call("signal", pty="new", signal="STOP")["envelopes"]
    assert {e["outcome"] for e in envelopes} == {"delivered"}
    wait_until(lambda: server.get(pty)["suspended"])
    server.call("signal", pty="new", signal="CONT")
    wait_until(lambda: not server.get(pty)["suspended"])
    server.call("signal", pty="new", signal="HUP", session=True)
    wait_until(lambda: server.get(pty)["shown"] == "killed (HUP)")
    with pytest.raises(InvalidStateError):
        server.call("rename", pty=id, name="later")
    for wrong in ({"cols": 0, "rows": 1}, {"cols": "x", "rows": 1}):
        with pytest.raises(InvalidValueError):
            server.call("resize", pty=id, **wrong)


def test_kill_returns_when_it_is_gone_and_remove_forgets(server: Serving) -> None:
    ptys = [server.sh("sleep 60", lane="x") for _ in range(3)]

    killed = server.call("kill", lane="x", grace=deadline_seconds())["ptys"]

    assert [pty["state"] for pty in killed] == ["stopped"] * 3
    assert server.call("kill", ptys=[ptys[0]["pty_id"]])["ptys"][0]["state"] == "stopped"
    live = server.sh("sleep 60")
    with pytest.raises(InvalidStateError):
        server.call("remove", ptys=[ptys[0]["pty_id"], live["pty_id"]])
    assert len(server.call("list", all=True)["ptys"]) == 4
    assert server.call("remove", all=True)["removed"] == [pty["pty_id"] for pty in ptys]
    assert [p["pty_id"] for p in server.call("list", all=True)["ptys"]] == [live["pty_id"]]
    with pytest.raises(InvalidValueError):
        server.call("kill")
    assert len(server.call("kill", all=True)["ptys"]) == 1


def test_what_has_ended_is_removed_by_the_name_that_it_had(server: Serving) -> None:
    first = server.sh("true", name="web")
    wait_until(lambda: server.get(first)["exit_code"] == 0)
    second = server.sh("true", name="web")
    wait_until(lambda: server.get(second)["exit_code"] == 0)
    live = server.sh("sleep 60", name="web")

    with pytest.raises(InvalidStateError):
        server.call("remove", ptys=["web"])
    server.call("kill", ptys=[live["pty_id"]])
    server.call("remove", ptys=[live["pty_id"]])

    assert server.call("remove", ptys=["web"])["removed"] == [second["pty_id"]]
    with pytest.raises(UnknownPtyError):
        server.call("kill", ptys=["we"])


def test_the_name_of_a_live_pty_is_refused_and_nothing_is_left_of_the_try(server: Serving) -> None:
    live, other = server.sh("sleep 60", name="web"), server.sh("sleep 60", name="db")

    with pytest.raises(NameTakenError, match=f"PTY {live['number']} "):
        server.sh("sleep 60", name="web")
    with pytest.raises(NameTakenError):
        server.call("rename", pty="db", name="web")

    assert server.call("rename", pty="web", name="web")["pty"]["name"] == "web"
    ptys = server.call("list", all=True)["ptys"]
    assert [pty["pty_id"] for pty in ptys] == [live["pty_id"], other["pty_id"]]


def test_who_replaces_ends_the_one_that_has_the_name_and_whoever_took_it_meanwhile(
    server: Serving,
) -> None:
    options = SpawnOptions(argv=("sleep", "60"), name="web")
    old = server.sh("sleep 60", name="web")

    def replace(_n: int) -> str:
        with server.connect() as connection:
            return str(connection.spawn(options, replace=True)["pty"]["pty_id"])

    with ThreadPoolExecutor(5) as pool:
        started = list(pool.map(replace, range(5)))

    (live,) = server.call("list")["ptys"]
    assert live["pty_id"] in started
    ended = [pty for pty in server.call("list", all=True)["ptys"] if pty != live]
    assert {pty["pty_id"] for pty in ended} >= {old["pty_id"]}
    assert {pty["state"] for pty in ended} == {"stopped"}


def test_who_replaces_with_what_cannot_run_ends_nothing(server: Serving) -> None:
    server.sh("sleep 60", name="web")

    with server.connect() as connection, pytest.raises(CommandNotFoundError):
        connection.spawn(SpawnOptions(argv=("no-such-program",), name="web"), replace=True)

    assert server.get("web")["shown"] == "running"


def test_one_that_is_forgotten_at_its_end_still_tells_it_to_who_is_there(server: Serving) -> None:
    pty = server.sh("read x; echo bye", remove=True)
    with server.connect() as waiting, server.attach(pty) as attached:
        assert attached.lifeline is not None
        attached.lifeline.send_all(b"\n")
        data, _missed, end = collect(attached)
        assert b"bye" in data
        assert end["shown"] == "exited"
        wait_until(lambda: server.call("list", all=True)["ptys"] == [])
        del waiting


def test_wait_returns_at_the_exit_the_end_or_a_state(server: Serving) -> None:
    pty = server.sh("read x; exit 4")
    with server.connect() as connection:
        assert connection.call("wait", pty=pty["pty_id"], until="state", state="running")
        stream.send(connection, pty["pty_id"], b"\n")
        assert connection.call("wait", pty=pty["pty_id"])["pty"]["exit_code"] == 4
        assert connection.call("wait", pty=pty["pty_id"], until="gone")["pty"]["exit_code"] == 4
        with pytest.raises(InvalidStateError):
            connection.call("wait", pty=pty["pty_id"], until="state", state="throttled")
    quiet = server.sh("sleep 60", idle_timeout_seconds=0.05)
    shown = server.call("wait", pty=quiet["pty_id"], until="state", state="quiet")["pty"]["shown"]
    assert shown == "quiet"


def test_who_waits_for_a_state_that_cannot_come_is_told_at_the_end(server: Serving) -> None:
    pty = server.sh("read x")
    with server.connect() as waiting:
        params = {"pty": pty["pty_id"], "until": "state", "state": "throttled"}
        waiting._send(waiting._session.request("wait", params), None)
        server.call("kill", ptys=[pty["pty_id"]])
        answer = waiting._answer(time.monotonic() + deadline_seconds())
    assert isinstance(answer.error, PtymuxError)  # type: ignore[union-attr]


def test_events_are_told_since_a_number_of_a_topic_and_as_they_come(own_server: Serving) -> None:
    first = own_server.sh("exit 1")
    own_server.call("wait", pty=first["pty_id"], until="gone")
    with own_server.connect() as connection:
        reply = connection.call("events", since=0)
        past = [note.params for note in connection.notifications()]
    assert reply["missed"] == 0
    assert [event["seq"] for event in past] == list(range(1, len(past) + 1))
    assert past[-1]["topic"] == "pty.stopped"
    with own_server.connect() as connection:
        connection.call("events", follow=True, topics=["pty.stopped"])
        second = own_server.sh("true")
        told = connection.notification(deadline_seconds())
        assert told is not None
        assert (told.method, told.params["pty_id"]) == ("event", second["pty_id"])
    with pytest.raises(InvalidValueError):
        own_server.call("events", topics=["pty.nonsense"])


@pytest.mark.requirement("EVENTS-CLIENTS")
def test_each_attach_and_its_end_is_one_event(own_server: Serving) -> None:
    pty = own_server.sh("read x")
    seen: list[dict[str, Any]] = []

    def told(count: int) -> list[tuple[str, str | None]]:
        def ask() -> bool:
            with own_server.connect() as connection:
                connection.call("events", since=0, topics=["pty.attached", "pty.detached"])
                seen[:] = [note.params for note in connection.notifications()]
            return len(seen) == count

        wait_until(ask)
        return [(each["topic"], each["payload"].get("reason")) for each in seen]

    with own_server.attach(pty, echo=True) as stream:
        stream.detach()
        assert told(2) == [("pty.attached", None), ("pty.detached", "detached")]
    with own_server.attach(pty, cols=80, rows=24) as stream:
        told(3)
        own_server.call("detach", ptys=[pty["pty_id"]])
        assert told(4)[3:] == [("pty.detached", "sent-away")]
    with own_server.attach(pty):
        told(5)
    assert told(6)[5:] == [("pty.detached", "client-ended")]
    stream = own_server.attach(pty, wants_input=False, lifeline=True)
    told(7)
    own_server.kill_server()
    stream.close()
    assert told(8)[7:] == [("pty.detached", "client-ended")]
    with own_server.attach(pty):
        own_server.call("kill", ptys=[pty["pty_id"]])
        assert told(10)[9:] == [("pty.detached", "pty-ended")]
    assert {each["payload"]["pid"] for each in seen} == {os.getpid()}
    lines = [each["payload"]["line"] for each in seen]
    assert lines[::2] == lines[1::2]
    assert len(set(lines)) == 5
    own_server.call("rename", pty=own_server.sh("read x")["pty_id"], name="one")
    with own_server.connect() as connection:
        connection.call("events", since=0, topics=["pty.renamed"])
        (renamed,) = [note.params["payload"] for note in connection.notifications()]
    assert renamed == {"old": None, "new": "one"}


@pytest.mark.requirement("EVENTS-TITLES")
def test_bells_and_titles_are_told_to_who_follows_and_the_title_to_who_asks(
    server: Serving,
) -> None:
    topics = ["pty.bell", "pty.title", "pty.stopped"]
    pty = server.sh(
        "read x; printf '\\a\\a\\033]0;one\\a'; read x; printf '\\033]2;two\\033\\\\\\a'"
    )
    with server.connect() as following:
        following.call("events", follow=True, topics=topics, pty=pty["pty_id"])

        def told() -> tuple[str, Any]:
            note = following.notification(deadline_seconds())
            assert note is not None
            payload = note.params["payload"]
            return note.params["topic"], payload.get("title", payload.get("count"))

        with server.attach(pty) as stream:
            assert stream.lifeline is not None
            stream.lifeline.send_all(b"\n")
            assert {told(), told()} == {("pty.bell", 2), ("pty.title", "one")}
            assert server.get(pty)["title"] == "one"
            stream.lifeline.send_all(b"\n")
            assert {told(), told()} == {("pty.bell", 1), ("pty.title", "two")}
            assert told()[0] == "pty.stopped"
    assert server.get(pty)["title"] == "two"


def test_streams_of_clients_that_left_are_given_back(server: Serving) -> None:
    for _ in range(300):  # more than may subscribe at once
        with server.connect() as connection:
            connection.call("events", follow=True)
    with server.connect() as connection:
        assert connection.call("events", follow=True)["missed"] == 0


def test_status_tells_pids_limits_and_memory(server: Serving) -> None:
    status = server.status()

    assert status["socket"] == server.path
    assert os.path.exists(f"/proc/{status['pid']}")
    assert status["memory"]["resident"] > 1_000_000
    assert (status["server_replaced"], status["live"]) == (0, 0)


def test_shutdown_refuses_a_force_that_is_none_also_when_nothing_lives(server: Serving) -> None:
    with pytest.raises(InvalidValueError):
        server.call("shutdown", force="yes")


def test_shutdown_wants_force_while_something_lives(own_server: Serving) -> None:
    pty = own_server.sh("sleep 60")
    with own_server.connect() as connection:
        with pytest.raises(PtymuxError, match="1 PTY is live"):
            connection.call("shutdown")
        assert connection.call("shutdown", force=True) == {"live": 1}
        with pytest.raises(PtymuxError):
            connection.notification(deadline_seconds())
    wait_until(lambda: not own_server.processes())
    assert not is_alive(pty["pid"])


def test_a_method_that_does_not_exist_is_refused_and_the_connection_goes_on(
    server: Serving,
) -> None:
    with server.connect() as connection:
        with pytest.raises(UnknownMethodError):
            connection.call("dance")
        assert connection.call("list")["ptys"] == []


@pytest.mark.slow
def test_kill_and_run_with_the_same_name_never_race(server: Serving) -> None:
    options = SpawnOptions(argv=("sleep", "60"), name="web")
    with server.connect() as connection:
        for _ in range(100):
            pty = connection.spawn(options)["pty"]
            assert connection.call("get", pty="web")["pty"]["pty_id"] == pty["pty_id"]
            connection.call("kill", ptys=["web"])
            with pytest.raises(UnknownPtyError):
                connection.call("send", pty="web")
            connection.call("remove", all=True)


@pytest.mark.slow
def test_the_output_right_before_the_exit_is_never_lost(server: Serving) -> None:
    for number in range(200):
        pty = server.spawn("printf", f"last words {number}", size=WindowSize(80, 24))
        data, missed, end = server.output(pty)
        assert (data.decode(), missed, end["exit_code"]) == (f"last words {number}", 0, 0)
        server.call("remove", ptys=[pty["pty_id"]])


def test_a_lossless_reader_holds_the_child_and_gets_every_byte(server: Serving) -> None:
    pty = server.sh("seq 200000", on_full=OnFull.BLOCK, buffer_size=65536, plain_output=True)

    data, missed, _end = server.output(pty, kind="lossless")

    assert missed == 0
    assert data.split() == [b"%d" % number for number in range(1, 200_001)]


def test_a_suspended_client_signal_is_by_name_or_refused(server: Serving) -> None:
    pty = server.sh("sleep 60")
    with pytest.raises(InvalidValueError):
        server.call("signal", pty=pty["pty_id"], signal="NONSENSE")
    told = server.call("signal", pty=pty["pty_id"], signal="INT")["envelopes"]
    assert told[0]["signal"] == signal.SIGINT
