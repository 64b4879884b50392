"""A dialogue with a managed PTY is what one with `pexpect.spawn` is, and outlives servers."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from ptymux import Client
from ptymux.client.expect import PtyExpect
from ptymux.errors import (
    CommandNotFoundError,
    ConnectionClosedError,
    InvalidStateError,
    InvalidValueError,
    LineTooLongError,
    NotATerminalError,
)
from tests.processes import kill
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

SECONDS = deadline_seconds()


@contextmanager
def spawned(line: str, **options: Any) -> Iterator[Any]:
    """A dialogue of pexpect's own."""
    options.setdefault("timeout", SECONDS)
    child = pexpect.spawn("/bin/sh", ["-c", line], dimensions=(24, 80), **options)
    child.delaybeforesend = None
    with child:
        yield child


@contextmanager
def talk(client: Client, line: str, **options: Any) -> Iterator[PtyExpect]:
    options.setdefault("timeout", SECONDS)
    with client.expect(client.run(line), **options) as dialogue:
        yield dialogue
    if dialogue.isalive():
        client.kill(dialogue.pty_id, grace_seconds=0)


# The same as pexpect ----------------------------------------------------------------------------


def told(child: Any) -> list[Any]:
    match = child.match
    groups = match.groups() if isinstance(match, re.Match) else match
    return [child.before, child.after, child.match_index, groups]


def lines_and_end(child: Any) -> Iterator[Any]:
    yield child.readline()
    child.expect("b(.)n")
    yield told(child)
    child.expect_exact(["nothing", "four"])
    yield told(child)
    yield child.read(3)
    child.expect(pexpect.EOF)
    yield told(child)
    yield [child.eof(), child.flag_eof, child.read(), child.readline()]


def question_and_answer(child: Any) -> Iterator[Any]:
    for name in ("x", "yy"):
        child.expect(r"name\? ")
        yield told(child)
        yield child.sendline(name)
        child.expect(f"<{name}>\r\n")
        yield told(child)
    child.write("z")
    child.writelines(["1", "2", "\n"])
    child.expect("<z12>")
    yield told(child)
    yield child.readlines()


def controls(child: Any) -> Iterator[Any]:
    child.expect("ready")
    yield child.sendcontrol("c")
    child.expect("interrupted")
    child.sendintr()
    child.expect_exact("interrupted")
    yield [child.sendcontrol("1"), child.send("end\n")]
    child.expect("<end>\r\n")
    child.sendeof()
    child.expect(pexpect.EOF)
    yield told(child)


def failures(child: Any) -> Iterator[Any]:
    child.expect(
        "ready\r\n"
    )  # all of it, so that nothing is there to be seen but what is asked for
    yield child.expect(["no", pexpect.TIMEOUT], timeout=0.05)
    yield told(child)
    with pytest.raises(pexpect.TIMEOUT):
        child.expect("no", timeout=0.05)
    yield told(child)
    with pytest.raises(TypeError):
        child.expect(7)
    child.sendline()
    with pytest.raises(pexpect.EOF):
        child.expect("no")
    yield told(child)
    with pytest.raises(TypeError):
        child.expect("x", nonsense=1)


def windows(child: Any) -> Iterator[Any]:
    child.expect_exact("120", searchwindowsize=10)
    yield told(child)
    child.searchwindowsize = 20
    child.sendline()
    child.expect("e.d")
    yield told(child)
    child.expect(pexpect.EOF)
    yield told(child)


DIALOGUES: dict[str, tuple[str, Callable[[Any], Iterator[Any]]]] = {
    "lines": ("printf 'one\\ntwo bin\\nthree\\nfour--\\nfive'; exit 3", lines_and_end),
    "questions": (
        "stty -echo; for i in 1 2 3; do printf 'name? '; read x; echo \"<$x>\"; done",
        question_and_answer,
    ),
    "controls": (
        """trap 'echo interrupted' INT; stty -echo; echo ready
        until [ "$x" = end ]; do read x; done; echo '<end>'; read x && echo no; echo over""",
        controls,
    ),
    "failures": ("echo ready; read x; exit 1", failures),
    "windows": ("printf %s $(seq -s, 90 120); read x; echo end; kill -9 $$", windows),
    "nothing": ("exit 255", lambda child: iter([child.read(), child.eof()])),
}


@pytest.mark.parametrize("encoding", [None, "utf-8"])
@pytest.mark.parametrize("name", DIALOGUES)
def test_a_dialogue_goes_as_with_pexpect(client: Client, name: str, encoding: str | None) -> None:
    line, dialogue = DIALOGUES[name]
    with spawned(line, encoding=encoding) as child:
        expected = list(dialogue(child))
        child.wait()
        expected += [child.exitstatus, child.signalstatus, child.status, child.isalive()]

    with talk(client, line, encoding=encoding) as ours:
        seen = list(dialogue(ours))
        ours.wait()
        seen += [ours.exitstatus, ours.signalstatus, ours.status, ours.isalive()]

    assert seen == expected


def echo(child: Any) -> list[Any]:
    seen = [child.expect("ready"), child.getecho(), child.waitnoecho(timeout=0)]
    child.sendline("a")
    child.expect("password: ")
    seen += [child.before, child.waitnoecho(), child.getecho()]
    child.sendline("b")
    child.expect("go on\r\n")
    child.setecho(True)
    child.sendline("c")
    return [*seen, child.before, child.read(), child.echo]


def test_the_echo_is_seen_and_set(client: Client) -> None:
    line = "echo ready; read x; stty -echo; printf 'password: '; read x; echo go on; read x; exit"
    with spawned(line, encoding="utf-8") as child:
        expected = echo(child)
    with talk(client, line, encoding="utf-8") as ours:
        assert echo(ours) == expected
        with pytest.raises(NotATerminalError):
            ours.getecho()


def test_letters_that_are_cut_across_reads_are_whole(client: Client) -> None:
    line = "stty -echo; printf 'a\\303'; read x; printf '\\244b\\342\\202'; read x; printf '\\254c'"

    def dialogue(child: Any) -> Iterator[Any]:
        child.expect("a")
        yield child.expect([".", pexpect.TIMEOUT], timeout=0.05)
        child.sendline()
        child.expect("äb")
        yield child.expect([".", pexpect.TIMEOUT], timeout=0.05)
        child.sendline()
        yield [child.expect_exact("€c"), child.before, child.after]

    with spawned(line, encoding="utf-8", maxread=1) as child:
        expected = list(dialogue(child))
    with talk(client, line, encoding="utf-8", maxread=1) as ours:
        assert list(dialogue(ours)) == expected


def test_logs_have_what_was_read_and_sent(client: Client) -> None:
    logs = []
    line = "stty -echo; printf '? '; read x; printf '!'"
    for child in (spawned(line, encoding="utf-8"), talk(client, line, encoding="utf-8")):
        with child as dialogue:
            dialogue.logfile, dialogue.logfile_read = io.StringIO(), io.StringIO()
            dialogue.logfile_send = io.StringIO()
            dialogue.expect(r"\? ")
            dialogue.sendline("ä")
            dialogue.expect("!")
            files = (dialogue.logfile, dialogue.logfile_read, dialogue.logfile_send)
            logs.append([file.getvalue() for file in files])

    assert logs[0] == logs[1] == ["? ä\n!", "? !", "ä\n"]


# What a managed PTY adds ------------------------------------------------------------------------


def test_a_dialogue_may_begin_anywhere(client: Client) -> None:
    pty = client.run("printf 'old äold'; read x; printf new")
    wait_until(lambda: client.get(pty)["buffer"]["total_written"] == 9)

    with (
        client.expect(pty, timeout=SECONDS, encoding="utf-8") as all_of_it,
        client.expect(pty, timeout=SECONDS, encoding="utf-8", from_offset=5) as cut,
        client.expect(pty, timeout=SECONDS, encoding="utf-8", from_offset="now") as new,
    ):
        new.sendline()
        assert all_of_it.read() == "old äold\r\nnew"
        assert (cut.read(), cut.skipped) == ("old\r\nnew", 1)
        assert (new.read(), new.skipped) == ("\r\nnew", 0)
        assert new.offset == 14


def test_closing_leaves_the_pty_running_unless_forced(client: Client) -> None:
    pty = client.run("trap '' HUP INT TERM; echo ready; while :; do sleep 0.1; done")
    with client.expect(pty, timeout=SECONDS) as dialogue:
        dialogue.expect("ready")

    assert dialogue.closed
    assert client.get(pty)["shown"] == "running"
    with pytest.raises(ValueError, match="closed"):
        dialogue.expect("x")
    with pytest.raises(ValueError, match="closed"):
        dialogue.send("x")
    again = client.expect(pty)
    again.delayafterterminate = 0.02
    assert not again.terminate()
    again.close(force=True)
    assert (again.exitstatus, again.signalstatus) == (None, signal.SIGKILL)


def test_output_that_is_no_longer_kept_is_told(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    pty = client.run("printf 0123456789äöü", buffer_size=5)
    client.wait(pty)

    with (
        caplog.at_level(logging.WARNING, "ptymux"),
        client.expect(pty, timeout=SECONDS, encoding="utf-8", from_offset=0) as dialogue,
    ):
        assert dialogue.read() == "öü"
        assert dialogue.skipped == 12  # 11 of which the server tells, and half a letter

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "12 bytes of output before offset 12 were missed" in caplog.text


def test_reader_that_falls_behind_goes_on_and_knows_it(client: Client) -> None:
    """What the sockets hold at most is much less than what is written."""
    pty = client.run("read x; head -c 8000000 /dev/zero | tr '\\0' x; echo end", buffer_size=65536)

    with client.expect(pty, timeout=SECONDS, from_offset="now") as dialogue:
        dialogue.sendline()
        client.wait(pty, timeout=SECONDS)
        text = dialogue.read()

    assert text.endswith(b"xend\r\n")
    assert dialogue.skipped > 0
    assert dialogue.skipped + len(text) == client.get(pty)["buffer"]["total_written"]


def test_input_that_nobody_takes_is_refused(client: Client) -> None:
    with talk(client, "echo ready; read x") as dialogue:
        dialogue.expect("ready")
        with pytest.raises(LineTooLongError):
            dialogue.sendline("x" * 5000)
        dialogue.sendline("x")
        dialogue.expect(pexpect.EOF)
        with pytest.raises(InvalidStateError):
            dialogue.sendline("y")


def test_size_and_signals(client: Client) -> None:
    with talk(client, "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done") as ours:
        ours.expect("ready")
        ours.setwinsize(30, 100)
        assert ours.getwinsize() == (30, 100)
        ours.kill(signal.SIGUSR1)
        ours.expect("usr1")
        assert ours.isatty()
        assert ours.terminate()
        assert ours.signalstatus == signal.SIGHUP


def test_a_pty_that_is_forgotten_at_its_end_still_tells_how_it_ended(client: Client) -> None:
    pty = client.run("read x; exit 5", remove=True)

    with client.expect(pty, timeout=SECONDS) as dialogue:
        dialogue.sendline()
        dialogue.expect(pexpect.EOF)
        assert (dialogue.isalive(), dialogue.wait()) == (False, 5)


def test_an_exception_says_what_was_seen(client: Client) -> None:
    pty = client.run("echo 'so far'; exec sleep 1000")
    wait_until(lambda: client.get(pty)["buffer"]["total_written"] == 8)
    with client.expect(pty, timeout=SECONDS) as dialogue:
        dialogue.expect("so")
        with pytest.raises(pexpect.TIMEOUT, match=dialogue.pty_id) as told:
            dialogue.expect("more", timeout=0.05)

    assert " far" in str(told.value)


# An end that is not missed ----------------------------------------------------------------------


def forgotten(client: Client, line: str, **options: Any) -> PtyExpect:
    """A dialogue with a PTY that has ended and was removed, with all its output unread."""
    pty = client.run(f"read x; {line}")
    dialogue = client.expect(pty, timeout=SECONDS, from_offset="now", **options)
    dialogue.setecho(False)
    dialogue.sendline()
    client.wait(pty)
    client.kill(pty)  # returns once it is gone, when it can be removed
    client.remove(pty)
    return dialogue


@pytest.mark.parametrize(
    ("line", "status"), [("exit 5", (5, None)), ("kill -9 $$", (None, signal.SIGKILL))]
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda dialogue: dialogue.isalive() is False,
        lambda dialogue: dialogue.wait() == dialogue.exitstatus,
        lambda dialogue: dialogue.terminate() is True,
        lambda dialogue: dialogue.terminate(force=True) is True,
        lambda dialogue: dialogue.close(force=True) is None,
        lambda dialogue: dialogue.close() is None,
        lambda dialogue: dialogue.kill(signal.SIGTERM) is None,
        lambda dialogue: dialogue.getwinsize() == (24, 80) and not dialogue.isalive(),
        lambda dialogue: dialogue.setwinsize(30, 100) is None,
        lambda dialogue: dialogue.waitnoecho() is False,
    ],
    ids=["alive", "wait", "end", "force", "close-f", "close", "kill", "size", "resize", "echo"],
)
def test_a_pty_that_was_forgotten_has_ended_with_its_status(
    client: Client, line: str, status: tuple[Any, Any], ask: Callable[[Any], bool]
) -> None:
    with forgotten(client, line) as dialogue:
        assert ask(dialogue)

    assert (dialogue.exitstatus, dialogue.signalstatus) == status
    assert dialogue.terminated


def test_who_asks_for_the_end_first_still_reads_all_output(client: Client) -> None:
    with forgotten(client, "seq 3000; exit 5", encoding="utf-8") as dialogue:
        assert dialogue.wait() == 5
        assert dialogue.read().split() == [str(number) for number in range(1, 3001)]
        assert dialogue.skipped == 0


def test_a_pty_that_no_server_knows_any_more_ends_the_dialogue(
    own_server: Serving, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    pty = client.run("echo ready; read x; exit 5")
    with client.expect(pty, timeout=SECONDS) as dialogue:
        dialogue.expect("ready\r\n")
        kill_and_forget(own_server, client, pty)

        assert (dialogue.read(), dialogue.isalive(), dialogue.wait()) == (b"", False, None)
    assert "was forgotten" in caplog.text


def kill_and_forget(serving: Serving, client: Client, pty: Any) -> None:
    """Have the PTY end and be removed while the dialogue's connection is cut."""
    stopped = serving.status()["pid"]
    os.kill(stopped, signal.SIGSTOP)
    kill(stopped)
    wait_until(lambda: serving.status()["pid"] != stopped)
    client.kill(pty, grace_seconds=0)
    client.remove(pty)


def test_no_echo_is_waited_for_until_the_end_at_most(client: Client) -> None:
    with talk(client, "read x") as dialogue:
        results: list[bool] = []
        waiting = threading.Thread(target=lambda: results.append(dialogue.waitnoecho(None)))
        waiting.start()
        dialogue.sendline()
        waiting.join()

    assert results == [False]


# Start and attach -------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", [False, True])
def test_a_dialogue_that_starts_its_command_misses_nothing(client: Client, remove: bool) -> None:
    with client.spawn_expect("printf all; exit 7", SECONDS, remove=remove) as dialogue:
        assert dialogue.read() == b"all"
        assert (dialogue.wait(), dialogue.skipped) == (7, 0)


def test_a_dialogue_takes_what_run_takes(client: Client, tmp_path: Path) -> None:
    options: dict[str, Any] = {"name": "n", "cwd": tmp_path, "size": "100x30", "echo": False}
    with client.spawn_expect(
        ["sh", "-c", "pwd; read x; stty size"], SECONDS, encoding="utf-8", **options
    ) as dialogue:
        dialogue.sendline("not shown")
        assert dialogue.read() == f"{tmp_path}\r\n30 100\r\n"
        assert dialogue.echo is False
    assert client.get("n")["exit_code"] == 0


def test_what_cannot_be_started_leaves_no_dialogue(client: Client) -> None:
    for refused, command, options in (
        (CommandNotFoundError, "no-such-program", {}),
        (LookupError, "true", {"encoding": "no-such"}),
        (LookupError, "true", {"encoding": "utf-8", "codec_errors": "no-such"}),
        (InvalidValueError, "true", {"size": "big"}),
    ):
        given: dict[str, Any] = options
        with pytest.raises(refused):
            client.spawn_expect([command], **given)
    assert client.list() == []


def test_the_echo_of_a_running_pty_can_be_off_from_the_start(client: Client) -> None:
    pty = client.run('read x; echo "<$x>"')
    with client.expect(pty, timeout=SECONDS, echo=False) as dialogue:
        dialogue.sendline("a")
        assert dialogue.read() == b"<a>\r\n"


def test_closing_ends_the_pty_if_that_was_asked_for(client: Client) -> None:
    with client.spawn_expect("echo ready; exec sleep 1000", SECONDS, hangup=True) as dialogue:
        dialogue.expect("ready")
        assert dialogue.isalive()

    assert (dialogue.exitstatus, dialogue.signalstatus) == (None, signal.SIGHUP)
    assert client.list() == []


def test_closing_leaves_a_pty_running_if_nothing_was_asked_for(client: Client) -> None:
    with client.spawn_expect("exec sleep 1000", name="n"):
        pass

    assert client.get("n")["shown"] == "running"


def test_the_death_of_the_program_hangs_its_pty_up(client: Client) -> None:
    program = (
        "import os, sys, ptymux\n"
        "client = ptymux.connect(sys.argv[1])\n"
        "client.spawn_expect('exec sleep 1000', name='n', hangup=True).sendline('typed')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, client.path], check=False)

    assert client.wait("n", timeout=SECONDS)["signal"] == signal.SIGHUP


# An fd to poll ----------------------------------------------------------------------------------


def is_readable(dialogue: PtyExpect) -> bool:
    return bool(select.select([dialogue], [], [], 0)[0])


def test_the_fd_is_readable_while_bytes_are_held_and_at_the_end(client: Client) -> None:
    with talk(client, "read x; printf 123; read x; printf 4", echo=False) as dialogue:
        assert not is_readable(dialogue)
        dialogue.sendline()
        wait_until(lambda: is_readable(dialogue))
        wait_until(lambda: client.get(dialogue.pty_id)["buffer"]["total_written"] == 3)
        read = b""
        while is_readable(dialogue):
            read += dialogue.read_nonblocking(1, 0)
        assert read == b"123"
        fd = dialogue.fileno()
        assert dialogue.child_fd == fd
        dialogue.sendline()
        assert dialogue.read() == b"4"
        assert is_readable(dialogue)
        with pytest.raises(pexpect.EOF):
            dialogue.read_nonblocking(1, 0)
    assert dialogue.child_fd == -1


def test_the_fd_stays_the_same_when_the_server_is_replaced(
    own_server: Serving, client: Client
) -> None:
    with talk(client, "read x; printf end; read x", echo=False) as dialogue:
        fd = dialogue.fileno()
        own_server.kill_server()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        dialogue.sendline()
        seen = b""
        while seen != b"end":
            assert poll.poll(1000 * SECONDS)
            with suppress(pexpect.TIMEOUT):
                seen += dialogue.read_nonblocking(9, 0)
        assert not is_readable(dialogue)
        assert dialogue.fileno() == fd


# Text -------------------------------------------------------------------------------------------

MIXED = "printf 'one\\377two\\303'"


def test_what_is_no_text_is_replaced(client: Client) -> None:
    with talk(client, MIXED, encoding="utf-8") as dialogue:
        assert dialogue.read() == "one\ufffdtwo\ufffd"


def test_nothing_is_lost_after_an_error_of_strict_decoding(client: Client) -> None:
    with talk(client, MIXED, encoding="utf-8", codec_errors="strict") as dialogue:
        with pytest.raises(UnicodeDecodeError) as told:
            dialogue.expect(pexpect.EOF)
        assert told.value.object[told.value.start : told.value.end] == b"\xff"
        with pytest.raises(UnicodeDecodeError) as told:
            dialogue.expect(pexpect.EOF)
        assert told.value.object[told.value.start : told.value.end] == b"\xc3"
        dialogue.expect(pexpect.EOF)
        assert dialogue.before == "onetwo"


# Threads and tasks ------------------------------------------------------------------------------


def test_one_thread_types_while_another_expects(client: Client) -> None:
    with talk(client, 'read x; echo "<$x>"; read x') as dialogue:
        found: list[int] = []
        expecting = threading.Thread(target=lambda: found.append(dialogue.expect("<a>")))
        expecting.start()
        wait_until(lambda: dialogue._is_used.locked())
        with pytest.raises(RuntimeError, match="already"):
            dialogue.expect("a")
        dialogue.sendline("a")
        expecting.join()
    assert found == [0]


def test_who_expects_is_told_that_another_thread_closed_the_dialogue(client: Client) -> None:
    with talk(client, "sleep 1000") as dialogue:
        refused: list[Exception] = []

        def expect() -> None:
            try:
                dialogue.expect("x", timeout=None)
            except ConnectionClosedError as error:
                refused.append(error)

        expecting = threading.Thread(target=expect)
        expecting.start()
        wait_until(lambda: dialogue._is_used.locked())
        dialogue.close()
        expecting.join()
    assert len(refused) == 1


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_async_finds_what_comes_while_the_loop_goes_on(
    client: Client, encoding: str | None
) -> None:
    async def talk_(ours: PtyExpect) -> list[Any]:
        seen = [await ours.expect(["no", "ready"], async_=True)]
        asking = asyncio.ensure_future(ours.expect_exact(["<a>", pexpect.EOF], async_=True))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already"):
            await ours.expect("x", async_=True)
        ours.sendline("a")
        seen.append(await asking)
        with pytest.raises(pexpect.TIMEOUT):
            await ours.expect("never", timeout=0.01, async_=True)
        seen.append(await ours.expect([pexpect.TIMEOUT], timeout=0.01, async_=True))
        cancelled = asyncio.ensure_future(ours.expect("never", async_=True))
        await asyncio.sleep(0)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        ours.sendline("b")
        seen.append(ours.expect("<b>"))  # one that blocks may follow
        seen.append(await ours.expect(pexpect.EOF, **{"async": True}))
        with pytest.raises(pexpect.EOF):
            await ours.expect("more", async_=True)
        return seen

    line = 'echo ready; for i in 1 2; do read x; echo "<$x>"; done'
    with talk(client, line, encoding=encoding, echo=False) as ours:
        assert asyncio.run(talk_(ours)) == [1, 0, 0, 0, 0]
        assert ours.exitstatus == 0


def test_async_goes_on_when_the_server_is_replaced(own_server: Serving, client: Client) -> None:
    async def talk_(ours: PtyExpect) -> int:
        finding = asyncio.ensure_future(ours.expect("<a>", async_=True))
        await asyncio.sleep(0)
        await asyncio.to_thread(own_server.kill_server)
        ours.sendline("a")
        return int(await finding)

    with talk(client, 'read x; echo "<$x>"; read x', echo=False) as ours:
        assert asyncio.run(talk_(ours)) == 0


def test_async_ends_when_the_dialogue_is_closed(client: Client) -> None:
    async def close(ours: PtyExpect) -> None:
        finding = asyncio.ensure_future(ours.expect("x", timeout=None, async_=True))
        await asyncio.sleep(0)
        ours.close()
        with pytest.raises(ValueError, match="closed"):
            await finding

    with talk(client, "sleep 1000") as ours:
        asyncio.run(close(ours))


def test_a_dialogue_ends_with_its_client(client: Client) -> None:
    dialogue = client.expect(client.run("sleep 1000"))

    client.close()

    assert dialogue.closed
    with pytest.raises(ConnectionClosedError):
        dialogue.isalive()


# Processes that die -----------------------------------------------------------------------------


def test_what_is_waited_for_comes_though_the_server_is_killed(
    own_server: Serving, client: Client
) -> None:
    with talk(client, "printf before; read x; printf 'behind'; exec cat", encoding="utf-8") as ours:
        ours.expect("before")
        own_server.kill_server()
        found: list[int] = []
        waiting = threading.Thread(target=lambda: found.append(ours.expect(["no", "behind"])))
        waiting.start()
        before = own_server.status()["pid"]
        kill(before)
        wait_until(lambda: own_server.status()["pid"] != before)
        ours.sendline()
        waiting.join()

        assert found == [1]
        ours.sendline("again")
        ours.expect("again\r\nagain\r\n")
        assert ours.skipped == 0


def test_input_arrives_once_while_no_server_lives(own_server: Serving, client: Client) -> None:
    with talk(client, 'stty -echo; echo ready; while read x; do echo "<$x>"; done') as ours:
        ours.expect("ready")
        for count in range(5):
            kill(own_server.status()["pid"])
            ours.sendline(f"{count}")
        ours.expect_exact("<4>\r\n")
        assert ours.before == b"\r\n<0>\r\n<1>\r\n<2>\r\n<3>\r\n"


# Interact ---------------------------------------------------------------------------------------


def test_interact_passes_the_terminal_through_until_the_escape(client: Client) -> None:
    master, slave = os.openpty()
    seen = bytearray()
    with talk(client, 'stty -echo; printf ready; while read x; do printf "<$x>"; done') as ours:
        ours.STDIN_FILENO = ours.STDOUT_FILENO = slave
        ours.expect("ready")
        before = termios.tcgetattr(slave)
        interacting = threading.Thread(
            target=ours.interact, kwargs={"input_filter": bytes.upper, "output_filter": _doubled}
        )
        interacting.start()
        wait_until(lambda: not termios.tcgetattr(slave)[3] & termios.ICANON)
        os.write(master, b"abc\r")
        os.set_blocking(master, False)

        def is_shown() -> bool:
            with suppress(BlockingIOError):
                seen.extend(os.read(master, 100).replace(b" ", b""))
            return b"<ABC>" in seen

        wait_until(is_shown)
        os.write(master, b"def\r\x1dnot sent")
        interacting.join()
        ours.expect("<DEF>")
        assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def _doubled(data: bytes) -> bytes:
    return b" ".join(bytes([byte]) for byte in data)


@pytest.mark.parametrize("ending", ["pty", "keyboard"])
def test_interact_ends_with_the_pty_or_the_terminal(client: Client, ending: str) -> None:
    master, slave = os.openpty()
    with talk(client, "read x") as ours:
        ours.STDIN_FILENO = ours.STDOUT_FILENO = slave
        interacting = threading.Thread(target=ours.interact)
        interacting.start()
        wait_until(lambda: not termios.tcgetattr(slave)[3] & termios.ICANON)
        if ending == "pty":
            os.write(master, b"\r")
        else:
            os.close(master)
        interacting.join()
        assert ours.isalive() == (ending == "keyboard")
    for fd in (slave,) if ending == "keyboard" else (master, slave):
        os.close(fd)


def test_interact_needs_a_terminal(client: Client) -> None:
    with open(os.devnull) as null, talk(client, "sleep 1000") as ours:
        ours.STDIN_FILENO = null.fileno()
        with pytest.raises(NotATerminalError):
            ours.interact()


def test_a_dialogue_is_made_without_asyncio(server: Serving) -> None:
    program = """
import sys, ptymux
with ptymux.connect(sys.argv[1]) as client, client.expect(client.run('echo hello')) as child:
    child.expect('hello')
print('asyncio' in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, server.path],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
