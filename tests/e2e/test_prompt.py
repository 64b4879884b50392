"""`ptymux wait --prompt`, with shells that know nothing of it and one that marks its prompt."""

from __future__ import annotations

import time

from tests.e2e.serving import Served
from tests.timing import deadline_text


def start_shell(served: Served) -> None:
    served.start("--name", "sh", "-e", "PS1=$ ", "bash", "--norc", "--noprofile", "-i")
    served.ok("wait", "sh", "--text", r"\$ ")


def test_it_returns_once_the_command_is_done(served: Served) -> None:
    start_shell(served)
    offset = served.ok("send", "sh", "sleep 0.7; echo do''ne", "--enter").strip()

    told = served.json("wait", "sh", "--prompt", "--from", offset, "--timeout", deadline_text())

    assert "done" in served.ok("logs", "sh", "--plain")
    assert (told["waited_for"], told["came_true"], told["sign"]) == ("prompt", True, "foreground")
    assert told["offset"] > int(offset)


def test_a_shell_at_its_prompt_is_seen_soon(served: Served) -> None:
    start_shell(served)
    began = time.monotonic()

    offset = served.ok("wait", "sh", "--prompt")

    assert int(offset) == served.pty("sh")["buffer"]["total_written"]
    assert time.monotonic() - began < 5


def test_a_busy_shell_takes_longer_than_the_timeout(served: Served) -> None:
    start_shell(served)
    served.ok("send", "sh", "echo st''arted; sleep 1000", "--enter")
    served.ok("wait", "sh", "--text", "started")
    served.start("--name", "script", "bash", "-c", "sleep 1000; true")

    for pty in ("sh", "script"):
        status, text = served.refused("wait", pty, "--prompt", "--timeout", "600ms")
        assert (status, "timeout" in text) == (124, True)


def test_output_from_an_offset_on_has_to_come_first(served: Served) -> None:
    start_shell(served)

    status, _text = served.refused("wait", "sh", "--prompt", "--from", "now", "--timeout", "600ms")

    assert status == 124


def test_a_mark_of_the_shell_counts_at_once(served: Served) -> None:
    served.start("--name", "x", "-c", r"printf 'hello\033]133;A\007$ '; sleep 1000; true")

    told = served.json("wait", "x", "--prompt", "--from", "0", "--timeout", deadline_text())

    assert told["sign"] == "mark"


def test_a_pty_that_ends_first_is_told(served: Served) -> None:
    served.start("--name", "x", "-c", "sleep 0.5; exit 3")

    status, text = served.refused("wait", "x", "--prompt")

    assert (status, "ended before (exited (3))" in text) == (1, True)
    assert served.refused("wait", "1", "--prompt")[0] == 1


def test_it_excludes_the_other_ways_to_wait(served: Served) -> None:
    assert served.refused("wait", "x", "--prompt", "--text", "y")[0] == 2
    assert served.refused("wait", "x", "--quiet", "1s", "--from", "0")[0] == 2
