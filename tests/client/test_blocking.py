"""What a program that blocks does with PTYs: start, look, read, type, wait, end."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import typing
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import ptymux
from ptymux import Client, OnFull, Part, Pty, errors
from ptymux.client import answers
from ptymux.client.event_follower import EventFollower
from ptymux.client.reconnect import RetryPolicy
from ptymux.errors import (
    CommandNotFoundError,
    ConnectionClosedError,
    InvalidDimensionsError,
    InvalidStateError,
    InvalidValueError,
    LineTooLongError,
    NoServerError,
    PtymuxError,
    UnknownPtyError,
    UnreachableError,
    WaitTimeoutError,
)
from ptymux.protocol.messages import encode_notification
from tests.client.clock import FakeClock
from tests.client.stub import Peer, StubServer
from tests.processes import is_alive, kill
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

SCHEMA = json.loads(resources.files("ptymux.cli.output").joinpath("schema.json").read_text())[
    "$defs"
]


def ended(client: Client, line: str, **options: Any) -> Pty:
    return client.wait(client.run(line, **options), timeout=deadline_seconds())


# Again -----------------------------------------------------------------------------------------


def test_what_a_pty_ran_is_run_again_but_for_what_is_given(server: Serving) -> None:
    with ptymux.connect(server.path) as client:
        first = ended(client, "echo $A $B; stty size", name="x", overrides={"A": "1"}, size="90x30")

        second = client.wait(client.again(first, overrides={"B": "2"}), timeout=deadline_seconds())
        third = client.wait(client.again(first, name="y"), timeout=deadline_seconds())

        assert client.read(second).data == b"1 2\r\n30 90\r\n"
        assert client.read(third).data == b"1\r\n30 90\r\n"
        assert (second["name"], third["name"]) == ("x", "y")
        with pytest.raises(UnknownPtyError):
            client.again("nobody")


# Connect ----------------------------------------------------------------------------------------


def test_connect_starts_a_server_where_none_runs(no_server: Serving) -> None:
    with ptymux.connect(Path(no_server.path)) as client:
        assert client.status()["socket"] == no_server.path
        assert client.list() == []


def test_connect_finds_the_server_that_the_environment_names(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYMUX_SOCKET", server.path)

    with ptymux.connect() as client:
        assert client.path == server.path


def test_connect_without_start_tells_that_there_is_none(no_server: Serving) -> None:
    with pytest.raises(NoServerError):
        ptymux.connect(no_server.path, start=False)


def test_connect_leaves_a_file_alone_that_is_no_socket(no_server: Serving) -> None:
    file = Path(no_server.path)
    file.write_text("mine")

    with pytest.raises(UnreachableError):
        ptymux.connect(no_server.path)
    assert file.read_text() == "mine"
    file.unlink()


def test_a_closed_client_asks_for_nothing(client: Client) -> None:
    client.close()

    client.close()
    with pytest.raises(ConnectionClosedError, match="was closed"):
        client.list()


def test_closing_a_client_ends_its_readers_and_events_and_no_pty(
    own_server: Serving, client: Client
) -> None:
    pty = client.run("sleep 1000")
    reader, events = client.follow(pty), client.events()

    client.close()

    for made in (reader, events):
        with pytest.raises(ConnectionClosedError):
            made.read()
    wait_until(lambda: own_server.get(dict(pty))["clients"] == 0)
    assert own_server.get(dict(pty))["shown"] == "running"


# Start ------------------------------------------------------------------------------------------


def test_run_takes_words_or_a_line(client: Client) -> None:
    assert client.read(ended(client, "echo $0 'a  b'")).data == b"/bin/sh a  b\r\n"
    pty = client.run(["printf", "%s", "$HOME;"])
    client.wait(pty)
    assert client.read(pty).data == b"$HOME;"


def test_run_passes_on_what_it_is_told(client: Client, tmp_path: Path) -> None:
    pty = client.run(
        "pwd; echo $A-$B-$TERM; stty size",
        name="n",
        lane="l",
        session="s",
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "A": "1"},
        overrides={"B": "2", "TERM": "vt100"},
        size=(100, 30),
        buffer_size=5000,
        threshold=0.5,
        on_full="block",
        idle_timeout_seconds=7.0,
        grace_seconds=1.0,
    )

    assert [pty["name"], pty["lane_id"], pty["session_id"]] == ["n", "l", "s"]
    assert (pty["cols"], pty["rows"], pty["on_full"], pty["threshold"]) == (100, 30, "block", 0.5)
    assert pty["buffer"]["capacity"] == 5000
    client.wait(pty)
    assert client.read(pty).data.decode() == f"{tmp_path}\r\n1-2-vt100\r\n30 100\r\n"


def test_run_passes_fds_at_their_numbers_or_at_others(client: Client) -> None:
    null, zero = (os.open(path, os.O_RDONLY) for path in ("/dev/null", "/dev/zero"))
    script = f"readlink /proc/self/fd/{null}; readlink /proc/self/fd/63"
    try:
        shown = client.read(ended(client, script, pass_fds=[null])).data
        both = client.read(ended(client, script, pass_fds={null: null, 63: zero})).data
    finally:
        os.close(null)
        os.close(zero)

    assert (shown, both) == (b"/dev/null\r\n", b"/dev/null\r\n/dev/zero\r\n")


def test_a_pty_that_is_to_be_removed_is_forgotten(client: Client) -> None:
    pty = client.run("true", remove=True)

    wait_until(lambda: client.list(all=True) == [])
    with pytest.raises(UnknownPtyError):
        client.get(pty)


def test_what_cannot_be_started_or_can_never_work_is_refused(client: Client) -> None:
    with pytest.raises(CommandNotFoundError):
        client.run(["no-such-program"])
    with pytest.raises(InvalidValueError, match="on_full"):
        client.run("true", on_full="wait")  # type: ignore[arg-type]
    with pytest.raises(InvalidDimensionsError):
        client.run("true", size=(0, 1))


# Look -------------------------------------------------------------------------------------------


def test_a_pty_goes_by_id_number_name_and_value(client: Client) -> None:
    pty = client.run("sleep 1000", name="web")

    for name in (pty, pty["pty_id"], pty["number"], str(pty["number"]), "web", "we"):
        assert client.get(name)["pty_id"] == pty["pty_id"]
    with pytest.raises(UnknownPtyError):
        client.kill("we")  # a beginning is enough to look at it, not to end it
    assert client.get("web")["shown"] == "running"


def test_list_chooses_and_goes_through_all_pages(client: Client) -> None:
    first = client.run("sleep 1000", lane="a")
    gone = ended(client, "true", lane="a", session="s")
    long = ["sh", "-c", "exec sleep 1000", "x" * 60_000]
    rest = [client.run(long)["pty_id"] for _ in range(4)]

    assert [pty["pty_id"] for pty in client.list(lane="a")] == [first["pty_id"]]
    both = [first["number"], gone["number"]]
    assert [pty["number"] for pty in client.list(lane="a", all=True)] == both
    assert [pty["number"] for pty in client.list(session="s", all=True)] == both[1:]
    assert [pty["pty_id"] for pty in client.list()] == [first["pty_id"], *rest]


def test_stats_add_history_and_signals(client: Client) -> None:
    pty = client.run("trap '' HUP; echo ready; while :; do sleep 0.1; done")
    next(iter(client.follow(pty)))
    (envelope, *_) = client.signal(pty, signal.SIGHUP)

    stats = client.stats(pty)

    assert (envelope["signal"], envelope["outcome"]) == (1, "delivered")
    assert stats["signals"][0]["signal"] == "HUP"
    assert [step["to"] for step in stats["history"]] == ["spawning", "active"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (answers.Buffer, "buffer"),
        (answers.Pty, "pty"),
        (answers.PtyStats, "full_pty"),
        (answers.Step, "step"),
        (answers.PastDelivery, "signal"),
        (answers.SignalDelivery, "envelope"),
        (answers.Event, "event"),
        (answers.Missed, "missed"),
    ],
)
def test_the_types_of_answers_have_the_members_of_the_schema(kind: type, name: str) -> None:
    assert set(typing.get_type_hints(kind)) == set(SCHEMA[name]["properties"])


def test_the_type_of_a_status_has_what_a_server_tells(client: Client) -> None:
    assert set(typing.get_type_hints(answers.Status)) == set(client.status())


# Output -----------------------------------------------------------------------------------------


def test_read_gives_what_is_kept_and_what_was_missed(client: Client) -> None:
    pty = ended(client, "printf 0123456789abcdef", buffer_size=10)

    assert client.read(pty) == Part(6, 0, b"6789abcdef")
    assert client.read(pty, from_offset=0) == Part(6, 6, b"6789abcdef")
    assert client.read(pty, from_offset=14) == Part(14, 0, b"ef")
    assert client.read(pty, from_offset=16) == Part(16, 0, b"")


def test_read_of_a_live_pty_returns_at_once(client: Client) -> None:
    pty = client.run("printf ready; exec sleep 1000")
    wait_until(lambda: client.get(pty)["buffer"]["total_written"] == 5)

    assert client.read(pty) == Part(0, 0, b"ready")


def test_follow_gives_all_that_comes_until_the_end(client: Client) -> None:
    pty = client.run("for i in 1 2 3; do echo $i; sleep 0.02; done")

    with client.follow(pty) as reader:
        parts = list(reader)

    assert b"".join(part.data for part in parts) == b"1\r\n2\r\n3\r\n"
    assert reader.end is not None
    assert (reader.end["exit_code"], reader.offset, reader.skipped) == (0, 9, 0)


def test_follow_tells_what_it_missed(client: Client) -> None:
    pty = ended(client, "printf 0123456789", buffer_size=4)

    assert list(client.follow(pty, offset=2)) == [Part(6, 4, b"6789")]


def test_follow_begins_when_it_is_called(client: Client) -> None:
    pty = client.run("printf old; read x; printf new")
    wait_until(lambda: client.get(pty)["buffer"]["total_written"] == 3)

    reader = client.follow(pty, offset="now")
    client.send(pty, "\r")
    client.wait(pty, timeout=deadline_seconds())

    assert b"".join(part.data for part in reader) == b"\r\nnew"


def test_a_reader_that_is_read_with_a_timeout_returns_without_output(client: Client) -> None:
    with client.follow(client.run("sleep 1000")) as reader:
        began = time.monotonic()
        assert reader.read(timeout=0.05) is None
        assert time.monotonic() - began >= 0.05
        assert not reader.is_over


def test_a_loop_that_is_left_leaves_nothing_behind(client: Client) -> None:
    pty = client.run("echo x; exec sleep 1000")

    for _part in client.follow(pty):
        break
    for _event in client.events(since=0):
        break
    gc.collect()

    wait_until(lambda: client.get(pty)["clients"] == 0)


def test_an_observer_does_not_count_as_reading(client: Client) -> None:
    pty = ended(client, "printf x")

    list(client.follow(pty, kind="observer"))

    assert client.get(pty)["buffer"]["unread"] == 1


def test_in_block_mode_a_lossless_reader_gets_every_byte(client: Client) -> None:
    pty = client.run("head -c 1000000 /dev/zero", on_full="block", buffer_size=65536)

    size = 0
    for part in client.follow(pty, kind="lossless"):
        assert part.skipped == 0
        size += len(part.data)

    assert size == 1_000_000
    assert client.get(pty)["buffer"]["total_dropped"] == 0


# Input ------------------------------------------------------------------------------------------


def test_send_returns_the_offset_before_it_once_all_was_taken(client: Client) -> None:
    pty = client.run('stty -echo; printf ready; read x; printf "<$x>"')
    wait_until(lambda: client.get(pty)["buffer"]["total_written"] == 5)

    offset = client.send(pty, "wörld\r")
    client.wait(pty, timeout=deadline_seconds())

    assert offset == 5
    assert client.read(pty, offset).data.endswith("<wörld>".encode())


def test_send_refuses_what_would_be_cut_or_comes_too_late(client: Client) -> None:
    pty = client.run(["cat"])

    with pytest.raises(LineTooLongError):
        client.send(pty, b"x" * 5000 + b"\r")
    client.kill(pty)
    with pytest.raises(InvalidStateError):
        client.send(pty, "x")
    assert client.read(pty).data == b""


def test_keys_go_by_name_in_the_modes_of_the_terminal(client: Client) -> None:
    line = "stty -icanon -echo min 4; printf '\\033[?1hready'; head -c 4 | od -An -c"
    pty = client.run(line)
    client.wait_text(pty, "ready", timeout=deadline_seconds())

    assert client.send(pty, "a", keys="Down") == 10
    client.wait(pty, timeout=deadline_seconds())

    assert client.read(pty).data.split()[1:] == [b"a", b"033", b"O", b"B"]


def test_a_key_that_does_not_exist_sends_nothing(client: Client) -> None:
    pty = client.run(["cat"])

    for wrong in ({"keys": ["Enter", "C-nokey"]}, {"keys": 5}, {"data": 5}, {"data": None}):
        with pytest.raises(InvalidValueError):
            client.send(pty, **wrong)
    client.send(pty, keys=["x", "Enter", "C-d"])
    client.wait(pty, timeout=deadline_seconds())
    assert client.read(pty).data == b"x\r\nx\r\n"


# Wait, act --------------------------------------------------------------------------------------


def test_wait_returns_how_it_ended(client: Client) -> None:
    assert client.wait(client.run("exit 3"))["exit_code"] == 3


def test_wait_gives_up_and_the_client_goes_on(client: Client) -> None:
    pty = client.run("sleep 1000")

    with pytest.raises(WaitTimeoutError, match=r"within 0\.05 s") as told:
        client.wait(pty, timeout=0.05)
    assert isinstance(told.value, TimeoutError)
    assert client.get(pty)["shown"] == "running"


def test_text_is_found_without_escape_codes_at_its_offset(client: Client) -> None:
    pty = client.run("printf 'a\\033[1mb\\033[0mc'; read x; echo over")

    assert client.wait_text(pty, "b.", timeout=deadline_seconds()) == ("bc", 5, 11)
    with pytest.raises(WaitTimeoutError):
        client.wait_text(pty, "b", from_offset="now", timeout=0.05)


def test_text_that_does_not_come_is_not_waited_for_too_long(client: Client) -> None:
    flood = client.run("yes")

    for pty in (flood, client.run("sleep 1000")):
        with pytest.raises(WaitTimeoutError):
            client.wait_text(pty, "no", timeout=0.1)
    with pytest.raises(InvalidValueError, match="regular expression"):
        client.wait_text(flood, "(")


def test_text_is_waited_for_until_the_end(client: Client) -> None:
    pty = client.run("read x; echo over")
    client.send(pty, "\r")

    assert client.wait_text(pty, "never") is None


def test_silence_is_waited_for(client: Client) -> None:
    pty = client.run("printf 123; read x; printf 4")
    client.wait_text(pty, "3", timeout=deadline_seconds())

    assert client.wait_quiet(pty, "10ms", timeout=deadline_seconds()) == 3
    with pytest.raises(WaitTimeoutError, match=r"was not quiet within 0\.02 s"):
        client.wait_quiet(pty, 1000, timeout="20ms")
    client.send(pty, keys="Enter")
    assert client.wait_quiet(pty, 1000) is None


def test_a_prompt_is_waited_for(client: Client) -> None:
    env = {"PATH": os.environ["PATH"], "PS1": "$ ", "ENV": ""}
    pty = client.run(["sh"], env=env, echo=False)
    assert client.wait_prompt(pty, from_offset=0, timeout=deadline_seconds()) is not None
    assert client.wait_prompt(pty) == client.get(pty)["buffer"]["total_written"]

    sent = client.send(pty, "exec sleep 1000", keys="Enter")
    with pytest.raises(WaitTimeoutError, match="was not at its prompt"):
        client.wait_prompt(pty, from_offset=sent, timeout=0.02)
    client.kill(pty)
    assert client.wait_prompt(pty) is None


def test_a_question_is_waited_for(client: Client) -> None:
    pty = client.run("sh -c 'printf \"name? \"; read x; sleep 1000'")

    assert client.wait_input(pty, from_offset=0, timeout=deadline_seconds()) == 6
    sent = client.send(pty, keys="Enter")
    client.wait_text(pty, "\n", from_offset=sent)
    with pytest.raises(WaitTimeoutError, match="did not wait for input"):
        client.wait_input(pty, timeout=0.02)


def test_a_pty_is_changed_and_ended(client: Client) -> None:
    pty = client.run("trap '' TERM HUP; printf x; while :; do sleep 0.1; done", name="a")
    wait_until(lambda: client.get("a")["buffer"]["total_written"] == 1)

    assert client.rename("a", "b")["name"] == "b"
    assert client.resize("b", 120, 40)["cols"] == 120
    assert client.set_on_full("b", OnFull.BLOCK) == 1
    assert client.clear("b")["buffer"]["total_dropped"] == 1
    with pytest.raises(InvalidStateError):
        client.remove("b")
    assert client.kill("b", grace_seconds=0.05)["signal"] == signal.SIGKILL
    client.remove(pty)
    with pytest.raises(UnknownPtyError):
        client.remove(pty)


def test_a_signal_goes_by_number_or_name(client: Client) -> None:
    pty = client.run("sleep 1000")

    client.signal(pty, "USR1")
    assert client.wait(pty)["signal"] == signal.SIGUSR1


# Threads ----------------------------------------------------------------------------------------


def begun(client: Client, act: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    """Begin a request in another thread; return the thread and what it will have raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except PtymuxError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: client._requests._busy)
    return thread, raised


def test_a_wait_in_one_thread_delays_no_other(client: Client) -> None:
    pty = client.run("sleep 1000")
    waiting, raised = begun(client, lambda: client.wait(pty))

    client.send(pty, "x")
    assert client.get(pty)["shown"] == "running"
    client.kill(pty)

    waiting.join()
    assert raised == []


def test_many_threads_ask_at_once_and_each_gets_its_own_answers(client: Client) -> None:
    ptys = [client.run(f"echo {number}; exec sleep 1000") for number in range(8)]
    wrong: list[object] = []

    def ask(pty: Pty) -> None:
        found = [client.get(pty)["pty_id"] for _round in range(20)]
        wrong.extend(pty_id for pty_id in found if pty_id != pty["pty_id"])
        with client.follow(pty) as reader:
            client.kill(pty)
            wrong.extend(part for part in reader if part.skipped)

    threads = [threading.Thread(target=ask, args=(pty,)) for pty in ptys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert client.list() == []
    assert len(client._requests._idle) <= 4


def test_closing_ends_what_other_threads_wait_for(client: Client) -> None:
    pty = client.run("sleep 1000")
    reader, events = client.follow(pty), client.events(topics=["pty.stopped"])
    threads = [begun(client, lambda: client.wait(pty))]
    reader.read(timeout=0)
    threads += [begun(client, lambda: list(reader)), begun(client, lambda: list(events))]

    client.close()

    for thread, raised in threads:
        thread.join()
        assert [type(error) for error in raised] == [ConnectionClosedError]
        assert "closed" in str(raised[0])


# Events -----------------------------------------------------------------------------------------


def test_events_of_the_past_are_given_and_end(client: Client) -> None:
    pty = ended(client, "true")
    ended(client, "true")

    topics = ["pty.spawned", "pty.stopped"]
    told = list(client.events(topics=topics, pty=pty, follow=False))

    assert [event["topic"] for event in told if "topic" in event] == topics


def test_events_begin_when_they_are_asked_for(client: Client) -> None:
    ended(client, "true")

    with client.events(topics=["pty.stopped"]) as events:
        assert events.read(timeout=0) is None
        pty = ended(client, "exit 1")
        event = events.read(timeout=deadline_seconds())

    assert event is not None
    assert "topic" in event
    assert (event["pty_id"], event["payload"]["exit_code"]) == (pty["pty_id"], 1)


def test_events_that_were_lost_are_told_in_their_place(tmp_path: Path) -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        request = peer.request()
        assert request.params == {"since": 7, "follow": True}
        peer.reply(request, {"missed": 2, "epoch": "e", "last_seq": 12})
        peer.send(encode_notification("event", {"seq": 10, "topic": "pty.stopped"}))
        peer.send(encode_notification("missed", {"count": 3}))
        peer.send(encode_notification("end", {}))
        peer.receive()

    with (
        StubServer(str(tmp_path / "s"), serve) as server,
        EventFollower(server.path, since=7) as events,
    ):
        told = list(events)

    assert told == [{"missed": 2}, {"seq": 10, "topic": "pty.stopped"}, {"missed": 3}]


def test_events_of_a_server_that_knows_nothing_of_the_old_are_all_given(tmp_path: Path) -> None:
    epochs = iter("abbb")

    def serve(peer: Peer) -> None:
        peer.greet()
        request = peer.request()
        epoch = next(epochs)
        peer.reply(request, {"missed": 0, "epoch": epoch, "last_seq": 12})
        if epoch == "b":
            peer.send(encode_notification("event", {"seq": request.params["since"] + 1}))
            peer.send(encode_notification("end", {}))
            peer.receive()

    with StubServer(str(tmp_path / "s"), serve) as server, EventFollower(server.path) as events:
        assert list(events) == [{"seq": 1}]


def test_an_unknown_topic_is_refused(client: Client) -> None:
    with pytest.raises(InvalidValueError):
        client.events(topics=["no.such"])


# A server that dies -----------------------------------------------------------------------------


def test_requests_go_on_with_another_server(own_server: Serving, client: Client) -> None:
    pty = client.run("sleep 1000", name="a")

    for act in (
        lambda: client.get(pty),
        lambda: client.run("true"),
        lambda: client.send(pty, "x"),
        lambda: client.signal(pty, "CONT"),
        lambda: client.kill("a"),
    ):
        kill(own_server.status()["pid"])
        act()
    client.remove(pty)


def test_readers_and_events_begin_while_the_server_is_replaced(
    own_server: Serving, client: Client
) -> None:
    pty = client.run("echo first; read x")
    wait_until(lambda: client.get(pty)["buffer"]["total_written"] == 7)
    begun: list[bytes] = []
    is_over = threading.Event()

    def begin() -> None:
        while not is_over.is_set():
            with client.follow(pty) as reader:
                begun.append(next(iter(reader)).data)
            with client.events(since=0) as events:
                next(iter(events))

    beginning = threading.Thread(target=begin)
    beginning.start()
    try:
        for _ in range(5):
            kill(own_server.status()["pid"])
            begun.clear()
            wait_until(lambda: len(begun) > 5 or not beginning.is_alive())
    finally:
        is_over.set()
        beginning.join()

    assert len(begun) > 5
    assert set(begun) == {b"first\r\n"}


def test_a_wait_goes_on_with_another_server(own_server: Serving, client: Client) -> None:
    pty = client.run("read x; exit 4")
    before = own_server.status()["pid"]
    outcome: list[Pty] = []
    waiting = threading.Thread(
        target=lambda: outcome.append(client.wait(pty, timeout=deadline_seconds()))
    )
    waiting.start()
    wait_until(lambda: any(busy.patience is not None for busy in list(client._requests._busy)))

    kill(before)
    wait_until(lambda: own_server.status()["pid"] != before)
    own_server.call("get", pty=pty["pty_id"])
    with ptymux.connect(own_server.path) as other:
        other.send(pty, "\r")
    waiting.join()

    assert outcome[0]["exit_code"] == 4


def test_a_reader_goes_on_where_it_was_with_another_server(
    own_server: Serving, client: Client
) -> None:
    pty = client.run("stty -echo; echo ready; while read x; do echo $x; done")
    client.wait_text(pty, "ready")  # from now on the terminal mixes nothing in
    with client.follow(pty) as reader:
        for count in range(3):
            client.send(pty, f"{count}\r")
            own_server.kill_server()
        client.send(pty, "\x04")
        data = b"".join(part.data for part in reader)

    assert data == b"ready\r\n0\r\n1\r\n2\r\n"
    assert (reader.skipped, reader.offset) == (0, len(data))


def test_events_go_on_with_another_server(own_server: Serving, client: Client) -> None:
    pty = client.run("sleep 1000")
    sizes = []
    with client.events(topics=["pty.resized"], pty=pty) as events:
        for cols in (100, 101, 102):
            client.resize(pty, cols, 30)
            event = events.read(timeout=deadline_seconds())
            assert event is not None
            assert "topic" in event
            sizes.append(event["payload"]["new"]["cols"])
            own_server.kill_server()

    assert sizes == [100, 101, 102]


def test_a_server_that_was_stopped_is_not_waited_for_long(no_server: Serving) -> None:
    no_server.start()
    clock = FakeClock()
    with Client(no_server.connect(), RetryPolicy(clock=clock)) as client:
        pty = client.run("sleep 1000")
        reader = client.follow(pty)
        no_server.stop()

        with pytest.raises(ConnectionClosedError, match="within 3 s"):
            client.list()
        assert sum(clock.slept) == pytest.approx(3.0, abs=0.1)
        for _part in reader:
            pass
        assert reader.is_over
        assert sum(clock.slept) < 7.0
    assert pty["pid"] is not None
    assert not is_alive(pty["pid"])


# The package ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("run", lambda c, _p: c.run(["no-such-program"])),
        ("run", lambda c, _p: c.run("true", cwd="/none")),
        ("run", lambda c, _p: c.run("true", size="big")),
        ("run", lambda c, _p: c.run("true", name="taken")),
        ("spawn_expect", lambda c, _p: c.spawn_expect("true", name="taken")),
        ("spawn_expect", lambda c, _p: c.spawn_expect("true", encoding="none")),
        ("expect", lambda c, _p: c.expect("none")),
        ("get", lambda c, _p: c.get("none")),
        ("get", lambda c, _p: c.get("t")),
        ("stats", lambda c, _p: c.stats("none")),
        ("stats", lambda c, _p: c.stats(None)),
        ("read", lambda c, _p: c.read("none")),
        ("read", lambda c, p: c.read(p, from_offset=-1)),
        ("follow", lambda c, _p: c.follow("none")),
        ("follow", lambda c, p: c.follow(p, kind="none")),
        ("events", lambda c, _p: c.events(topics=["none"])),
        ("events", lambda c, _p: c.events(pty="none")),
        ("send", lambda c, _p: c.send("none", "x")),
        ("send", lambda c, p: c.send(p, keys="none")),
        ("open_input", lambda c, _p: c.open_input("none")),
        ("wait", lambda c, _p: c.wait("none")),
        ("wait", lambda c, p: c.wait(p, timeout=0)),
        ("wait_text", lambda c, _p: c.wait_text("none", "x")),
        ("wait_text", lambda c, p: c.wait_text(p, "(")),
        ("wait_text", lambda c, p: c.wait_text(p, "x", timeout=0)),
        ("wait_quiet", lambda c, _p: c.wait_quiet("none", 1)),
        ("wait_quiet", lambda c, p: c.wait_quiet(p, "soon")),
        ("wait_quiet", lambda c, p: c.wait_quiet(p, 5, timeout=0)),
        ("wait_prompt", lambda c, _p: c.wait_prompt("none")),
        ("wait_prompt", lambda c, p: c.wait_prompt(p, timeout=0)),
        ("wait_input", lambda c, p: c.wait_input(p, from_offset=-1)),
        ("kill", lambda c, _p: c.kill("none")),
        ("kill", lambda c, p: c.kill(p, grace_seconds=-1)),
        ("signal", lambda c, _p: c.signal("none", "TERM")),
        ("signal", lambda c, p: c.signal(p, "none")),
        ("remove", lambda c, _p: c.remove("none")),
        ("remove", lambda c, p: c.remove(p)),
        ("rename", lambda c, p: c.rename(p, "a b")),
        ("rename", lambda c, p: c.rename(p, 5)),
        ("rename", lambda c, p: c.rename(p, "taken")),
        ("rename", lambda c, _p: c.rename("none", "a")),
        ("resize", lambda c, p: c.resize(p, 0, 1)),
        ("resize", lambda c, p: c.resize(p, "80", "24")),
        ("resize", lambda c, _p: c.resize("none", 80, 24)),
        ("set_on_full", lambda c, p: c.set_on_full(p, "none")),
        ("set_on_full", lambda c, _p: c.set_on_full("none", "drop")),
        ("clear", lambda c, _p: c.clear("none")),
        ("clear", lambda c, _p: c.clear(5.5)),
    ],
)
def test_what_a_method_raises_is_public_and_in_its_docstring(
    client: Client, method: str, wrong: Callable[[Any, Pty], object]
) -> None:
    client.run("sleep 1000", name="taken")
    pty = client.run("sleep 1000", name="two")

    with pytest.raises((PtymuxError, LookupError)) as told:
        wrong(client, pty)

    kinds = [kind.__name__ for kind in type(told.value).__mro__[:2]]
    said = f"{getattr(Client, method).__doc__} {Client.__doc__}"
    assert any(kind in said for kind in kinds)
    assert type(told.value) is LookupError or hasattr(ptymux, kinds[0])


def test_every_error_can_be_imported_from_the_package() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}

    assert {name for name in kinds if name.endswith("Error")} <= set(ptymux.__all__)


def test_help_begins_with_an_example_that_runs(no_server: Serving) -> None:
    program = re.findall(r"\n((?:    .*\n|\n)+)", ptymux.__doc__ or "")[0]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PTYMUX_SOCKET": no_server.path},
        check=False,
    )

    assert (done.stdout, done.stderr) == ("3\nb'hello\\r\\n'\n", "")


@pytest.mark.parametrize("name", sorted(set(ptymux.__all__)))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(ptymux, name) is not None


@pytest.mark.parametrize(
    "program", ["import ptymux", "import ptymux; ptymux.connect", "import ptymux.client.blocking"]
)
def test_importing_loads_neither_asyncio_nor_pexpect(program: str) -> None:
    code = f"{program}; import sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, env={}).split()

    assert not {"asyncio", "pexpect", "click", "rich"} & set(loaded)
