"""`ptymux send` and `ptymux wait`: typing into a PTY, and waiting for what it says."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from ptymux.client import stream
from tests.e2e.conftest import Tty
from tests.serving import Serving
from tests.timing import deadline_text, wait_until
from tests.world import World

ANSWERS = "while read line; do echo got $line; done"


@pytest.mark.requirement("FR-010")
def test_text_and_keys_arrive(server: Serving) -> None:
    server.sh("stty raw -echo; echo up; head -c 17 | od -An -c -w20; read x", name="a")
    server.ok("wait", "a", "--text", "up")

    server.ok("send", "a", "a b", "c", "--key", "Up", "--key", "C-c", "--key", "F5", "--enter")
    server.ok("send", "a", "xy")

    found = server.ok("wait", "a", "--text", "a .*y")
    assert found.split()[1:] == [*"abc", "033", "[", "A", "003", "033", *"[15~", r"\r", "x", "y"]


@pytest.mark.requirement("FR-010")
def test_1_mb_from_stdin_arrives_whole(server: Serving) -> None:
    data = bytes(range(256)) * 4000
    server.sh(f"stty raw -echo; echo up; head -c {len(data)} | sha256sum; read x", name="a")
    server.ok("wait", "a", "--text", "up")

    assert server.world.run("send", "a", "--raw", "--stdin", input=data).returncode == 0

    server.ok("wait", "a", "--text", hashlib.sha256(data).hexdigest())


def shows_input(server: Serving, modes: str) -> None:
    """Start a program that switched modes on and shows what it is sent."""
    server.sh(f"stty raw -echo; printf '{modes}'; echo up; cat -v", name="a")
    server.ok("wait", "a", "--text", "up")


def test_paste_is_marked_if_wanted_and_cannot_end_itself(server: Serving) -> None:
    shows_input(server, r"\033[?2004h")

    server.world.run("send", "a", "--paste", "--stdin", input=b"x\x1b[201~y\x1b[20\x1b[201~1~z")

    assert "^[[200~xyz^[[201~" in server.ok("wait", "a", "--text", r".*z.*201~")


def test_paste_is_typed_where_nobody_wants_marks(server: Serving) -> None:
    shows_input(server, r"\033[?2004h\033[?2004l")

    server.ok("send", "a", "--paste", "x\nz")

    assert "200~" not in server.ok("wait", "a", "--text", r"x\^Mz")


def test_new_line_is_enter_unless_raw(server: Serving) -> None:
    shows_input(server, "")

    server.ok("send", "a", "one\ntwo\r\n")
    server.world.run("send", "a", "--stdin", input=b"three\n")
    server.ok("send", "a", "--raw", "four\nz")

    assert "one^Mtwo^Mthree^Mfour" in server.ok("wait", "a", "--text", r".*four\nz")


def test_keys_are_those_of_the_modes(server: Serving) -> None:
    shows_input(server, r"\033[?1h\033[?67h")

    server.ok(
        "send", "a", "z", *["--key", "Down", "--key", "C-Down", "--key", "Home", "--key", "BSpace"]
    )

    assert "z^[OB^[[1;5B^[OH^H" in server.ok("wait", "a", "--text", r"z.*OH\^H")


def test_modes_are_known_after_a_kill_of_the_server_and_when_evicted(own_server: Serving) -> None:
    line = r"stty raw -echo; printf '\033[?1hup'; head -c 1 >/dev/null; "
    line += "head -c 300000 /dev/zero; echo evicted; exec cat -v"
    own_server.ok("run", "-d", "--name", "a", "--buffer-size", "64k", "--", "sh", "-c", line)
    own_server.ok("wait", "a", "--text", "up")
    own_server.ok("send", "a", "x")
    own_server.ok("wait", "a", "--text", "evicted")
    own_server.kill_server()

    own_server.ok("send", "a", "z", "--key", "Up")

    assert "z^[OA" in own_server.ok("wait", "a", "--text", r"z\^.*A")


@pytest.mark.requirement("FR-010")
def test_a_line_that_the_terminal_would_cut_is_refused(server: Serving) -> None:
    server.sh(ANSWERS, name="a")

    for words, data in (((), b"x" * 4096), (("y" * 96,), b"x" * 4000)):
        done = server.world.run("send", "a", *words, "--stdin", input=data)
        assert done.returncode == 125
        assert b"4096 bytes is longer than the 4095" in done.stderr


@pytest.mark.requirement("FR-010")
def test_pty_that_ends_meanwhile_tells_how_much_it_took(server: Serving) -> None:
    server.sh("stty raw -echo; echo up; head -c 9 >/dev/null; exit 3", name="a")
    server.ok("wait", "a", "--text", "up")

    done = server.world.run("send", "a", "--stdin", input=b"x" * 1_000_000)

    assert done.returncode == 125
    assert b" bytes of input" in done.stderr
    assert done.stdout == b""


def test_options_end_where_the_text_begins(server: Serving) -> None:
    server.sh(f"stty -echo; echo up; {ANSWERS}", name="a")
    server.ok("wait", "a", "--text", "up")

    server.ok("send", "a", "ls", "-la", "--color", "--enter")
    server.ok("send", "a", "--enter", "--", "-x", "--enter")
    server.ok("send", "a", "sort", "--key", "2", "--json", "--key", "Enter")

    server.ok("wait", "a", "--text", "^got ls -la --color$")
    server.ok("wait", "a", "--text", "^got -x --enter$")
    server.ok("wait", "a", "--text", "^got sort --key 2 --json$")
    for words in (("a", "--entr"), ("a", "-x"), ("--entr", "a", "x")):
        assert server.refused("send", *words)[0] == 2


def test_on_a_terminal_send_says_what_its_number_is_and_what_was_text(
    server: Serving, tty: Tty
) -> None:
    server.sh("sleep 1000", name="a")

    tty.run("send", "a", "x", "--paste", "Enter")

    assert tty.wait() == 0
    assert tty.shown.startswith(b"0\r\n[the offset of the output before it, for `ptymux wait a")
    assert b"[--paste was typed as text; options stand before it]" in tty.shown
    assert b"[Enter was typed as text; --key Enter presses it]" in tty.shown


def test_nothing_to_send_is_a_usage_error(world: World) -> None:
    assert world.run("send", "a").returncode == 2
    assert world.run("send", "a", "--key", "Bogus").returncode == 2


@pytest.mark.slow
@pytest.mark.requirement("FR-010")
def test_wait_from_send_never_matches_an_echo_of_the_past(server: Serving) -> None:
    server.sh(f"stty -echo; echo up; {ANSWERS}", name="a")
    server.ok("wait", "a", "--text", "up")

    for turn in range(8):
        offset = server.ok("send", "a", f"same {turn % 2}", "--enter").strip()
        found = server.ok("wait", "a", "--from", offset, "--text", "got same [01]").split()
        assert found[1:] == ["got", "same", str(turn % 2)]
        assert int(found[0]) >= int(offset)


@pytest.mark.slow
@pytest.mark.requirement("FR-012")
def test_ready_is_never_missed(server: Serving) -> None:
    for turn in range(10):
        server.sh("printf READY; sleep 100", name=f"srv{turn}")
        server.ok("wait", f"srv{turn}", "--text", "READY")


@pytest.mark.slow
@pytest.mark.requirement("FR-012")
def test_output_right_before_the_exit_is_complete(server: Serving) -> None:
    for turn in range(8):
        pty = server.sh(f"printf last-{turn}; exit 5", name=f"p{turn}")["pty_id"]
        assert server.world.run("wait", pty).stdout == b"5\n"
        assert server.ok("logs", pty) == f"last-{turn}"
        assert server.ok("wait", pty, "--text", f"last-{turn}$") == f"0 last-{turn}\n"


def test_match_is_told_at_its_offset_without_escape_codes(server: Serving) -> None:
    pty = server.sh(r"printf 'x\n\033[1mREA\033[0mDY\n'", name="a")["pty_id"]
    server.call("wait", pty=pty)

    done = server.json("wait", pty, "--text", "^R.*Y$")

    assert (done["schema"], done["came_true"]) == (1, True)
    assert (done["text"], done["offset"], done["end"]) == ("READY", 7, 16)


@pytest.mark.parametrize(
    ("script", "regex", "found"),
    [
        (r"printf 'Load 10%%\rLoad 20%%\rLoad 30%%\r\n'", "^Load 20%", "Load 20%"),
        (r"printf 'one\033[5;5Htwo'", "^two$", "two"),
        (r"printf 'one\vtwo\fthree'", "^three$", "three"),
        (r"printf 'wrong\033[2K\rright\n'", "^right$", "right"),
        (r"printf 'na\207ve\n'", "na.ve", None),
    ],
)
def test_text_is_what_a_person_sees(
    server: Serving, script: str, regex: str, found: str | None
) -> None:
    pty = server.sh(script)["pty_id"]
    server.call("wait", pty=pty)

    told = server.json("wait", pty, "--text", regex)

    assert found in (told["text"], None)
    assert server.world.run("wait", pty, "--text", "wrong").returncode == 1


def test_pty_that_ends_first(server: Serving) -> None:
    pty = server.sh("exit 4", name="a")["pty_id"]

    for words in (("--text", "never"), ("--state", "quiet"), ("--quiet", "1m")):
        done = server.world.run("wait", pty, *words)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == f"ptymux: PTY {pty} ended before (exited (4))\n".encode()


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 124", 124), ("kill -9 $$", 137)]
)
def test_wait_ends_with_the_status_of_the_command(
    server: Serving, script: str, status: int
) -> None:
    pty = server.sh(script, name="a")["pty_id"]

    for words in ((), ("--exit",), ("--timeout", deadline_text())):
        done = server.world.run("wait", pty, *words)
        assert (done.returncode, done.stdout, done.stderr) == (status, b"%d\n" % status, b"")
    done = server.world.run("wait", pty, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == told["code"] == status
    assert told["came_true"]
    assert "timed_out" not in told


def test_several_are_waited_for_until_all_have_exited(server: Serving) -> None:
    for name, status in (("a", 0), ("b", 3), ("c", 4)):
        server.sh(f"exit {status}", name=name)

    done = server.world.run("wait", "a", "b", "c")
    assert (done.returncode, done.stdout) == (3, b"a 0\nb 3\nc 4\n")
    told = json.loads(server.world.run("wait", "--all", "c", "a", "--json").stdout)
    assert (told["code"], [each["code"] for each in told["exits"]]) == (4, [4, 0])
    assert server.refused("wait", "a", "b", "--text", "x")[0] == 2
    assert server.refused("wait", "a", "nope")[0] == 125


def test_of_several_the_first_that_exits_is_enough(server: Serving) -> None:
    server.sh("read x; exit 5", name="a")
    server.sh("sleep 1000", name="b")
    with server.world.start("wait", "--any", "b", "a", stdout=subprocess.PIPE) as waiting:
        assert server.world.run("wait", "a", "b", "--any", "--timeout", "1ms").returncode == 124
        server.ok("send", "a", "--enter")

        assert waiting.communicate()[0] == b"a 5\n"
    assert waiting.returncode == 5


def test_what_does_not_wait_for_the_exit_is_0_when_it_came_true(server: Serving) -> None:
    pty = server.sh("echo said; exit 3", name="a")["pty_id"]

    assert server.ok("wait", pty, "--text", "said") == "0 said\n"
    assert server.ok("wait", pty, "--state", "exited (3)") == "exited (3)\n"


def test_json_tells_a_timeout_from_a_command_that_ends_with_124(server: Serving) -> None:
    server.sh(ANSWERS, name="a")

    done = server.world.run("wait", "a", "--json", "--timeout", "1ms")

    told = json.loads(done.stdout)
    assert done.returncode == 124
    assert (told["waited_for"], told["came_true"], told["timed_out"]) == ("exit", False, True)
    assert (told["exit_code"], told["shown"]) == (None, "running")


def test_timeout_is_124(server: Serving) -> None:
    server.sh(ANSWERS, name="a")

    for words in ((), ("--text", "never"), ("--state", "quiet"), ("--quiet", "1m")):
        done = server.world.run("wait", "a", *words, "--timeout", "100ms")
        assert (done.returncode, done.stdout) == (124, b"")


def test_a_pattern_that_takes_for_ever_hurts_only_itself(server: Serving) -> None:
    server.sh("echo " + "a" * 60 + "!; read x", name="a")
    server.await_text("a", "!")

    done = server.world.run("wait", "a", "--text", r"(a+)+\d", "--timeout", "300ms")

    assert done.returncode == 124
    assert server.get("a")["shown"] == "running"


def test_bad_pattern_is_one_line(server: Serving) -> None:
    server.sh(ANSWERS, name="a")

    done = server.world.run("wait", "a", "--text", "(")

    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


def test_quiet(server: Serving) -> None:
    server.sh("for i in 1 2 3 4; do echo $i; done; sleep 100", name="a")
    wait_until(lambda: server.get("a")["buffer"]["total_written"] == 12)

    offset = server.ok("wait", "a", "--quiet", "100ms")

    assert int(offset) == 12


def test_from_now_looks_at_no_past(server: Serving) -> None:
    server.sh("stty -echo; echo mark; while read x; do echo later mark; done", name="a")
    server.await_text("a", "mark")
    words = ("wait", "a", "--from", "now", "--text", "(later )?mark")
    with (
        server.connect() as connection,
        server.world.start(*words, stdout=subprocess.PIPE) as waiting,
    ):

        def has_come() -> bool:
            """Have it said once more; what was said before `wait` began does not count."""
            stream.send(connection, "a", b"\n")
            return waiting.poll() is not None

        wait_until(has_come, "a mark that is new")
        out = waiting.communicate()[0]

    assert out.endswith(b" later mark\n")


def test_waiting_goes_on_when_the_server_is_killed(own_server: Serving) -> None:
    own_server.sh("read x; echo said; exit 6", name="a")
    pipe = subprocess.PIPE
    with (
        own_server.world.start("wait", "a", "--text", "said", stdout=pipe) as said,
        own_server.world.start("wait", "a", stdout=pipe) as ended,
    ):
        wait_until(lambda: own_server.call("status")["connections"] > 2)
        own_server.kill_server()
        own_server.ok("send", "a", "--enter")  # whether they are back already or not

        assert said.communicate()[0].endswith(b" said\n")
        assert ended.communicate()[0] == b"6\n"
