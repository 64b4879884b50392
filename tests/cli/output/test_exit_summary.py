from __future__ import annotations

from typing import Any

import pytest

from ptymux.cli.output.exit_summary import exit_code, summary, title


def ended(**different: Any) -> dict[str, Any]:
    pty: dict[str, Any] = {"number": 3, "name": None, "command": ["/usr/bin/make", "-j8"], "pid": 7}
    pty |= {"exit_code": 2, "signal": None, "shown": "exited (2)"}
    pty |= {"created_at": 100.0, "updated_at": 141.0}
    return pty | {"buffer": {"total_written": 12_300_000, "total_dropped": 0}} | different


@pytest.mark.parametrize(
    ("name", "command", "called"),
    [
        (None, ["/usr/bin/make", "-j8"], "make"),
        ("web", ["/usr/bin/make", "-j8"], "web"),
        (None, ["/bin/sh", "-c", "make && make test", "/bin/sh"], "make && make test"),
        (None, ["/usr/bin/python3", "-u", "app/worker.py", "-v"], "worker.py"),
        (None, ["grep", "-c", "x", "file"], "grep"),
        (None, ["sh", "-c"], "sh"),
        (None, [], "?"),
        (None, ["a\x1b[31mb"], "a[31mb"),
        (None, ["x" * 100], "x" * 40),
    ],
)
def test_a_pty_is_called_by_its_name_its_line_or_its_program(
    name: str | None, command: list[str], called: str
) -> None:
    assert title({"name": name, "command": command}) == called


def test_the_summary_says_how_it_ended_and_where_its_output_is() -> None:
    told = summary(ended())

    assert told == "[make: exit 2, 41 s, 12.3 MB, 0 dropped; ptymux logs 3]"
    assert summary(ended(), is_kept=False) == "[make: exit 2, 41 s, 12.3 MB, 0 dropped]"


def test_the_summary_says_how_many_bytes_may_be_missing() -> None:
    assert ", 0 dropped, 1 byte uncertain;" in summary(ended(uncertain=1))
    assert ", 0 dropped, 3 bytes uncertain]" in summary(ended(uncertain=3), is_kept=False)


def test_the_summary_tells_a_signal_and_a_status_that_is_unknown() -> None:
    assert ": killed (KILL), " in summary(ended(signal=9, shown="killed (KILL)"))
    assert ": exit unknown, " in summary(ended(exit_code=None))
    assert ": failed to start, " in summary(ended(exit_code=None, pid=None))


@pytest.mark.parametrize(
    ("exited", "signum", "code"), [(0, None, 0), (7, None, 7), (None, 9, 137), (None, None, 125)]
)
def test_the_exit_code_is_that_of_the_command(
    exited: int | None, signum: int | None, code: int
) -> None:
    assert exit_code({"exit_code": exited, "signal": signum}) == code


@pytest.mark.parametrize(("exited", "signum"), [(0, None), (7, None), (None, 15), (None, 9)])
def test_after_its_timeout_it_is_124_however_it_ended(
    exited: int | None, signum: int | None
) -> None:
    pty = ended(exit_code=exited, signal=signum, shown="timed out", timed_out=True)

    assert exit_code(pty) == 124
    assert summary(pty).startswith("[make: timed out, ")
