"""`ptymux send` and `ptymux wait`: typing into a PTY, and waiting for what it says."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import World
from tests.e2e.server import Server, objects, running_server
from tests.timing import wait_until

ANSWERS = "while read line; do echo got $line; done"


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with running_server(world) as server:
        yield server


@pytest.mark.requirement("FR-010")
def test_text_and_keys_arrive(server: Server) -> None:
    server.start("a", "stty raw -echo; echo up; head -c 17 | od -An -c -w20; read x")
    server.text("wait", "a", "--text", "up")

    server.text("send", "a", "a b", "c", "--key", "Up", "--key", "C-c", "--key", "F5", "--enter")
    server.text("send", "a", "xy")

    found = server.text("wait", "a", "--text", "a .*y")
    assert found.split()[1:] == [*"abc", "033", "[", "A", "003", "033", *"[15~", r"\r", "x", "y"]


@pytest.mark.requirement("FR-010")
def test_1_mb_from_stdin_arrives_whole(server: Server) -> None:
    data = bytes(range(256)) * 4000
    server.start("a", f"stty raw -echo; echo up; head -c {len(data)} | sha256sum; read x")
    server.text("wait", "a", "--text", "up")

    assert server.world.run("send", "a", "--stdin", input=data).returncode == 0

    server.text("wait", "a", "--text", hashlib.sha256(data).hexdigest())


def test_paste_is_marked_and_cannot_end_itself(server: Server) -> None:
    server.start("a", "stty raw -echo; echo up; cat -v")
    server.text("wait", "a", "--text", "up")

    server.world.run("send", "a", "--paste", "--stdin", input=b"x\x1b[201~y\x1b[20\x1b[201~1~z")

    assert "^[[200~xyz^[[201~" in server.text("wait", "a", "--text", r".*z.*201~")


@pytest.mark.requirement("FR-010")
def test_a_line_that_the_terminal_would_cut_is_refused(server: Server) -> None:
    server.start("a", ANSWERS)

    for words, data in (((), b"x" * 4096), (("y" * 96,), b"x" * 4000)):
        done = server.world.run("send", "a", *words, "--stdin", input=data)
        assert done.returncode == 125
        assert b"4096 bytes is longer than the 4095" in done.stderr


@pytest.mark.requirement("FR-010")
def test_pty_that_ends_meanwhile_tells_how_much_it_took(server: Server) -> None:
    server.start("a", "stty raw -echo; echo up; head -c 9 >/dev/null; exit 3")
    server.text("wait", "a", "--text", "up")

    done = server.world.run("send", "a", "--stdin", input=b"x" * 1_000_000)

    assert done.returncode == 125
    assert b" bytes of input" in done.stderr
    assert done.stdout == b""


def test_nothing_to_send_is_a_usage_error(world: World) -> None:
    assert world.run("send", "a").returncode == 2
    assert world.run("send", "a", "--key", "Bogus").returncode == 2


@pytest.mark.requirement("FR-010")
def test_wait_from_send_never_matches_an_echo_of_the_past(server: Server) -> None:
    server.start("a", f"stty -echo; echo up; {ANSWERS}")
    server.text("wait", "a", "--text", "up")

    for turn in range(8):
        offset = server.text("send", "a", f"same {turn % 2}", "--enter").strip()
        found = server.text("wait", "a", "--from", offset, "--text", "got same [01]").split()
        assert found[1:] == ["got", "same", str(turn % 2)]
        assert int(found[0]) >= int(offset)


@pytest.mark.requirement("FR-012")
def test_ready_is_never_missed(server: Server) -> None:
    for turn in range(10):
        server.start(f"srv{turn}", "printf READY; sleep 100")
        server.text("wait", f"srv{turn}", "--text", "READY")


@pytest.mark.requirement("FR-012")
def test_output_right_before_the_exit_is_complete(server: Server) -> None:
    for turn in range(8):
        pty = server.start(f"p{turn}", f"printf last-{turn}; exit 5")
        assert server.text("wait", pty) == "5\n"
        assert server.text("logs", pty) == f"last-{turn}"
        assert server.text("wait", pty, "--text", f"last-{turn}$") == f"0 last-{turn}\n"


def test_match_is_told_at_its_offset_without_escape_codes(server: Server) -> None:
    pty = server.start("a", r"printf 'x\n\033[1mREA\033[0mDY\n'")
    server.call("wait", pty=pty)

    done = objects(server.text("wait", pty, "--text", "^R.*Y$", "--json").encode())

    assert (done["schema"], done["came_true"]) == (1, True)
    assert (done["text"], done["offset"], done["end"]) == ("READY", 7, 16)


def test_pty_that_ends_first(server: Server) -> None:
    pty = server.start("a", "exit 4")

    for words in (("--text", "never"), ("--state", "quiet"), ("--quiet", "1m")):
        done = server.world.run("wait", pty, *words)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == f"ptymux: PTY {pty} ended before (exited (4))\n".encode()


def test_timeout_is_124(server: Server) -> None:
    server.start("a", ANSWERS)

    for words in ((), ("--text", "never"), ("--state", "quiet"), ("--quiet", "1m")):
        done = server.world.run("wait", "a", *words, "--timeout", "100ms")
        assert (done.returncode, done.stdout) == (124, b"")


def test_a_pattern_that_takes_for_ever_hurts_only_itself(server: Server) -> None:
    server.start("a", "echo " + "a" * 60 + "!; read x")

    done = server.world.run("wait", "a", "--text", r"(a+)+\d", "--timeout", "300ms")

    assert done.returncode == 124
    assert server.pty("a")["shown"] == "running"


def test_bad_pattern_is_one_line(server: Server) -> None:
    server.start("a", ANSWERS)

    done = server.world.run("wait", "a", "--text", "(")

    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


def test_quiet(server: Server) -> None:
    server.start("a", "for i in 1 2 3 4; do echo $i; sleep 0.1; done; sleep 100")
    server.text("wait", "a", "--text", "1")

    offset = server.text("wait", "a", "--quiet", "600ms")

    assert int(offset) == 12


def test_from_now_looks_at_no_past(server: Server) -> None:
    server.start("a", "echo mark; read x; echo later mark; read x")
    server.text("wait", "a", "--text", "mark")
    words = ("wait", "a", "--from", "now", "--text", "(later )?mark")
    with server.world.start(*words, stdout=subprocess.PIPE) as waiting:
        wait_until(lambda: server.call("status")["connections"] > 1)
        server.text("send", "a", "--enter")
        out, _err = waiting.communicate()

    assert out.endswith(b" later mark\n")


def test_waiting_goes_on_when_the_server_is_killed(server: Server) -> None:
    server.start("a", "read x; echo said; exit 6")
    pipe = subprocess.PIPE
    with (
        server.world.start("wait", "a", "--text", "said", stdout=pipe) as said,
        server.world.start("wait", "a", stdout=pipe) as ended,
    ):
        wait_until(lambda: server.call("status")["connections"] > 2)
        server.kill()
        server.text("send", "a", "--enter")  # whether they are back already or not

        assert said.communicate()[0].endswith(b" said\n")
        assert ended.communicate()[0] == b"6\n"
