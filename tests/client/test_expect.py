"""A dialogue with a managed PTY is what one with `pexpect.spawn` is, and outlives servers."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from ptymux import Client
from ptymux.client.expect import PtyExpect
from ptymux.errors import (
    ConnectionClosedError,
    InvalidStateError,
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


def test_what_would_read_beside_us_is_refused(client: Client) -> None:
    with talk(client, "sleep 1000") as dialogue:
        with pytest.raises(NotImplementedError):
            dialogue.expect("x", async_=True)
        with pytest.raises(NotImplementedError):
            dialogue.expect_exact("x", async_=True)


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
