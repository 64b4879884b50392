from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import struct
import tempfile
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.errors import (
    ArgumentsTooLongError,
    BadDirectoryError,
    CommandNotFoundError,
    InvalidValueError,
    NotExecutableError,
    OutOfResourcesError,
    PtymuxError,
    SpawnError,
)
from ptymux.posix.spawn import close_on_exec_from, open_pty, spawn
from tests.posix.conftest import Start, not_root, soft_limit, soft_limit_of_open_files

pytestmark = pytest.mark.requirement("FR-003")

PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def other_thread() -> Iterator[None]:
    """A second thread, which makes the working directory untouchable."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


def program(path: Path, content: str | bytes, mode: int = 0o755) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return str(path)


def failure(*argv: str, cwd: str | None = None, env: dict[str, str] | None = None) -> PtymuxError:
    """The exception of a spawn; the autouse fixture proves that nothing of it is left."""
    with pytest.raises(PtymuxError) as caught:
        spawn(SpawnOptions(argv=argv, cwd=cwd), PATH if env is None else env)
    return caught.value


# What the child is given


def test_pty_is_the_controlling_terminal(start: Start) -> None:
    child = start("sh", "-c", "echo to the terminal >/dev/tty; tty; ps -o tpgid=,sid=,pid= $$")

    shown = child.read_to_end().split()

    assert shown[:3] == [b"to", b"the", b"terminal"]
    assert shown[3].decode() == child.spawned.pts_name
    assert shown[4:] == [b"%d" % child.pid] * 3


def test_child_sees_its_size_from_the_start(start: Start) -> None:
    child = start("stty", "size", size=WindowSize(cols=123, rows=45))

    assert child.read_to_end() == b"45 123\r\n"


def test_typed_interrupt_ends_the_child(start: Start) -> None:
    child = start("sh", "-c", "echo ready; exec cat")
    child.read_until(b"ready")

    child.type(b"\x03")

    assert child.wait().signal == signal.SIGINT


def test_signals_start_at_their_defaults_and_unblocked(start: Start) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Python ignores PIPE anyway
    try:
        child = start("grep", "^Sig[BI]", "/proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    _, blocked, _, ignored = child.read_to_end().split()

    glibcs_own = 3 << 31  # posix_spawn leaves 32 and 33 ignored, which no program can use
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~glibcs_own == 0


def test_environment_is_exactly_the_given_one(start: Start) -> None:
    child = start("/usr/bin/env", env={"A": "1", "WITH SPACE": "ü"}, plain_output=True)

    assert child.read_to_end() == "A=1\nWITH SPACE=ü\n".encode()


def test_umask_and_open_files_are_the_childs_alone(start: Start) -> None:
    umask, limit = os.umask(0o022), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.umask(umask)

    child = start("sh", "-c", "umask; ulimit -Sn; ulimit -Hn", umask=0o027, nofile=100)

    assert child.read_to_end().split() == [b"0027", b"100", b"%d" % limit[1]]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit
    assert os.umask(umask) == umask


@pytest.mark.parametrize("with_stdin", [False, True])
def test_limit_may_lie_below_the_fds_in_use(start: Start, with_stdin: bool) -> None:
    inside, outside = os.pipe()
    many = [os.dup(inside) for _ in range(100)]
    os.write(outside, b"50 at most")
    os.close(outside)
    try:
        child = start(
            "sh",
            "-c",
            "ulimit -Sn; [ -t 0 ] || cat",
            nofile=50,
            stdin_fd=many[-1] if with_stdin else None,
        )
    finally:
        for fd in (inside, *many):
            os.close(fd)

    # With stdin above the limit the kernel is told a moment after the start.
    words = child.read_to_end().split(b"\r\n")
    assert words[1] == (b"50 at most" if with_stdin else b"")
    assert with_stdin or words[0] == b"50"


def test_working_directory_is_the_childs_alone(start: Start, tmp_path: Path) -> None:
    here = os.getcwd()

    child = start("pwd", cwd=str(tmp_path))

    assert child.read_to_end().decode().strip() == str(tmp_path)
    assert os.getcwd() == here


def test_directory_may_be_an_open_one(start: Start, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    child = start("pwd", cwd=f"/proc/self/fd/{fd}")
    os.close(fd)

    assert child.read_to_end().decode().strip() == str(tmp_path)


@pytest.mark.usefixtures("other_thread")
def test_other_threads_never_see_another_directory(start: Start, tmp_path: Path) -> None:
    spaced = tmp_path / "with  space and '"
    spaced.mkdir()
    program(spaced / "-tool", '#!/bin/sh\npwd; printf "<%s>" "$@"')

    child = start("-tool", "a b", "", cwd=str(spaced), env={"PATH": ":/bin", "CDPATH": "/tmp"})

    assert child.read_to_end() == f"{spaced}\r\n<a b><>".encode()


def test_stdin_can_be_a_pipe_beside_the_terminal(start: Start) -> None:
    inside, outside = os.pipe()
    close_on_exec_from(3)
    script = "cat; tty <&1; : </dev/tty && [ -t 1 ] && [ -t 2 ] && ls /proc/self/fd"
    child = start("sh", "-c", script, stdin_fd=inside)
    os.close(inside)
    os.write(outside, b"piped,")
    os.close(outside)

    shown = child.read_to_end().split()

    assert shown[0] == f"piped,{child.spawned.pts_name}".encode()
    assert shown[1:] == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own


@pytest.mark.parametrize("number", [1, 2])
def test_stdin_can_be_any_fd_of_ours(start: Start, number: int) -> None:
    inside, outside = os.pipe()
    os.write(outside, b"piped")
    os.close(outside)
    saved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    os.dup2(inside, number)
    try:
        child = start("sh", "-c", "cat; [ -t 1 ] && [ -t 2 ] && echo ,terminal", stdin_fd=number)
    finally:
        os.dup2(saved, number)
        os.close(saved)
        os.close(inside)

    assert child.read_to_end() == b"piped,terminal\r\n"


def test_no_fd_of_ours_reaches_the_child(start: Start) -> None:
    ours, theirs = socket.socketpair()
    os.set_inheritable(ours.fileno(), True)
    inherited = os.dup2(theirs.fileno(), 200)  # inheritable, as a parent's would be

    close_on_exec_from(3)
    child = start("ls", "/proc/self/fd")

    ours.close()
    theirs.close()
    os.close(inherited)
    assert child.read_to_end().split() == [b"0", b"1", b"2", b"3"]


def test_plain_output_is_what_the_child_wrote(start: Start) -> None:
    child = start("sh", "-c", "printf 'a\\nb\\n'; cat", plain_output=True)

    child.read_until(b"b\n")
    child.type(b"typed\n\x04")

    assert child.read_to_end() == b"a\nb\ntyped\n"


def test_plain_output_still_interrupts(start: Start) -> None:
    child = start("sh", "-c", "echo ready; exec cat", plain_output=True)
    child.read_until(b"ready")

    child.type(b"\x03")

    assert child.wait().signal == signal.SIGINT


def test_terminal_translates_and_echoes_otherwise(start: Start) -> None:
    child = start("cat")
    child.type(b"typed\n\x04")

    assert child.read_to_end() == b"typed\r\ntyped\r\n"


def test_terminal_without_echo_translates_all_the_same(start: Start) -> None:
    child = start("cat", echo=False)
    child.type(b"typed\n\x04")

    assert child.read_to_end() == b"typed\r\n"


def test_pty_keeps_its_size_while_nobody_has_the_slave() -> None:
    pty = open_pty(WindowSize(cols=99, rows=33), plain_output=True)

    slave = os.open(pty.slave_name, os.O_RDWR | os.O_NOCTTY)
    size, modes = termios.tcgetwinsize(slave), termios.tcgetattr(slave)
    flags = [fcntl.fcntl(pty.master, fcntl.F_GETFD), os.get_blocking(pty.master)]
    os.close(slave)
    os.close(pty.master)

    assert size == (33, 99)
    assert not modes[1] & termios.OPOST
    assert modes[3] & (termios.ECHO | termios.ICANON | termios.ISIG) == (
        termios.ICANON | termios.ISIG
    )
    assert flags == [fcntl.FD_CLOEXEC, False]


# Which program runs


def test_relative_name_belongs_to_the_childs_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "-d").mkdir()
    program(tmp_path / "-d" / "tool", "echo no first line: $0")

    child = start("-d/tool", cwd=str(tmp_path))

    assert child.read_to_end() == b"no first line: ./-d/tool\r\n"


def test_search_path_is_the_childs(start: Start, tmp_path: Path) -> None:
    (tmp_path / "one" / "tool").mkdir(parents=True)  # a directory hides nothing
    (tmp_path / "two").mkdir()
    program(tmp_path / "two" / "tool", "", mode=0o644)
    (tmp_path / "three").mkdir()
    program(tmp_path / "three" / "tool", "#!/bin/sh\necho found")

    child = start("tool", env={"PATH": "absent:one:two:three"}, cwd=str(tmp_path))

    assert child.read_to_end() == b"found\r\n"


def test_default_path_serves_an_environment_without_one(start: Start) -> None:
    assert start("echo", "found", env={}).read_to_end() == b"found\r\n"


def test_empty_file_runs_as_an_empty_script(start: Start, tmp_path: Path) -> None:
    child = start(program(tmp_path / "empty", ""))

    assert child.wait().exit_code == 0


@pytest.mark.parametrize("argv", [("ls -la",), ("a|b",), ("cd", "/tmp", "&&", "make")])
def test_shell_line_is_told_how_to_run_as_one(argv: tuple[str, ...]) -> None:
    error = failure(*argv)

    assert isinstance(error, CommandNotFoundError)
    assert "ptymux run -c '...'" in str(error)


# What fails, and leaves nothing


@pytest.mark.parametrize("name", ["ptymux-absent", "./absent", "/etc/passwd/absent"])
def test_missing_program(name: str) -> None:
    error = failure(name)

    assert isinstance(error, CommandNotFoundError)
    assert str(error) == f"{name}: command not found"
    assert error.exit_code == 127


def test_directory_is_no_program() -> None:
    error = failure("/tmp")

    assert isinstance(error, NotExecutableError)
    assert str(error) == "/tmp: is a directory"
    assert error.exit_code == 126


def test_file_without_permission(tmp_path: Path) -> None:
    path = program(tmp_path / "plain", "#!/bin/sh", mode=0o644)

    by_path, by_name = failure(path), failure("plain", env={"PATH": str(tmp_path)})

    assert isinstance(by_path, NotExecutableError)
    assert isinstance(by_name, NotExecutableError)
    assert "chmod +x" in str(by_path)


def elf(loader: bytes) -> bytes:
    """The smallest file that the kernel tries to load with `loader`."""
    path = loader + b"\0"
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, struct.unpack_from("<H", native(), 18)[0], 1, 0, 64,
                        0, 0, 64, 56, 1, 0, 0, 0)  # fmt: skip
    return head + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(path), len(path), 1) + path


def native() -> bytes:
    return Path("/proc/self/exe").read_bytes()[:64]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"#!/no/such/interp -x\n", "bad interpreter: /no/such/interp:"),
        (b"#! /bin/sh\r\necho\r\n", "bad interpreter: /bin/sh\\r:"),
        (b"#!/tmp\n", "bad interpreter: /tmp: permission denied"),
        (elf(b"/lib/ld-absent.so"), "bad interpreter: /lib/ld-absent.so:"),
        (b"\x7fELF" + bytes(60), "not a program for this machine"),
    ],
)
def test_program_that_cannot_be_executed(tmp_path: Path, content: bytes, told: str) -> None:
    error = failure(program(tmp_path / "tool", content))

    assert isinstance(error, NotExecutableError)
    assert told in str(error)


def test_program_that_links_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")

    error = failure(str(tmp_path / "loop"))

    assert isinstance(error, NotExecutableError)
    assert "symbolic links" in str(error)


def test_program_that_cannot_be_read_runs(start: Start, tmp_path: Path) -> None:
    path = program(tmp_path / "tool", Path("/bin/true").read_bytes(), mode=0o111)

    assert start(path).wait().exit_code == 0


def test_program_being_written(tmp_path: Path) -> None:
    path = program(tmp_path / "busy", native())
    with open(path, "ab"):
        error = failure(path)

    assert isinstance(error, NotExecutableError)
    assert "busy" in str(error)


def test_arguments_too_long() -> None:
    assert isinstance(failure("true", "x" * 200_000), ArgumentsTooLongError)
    assert isinstance(failure("true", env={**PATH, "X": "x" * 200_000}), ArgumentsTooLongError)


@pytest.mark.parametrize("cwd", ["/no/such/directory", "/etc/passwd"])
def test_missing_directory(cwd: str) -> None:
    error = failure("true", cwd=cwd)

    assert isinstance(error, BadDirectoryError)
    assert cwd in str(error)


@pytest.mark.usefixtures("other_thread")
def test_missing_directory_and_program_beside_other_threads(tmp_path: Path) -> None:
    assert isinstance(failure("true", cwd="/no/such/directory"), BadDirectoryError)
    assert isinstance(failure("./true", cwd=str(tmp_path)), CommandNotFoundError)


@pytest.mark.parametrize("name", ["true", "./true"])
def test_forbidden_directory(name: str) -> None:
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as forbidden:  # tmp_path lies in one that forbids too
        os.chmod(forbidden, 0o600)
        with not_root():
            error = failure(name, cwd=forbidden)

    assert isinstance(error, BadDirectoryError)
    assert "permission denied" in str(error)
    assert os.getcwd() == here


def test_out_of_open_files_at_any_point(start: Start) -> None:
    """However few fds are left, the spawn works or fails without a trace."""
    free = os.dup(0)
    os.close(free)
    outcomes: list[PtymuxError] = []
    for left in range(10):
        try:
            with soft_limit_of_open_files(free + left):
                start("true", cwd="/")
            break
        except PtymuxError as error:
            outcomes.append(error)

    assert 3 <= len(outcomes) < 10
    assert all(isinstance(error, OutOfResourcesError) for error in outcomes)
    assert all("open files" in str(error) for error in outcomes)


def test_out_of_processes() -> None:
    with not_root(), soft_limit(resource.RLIMIT_NPROC, 0):
        error = failure("/bin/true")

    assert isinstance(error, OutOfResourcesError)
    assert error.resource == "processes"


def test_out_of_ptys(monkeypatch: pytest.MonkeyPatch) -> None:
    def openpty() -> tuple[int, int]:
        raise OSError(28, "No space left on device")  # changing kernel.pty.max hits everybody

    monkeypatch.setattr(os, "openpty", openpty)

    error = failure("true")

    assert isinstance(error, OutOfResourcesError)
    assert "kernel.pty.max" in str(error)


def test_child_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def pidfd_open(pid: int) -> int:
        raise OSError(24, "Too many open files")  # another thread was faster

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)

    assert isinstance(failure("sleep", "60"), OutOfResourcesError)


def test_closed_stdin_is_refused() -> None:
    with pytest.raises(SpawnError, match="descriptor"):
        spawn(SpawnOptions(argv=("true",), stdin_fd=999), PATH)


def test_text_that_no_system_can_take_is_refused() -> None:
    assert isinstance(failure("true", "\ud800"), InvalidValueError)
    assert isinstance(failure("true", cwd="/\0"), InvalidValueError)
    assert isinstance(failure("\ud800"), InvalidValueError)
