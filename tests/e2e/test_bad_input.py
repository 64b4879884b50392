"""What people get wrong: one clear line, the right exit code, never a traceback."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ptymux import PtyManager, SpawnOptions
from ptymux.errors import InvalidValueError, UnknownSignalError
from tests.e2e.conftest import Tty
from tests.world import PTYMUX, World

SECRET = "hunter2-Zq7"  # what must never be shown


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the one line on stderr that tells what is wrong."""
    told = done.stderr.decode()
    assert re.fullmatch(r"ptymux[^\n]*\n", told), told
    assert "Traceback" not in told
    assert done.stdout == b""
    return told


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["run", "no-such-program"], 127, "no-such-program: command not found"),
        (["run", "/no/such/program"], 127, "command not found"),
        (["run", "echo a && echo b"], 127, "for a shell line: `ptymux run -c '...'`"),
        (["run", "cd", "/tmp"], 127, "; a shell knows it: `ptymux run -c 'cd ...'`"),
        (["run", "A=1", "env"], 127, "; `ptymux run --env NAME=VALUE COMMAND` sets a variable"),
        (["run", "/etc"], 126, "is a directory"),
        (["run", "/etc/passwd"], 126, "is not executable"),
        (["run", ""], 2, "the name of a program"),
        (["run", "--cwd", "/no/such/dir", "true"], 125, "no such file or directory"),
        (["run", "--cwd", "/etc/passwd", "true"], 125, "not a directory"),
        (["run", "--size", "4X", "true"], 2, "such as 80x24"),
        (["run", "--size", "-1", "true"], 2, "such as 80x24"),
        (["run", "--size", "99999x1", "true"], 2, "1 to 10000 columns"),
        (["run", "--size", "0x24", "true"], 2, "1 to 10000 columns"),
        (["run", "--buffer-size", "4X", "true"], 2, "such as 4M"),
        (["run", "--buffer-size", "-1", "true"], 2, "such as 4M"),
        (["run", "--buffer-size", "2G", "true"], 2, "0 to 1G"),
        (["run", "--buffer-size", "0", "--on-full", "block", "true"], 2, "above 0"),
        (["run", "--threshold", "0.1", "true"], 2, "above 0.10 and below 1.0"),
        (["run", "--threshold", "1.0", "true"], 2, "above 0.10 and below 1.0"),
        (["run", "--threshold", "NaN", "true"], 2, "above 0.10 and below 1.0"),
        (["run", "--threshold", "much", "true"], 2, "--threshold"),
        (["run", "--grace", "-1s", "true"], 2, "a time such as"),
        (["run", "--idle-timeout", "soon", "true"], 2, "a time such as"),
        (["run", "--on-full", "burst", "true"], 2, "there are drop, block"),
        (["run", "--env", "NOVALUE", "true"], 2, "NAME=VALUE"),
        (["run", "--env", "=value", "true"], 2, "NAME=VALUE"),
        (["run", "--name", "42", "true"], 2, "more than digits"),
        (["run", "--name", "a b", "true"], 2, "without spaces"),
        (["run", "--name", "-x", "true"], 2, "without a dash at its beginning"),
        (["run", "-d", "-A", "--name", "true"], 2, "without a dash at its beginning"),
        (["run", "--lane", "", "true"], 2, "1 to 64 printable characters"),
        (["run", "--size"], 2, "see `ptymux run --help`"),
        (["run", "--nmae", "x", "true"], 2, "--name"),
        (["run", "-d", "--keep", "true"], 2, "for the foreground"),
        (["run", "-d", "--hangup", "true"], 2, "for the foreground"),
        (["run", "--keep", "--hangup", "true"], 2, "exclude each other"),
        (["run", "-d", "--summary", "true"], 2, "for the foreground"),
        (["run", "--detach-keys", "C-", "true"], 2, "a key such as"),
        (["rnu", "true"], 2, "did you mean 'run'"),
        (["true"], 2, "`ptymux run true`"),
        (["no-such-command"], 2, "see `ptymux --help`"),
        (["--no-such-option"], 2, "see `ptymux --help`"),
        (["version", "surplus"], 2, "see `ptymux version --help`"),
    ],
)
def test_mistake_is_told_in_one_line(
    world: World, words: list[str], status: int, told: str
) -> None:
    done = world.run(*words)

    assert told in one_line(done)
    assert done.returncode == status


def test_broken_interpreter_is_named(world: World, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    done = world.run("run", str(script))

    assert "bad interpreter: /no/such/interpreter" in one_line(done)
    assert done.returncode == 126


def test_line_stays_short_when_the_mistake_is_long(world: World) -> None:
    done = world.run("run", "x" * 100_000 + " && y")

    told = one_line(done)
    assert len(told) < 1000
    assert told.endswith(" name too long\n")
    assert done.returncode == 126


@pytest.mark.parametrize("limit", [7, 8])
def test_out_of_open_files_is_told(world: World, limit: int) -> None:
    world.run("server", "start")

    done = world.run("/bin/sh", "-c", f"ulimit -n {limit}; exec {PTYMUX} run true")

    assert done.returncode == 0 or "out of open files" in one_line(done)
    assert done.returncode in (0, 125)


# Standard fds that are closed or of no use ---------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("run cat <&-", 0),
        ("run echo hi >&-", 125),
        ("run echo hi 2>&-", 0),
        ("run echo hi <&- 2>&-", 0),
        ("run echo hi <&- >&- 2>&-", 125),
        ("run no-such-program 2>&-", 127),
        ("run no-such-program 2>/dev/full", 127),
        ("rnu 2>&-", 2),
        ("rnu <&- >&- 2>&-", 2),
        ("version >&-", 125),
        ("version >/dev/full", 125),
        ("--help >/dev/full", 125),
        ("run echo hi >/dev/full", 125),
        ("run --summary echo hi 2>/dev/full", 0),
        ("run echo hi 1</dev/null", 125),
    ],
)
def test_closed_or_full_standard_fd_is_no_crash(world: World, line: str, status: int) -> None:
    done = world.run("/bin/sh", "-c", f"{PTYMUX} {line}")

    assert done.returncode == status
    assert b"Traceback" not in done.stderr + done.stdout
    assert done.stderr.count(b"\n") <= 1


@pytest.mark.parametrize("words", [["version"], ["--help"], ["run", "--help"], ["run", "yes"]])
def test_reader_that_left_is_quietly_obeyed(world: World, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = world.run(*words, stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_stdout_is_told_with_a_remedy(world: World) -> None:
    done = world.run("/bin/sh", "-c", f"{PTYMUX} run echo hi >&-")

    assert one_line(done).endswith("; to throw output away, send it to /dev/null\n")


# What commands print -------------------------------------------------------------------------

NASTY = {
    "NULs": b"\0" * 100_000,
    "invalid UTF-8": b"\xff\xfe\xc3\x28\xf0\x9f\n" * 10_000,
    "10 MB without a newline": b"x" * 10_000_000,
    "escape codes cut short": b"\x1b[\x1b]0;\x1bP\x1b[?1049" * 1000,
    "nothing": b"",
}


@pytest.mark.parametrize("data", NASTY.values(), ids=NASTY.keys())
def test_whatever_is_printed_comes_through_a_pipe(
    world: World, tmp_path: Path, data: bytes
) -> None:
    file = tmp_path / "data"
    file.write_bytes(data)

    done = world.run("run", "cat", str(file))

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


@pytest.mark.parametrize("data", NASTY.values(), ids=NASTY.keys())
def test_whatever_is_printed_comes_to_a_terminal(tty: Tty, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "data"
    file.write_bytes(data)

    tty.run("run", "--buffer-size", "16M", "cat", str(file))

    assert tty.wait() == 0
    shown = data.replace(b"\n", b"\r\n")
    assert tty.shown.startswith(shown)
    end = rb"(\r\n)?\[cat: exit 0, [^\n]*; ptymux logs \d+\]\r\n"
    assert re.fullmatch(end, tty.shown.removeprefix(shown))


# What is never shown -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--summary", "true"],
        ["run", "--summary", "-e", f"TOKEN={SECRET}", "cat"],
        ["run", "-e", f"TOKEN={SECRET}", "no-such-program"],
        ["run", "-e", f"={SECRET}", "true"],
        ["run", "-e", f"TOKEN={SECRET}", "--size", "no", "true"],
        ["run", "-e", f"TOKEN={SECRET}", "--threshold", "7", "true"],
        ["run", "-e", f"TOKEN={SECRET}", "--cwd", "/no/such/dir", "true"],
        ["run", "-e", f"TOKEN={SECRET}", "--nmae"],
        ["rnu", "-e", f"TOKEN={SECRET}"],
    ],
)
def test_no_value_and_no_input_is_ever_told(world: World, words: list[str]) -> None:
    quiet = [*words, "/dev/null"] if words[-1] == "cat" else words

    done = world.run(*quiet, input=f"{SECRET}\n".encode(), env={"PASSWORD": SECRET})

    assert SECRET.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["run", "\x1b[31mred\x1b[m"],
        ["run", "--name", "\x1b]0;title\x07", "true"],
        ["run", "--lane", "a\x9b31m", "true"],
        ["run", "--cwd", "/\x1b[2J", "true"],
        ["run", "--\x1b[31m", "true"],
        ["run", "-e", "\x1b[31mNOVALUE", "true"],
        ["run", "--summary", "-c", "true \x1b[31m\r\n\u202e"],
        ["\x1b[31m"],
        [b"\xff\xfe".decode(errors="surrogateescape")],
        ["run", b"\xff\xfe".decode(errors="surrogateescape")],
    ],
)
def test_names_cannot_draw(world: World, words: list[str]) -> None:
    done = world.run(*words)

    told = done.stderr.decode()
    assert told.endswith("\n")
    assert told[:-1].isprintable()


# Where no command takes it yet ---------------------------------------------------------------


@pytest.mark.requirement("FR-004", "FR-007")
@pytest.mark.parametrize("signum", ["NOPE", "SIGNOPE", "", 0, -1, 65, 10**9, "9" * 50])
def test_unknown_signal_is_refused(signum: Any) -> None:
    async def ask() -> None:
        async with PtyManager() as manager:
            record = await manager.spawn(SpawnOptions(argv=("/bin/cat",)))
            try:
                with pytest.raises(UnknownSignalError, match="such as TERM or SIGTERM"):
                    await manager.signal(record.pty_id, signum)
                assert manager.signals(record.pty_id) == ()
            finally:
                await manager.terminate(record.pty_id, grace_seconds=0)

    asyncio.run(ask())


@pytest.mark.requirement("FR-007")
@pytest.mark.parametrize("grace", [-1.0, float("nan"), float("inf")])
def test_impossible_grace_is_refused(grace: float) -> None:
    async def ask() -> None:
        async with PtyManager() as manager:
            record = await manager.spawn(SpawnOptions(argv=("/bin/cat",)))
            try:
                with pytest.raises(InvalidValueError, match="grace"):
                    await manager.terminate(record.pty_id, grace_seconds=grace)
            finally:
                await manager.terminate(record.pty_id, grace_seconds=0)

    asyncio.run(ask())
