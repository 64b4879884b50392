"""`ptymux wait --prompt`, with shells that know nothing of it and one that marks its prompt."""

from __future__ import annotations

import pytest

from tests.serving import Serving
from tests.timing import deadline_text


def start_shell(server: Serving) -> None:
    server.run("--name", "sh", "-e", "PS1=$ ", "bash", "--norc", "--noprofile", "-i")
    server.ok("wait", "sh", "--text", r"\$ ")


def test_it_returns_once_the_command_is_done(server: Serving) -> None:
    start_shell(server)
    offset = server.ok("send", "sh", "sleep 0.7; echo do''ne", "--enter").strip()

    told = server.json("wait", "sh", "--prompt", "--from", offset, "--timeout", deadline_text())

    assert "done" in server.ok("logs", "sh", "--plain")
    assert (told["waited_for"], told["came_true"], told["sign"]) == ("prompt", True, "foreground")
    assert told["offset"] > int(offset)


def test_a_shell_at_its_prompt_is_seen_without_another_word_of_it(server: Serving) -> None:
    start_shell(server)

    offset = server.ok("wait", "sh", "--prompt")

    assert int(offset) == server.get("sh")["buffer"]["total_written"]


@pytest.mark.slow
def test_a_busy_shell_takes_longer_than_the_timeout(server: Serving) -> None:
    start_shell(server)
    server.ok("send", "sh", "echo st''arted; sleep 1000", "--enter")
    server.ok("wait", "sh", "--text", "started")
    server.run("--name", "script", "bash", "-c", "sleep 1000; true")

    for pty in ("sh", "script"):
        status, text = server.refused("wait", pty, "--prompt", "--timeout", "600ms")
        assert (status, "timeout" in text) == (124, True)


def test_output_from_an_offset_on_has_to_come_first(server: Serving) -> None:
    start_shell(server)

    status, _text = server.refused("wait", "sh", "--prompt", "--from", "now", "--timeout", "600ms")

    assert status == 124


def test_a_mark_of_the_shell_counts_at_once(server: Serving) -> None:
    server.run("--name", "x", "-c", r"printf 'hello\033]133;A\007$ '; sleep 1000; true")

    told = server.json("wait", "x", "--prompt", "--from", "0", "--timeout", deadline_text())

    assert told["sign"] == "mark"


def test_a_pty_that_ends_first_is_told(server: Serving) -> None:
    pty = server.run("--name", "x", "-c", "sleep 0.5; exit 3")

    status, text = server.refused("wait", "x", "--prompt")

    assert (status, "ended before (exited (3))" in text) == (1, True)
    assert server.refused("wait", pty, "--prompt")[0] == 1


def test_it_excludes_the_other_ways_to_wait(server: Serving) -> None:
    assert server.refused("wait", "x", "--prompt", "--text", "y")[0] == 2
    assert server.refused("wait", "x", "--quiet", "1s", "--from", "0")[0] == 2


def test_question_of_any_program_is_waited_for(server: Serving) -> None:
    server.sh("sh -c 'read x; echo got $x; read y; sleep 60'", name="asks")
    server.ok("wait", "asks", "--input")

    offset = server.ok("send", "asks", "one", "--enter").strip()
    server.ok("wait", "asks", "--input", "--from", offset)

    assert "got one" in server.ok("logs", "asks")
    done = server.world.run("wait", "asks", "--input", "--prompt")
    assert (done.returncode, b"exclude each other" in done.stderr) == (2, True)


def test_pty_that_ends_without_a_question(server: Serving) -> None:
    server.sh("read x < /dev/null; exit 3", name="ends")

    done = server.world.run("wait", "ends", "--input")

    assert (done.returncode, b"ended before (exited (3))" in done.stderr) == (1, True)
