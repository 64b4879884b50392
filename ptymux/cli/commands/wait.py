"""`ptymux wait`: returns once a PTY has ended, said something, fallen silent or changed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import click

from ptymux.cli.options.param_types import DURATION, JSON_OPTION
from ptymux.cli.options.pty_names import ANY_PTY
from ptymux.cli.options.states import STATE
from ptymux.cli.output.printing import print_json, print_message, print_text
from ptymux.cli.server_lookup import repeating
from ptymux.errors import InvalidValueError, PtymuxError

__all__ = ["wait"]

_TIMEOUT: Final = 124
_EXCLUDING: Final = "--exit, --text, --quiet, --state, --prompt and --input exclude each other"

_EPILOG: Final = """\b
Examples:
  ptymux wait build && ./deploy          until it has exited; ends as it did
  ptymux wait web --text 'on port \\d+'   until it said so, now or earlier
  ptymux wait 3 --quiet 2s --timeout 1m  until it wrote nothing for 2 seconds
  ptymux wait sh --prompt                until its shell waits for a command
  ptymux wait 3 --input                  until a program asks for something
  ptymux wait 3 --state quiet
  ptymux wait 3 --text passed --from $(ptymux send 3 make test --enter)
  ptymux wait sh --prompt --from $(ptymux send sh make --enter)

--prompt: the shell marks its prompt (OSC 133;A), or is in the foreground again
and waits for input, with no output for 200 ms. Nothing has to be set up.
--input: so does any program: a nested shell, python, a question for a password.

Exit status: with --exit that of the command, as a shell's wait: 128+N after
signal N, 125 if nobody knows. Else 0 when it came true, 1 when the PTY ended
before. 124 after the timeout; --json tells that from a command's own 124.
"""


class _TimeoutError(Exception):
    """What was waited for took too long."""


def _start(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "now":
        return value
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise InvalidValueError("--from", value, "an offset in bytes, or `now`")
    return int(value)


@click.command(epilog=_EPILOG)
@click.argument("pty", type=ANY_PTY)
@click.option(
    "--exit", "for_exit", is_flag=True, help="Until it has exited, and end as it did; the default."
)
@click.option("--text", metavar="REGEX", help="Until its output matches, escape codes left out.")
@click.option("--quiet", type=DURATION, help="Until it wrote nothing for so long, from now on.")
@click.option(
    "--state",
    type=STATE,
    metavar="STATE",
    help="Until it is in this state, such as quiet or exited.",
)
@click.option("--prompt", is_flag=True, help="Until its shell is back at the prompt.")
@click.option(
    "--input", "for_input", is_flag=True, help="Until something reads the terminal and waits."
)
@click.option(
    "--from",
    "start",
    callback=_start,
    metavar="OFFSET|now",
    help="With --text, --prompt or --input, what to look at; by default all that is kept, or now.",
)
@click.option("--timeout", type=DURATION, help="Give up after so long.")
@JSON_OPTION
def wait(
    pty: str,
    for_exit: bool,
    text: str | None,
    quiet: float | None,
    state: str | None,
    prompt: bool,
    for_input: bool,
    start: int | str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Wait until PTY has exited, and end with its exit status; or wait for something else.

    What it was is printed.
    """
    chosen = {"exit": for_exit or None, "text": text, "quiet": quiet, "state": state}
    chosen |= {"prompt": prompt or None, "input": for_input or None}
    if sum(one is not None for one in chosen.values()) > 1:
        raise click.UsageError(_EXCLUDING)
    if start is not None and text is None and not (prompt or for_input):
        raise click.UsageError("--from needs --text, --prompt or --input")
    try:
        with _limited(timeout):
            line, facts = _wait(pty, text, quiet, state, prompt, for_input, start)
    except _TimeoutError:
        if as_json:
            waited_for = next((name for name, one in chosen.items() if one is not None), "exit")
            _print_timed_out(pty, waited_for)
        print_message(f"PTY {pty}: it took longer than the timeout")
        return _TIMEOUT
    if as_json:
        print_json(**facts)
    elif line is not None:
        print_text(line)
    if facts["came_true"]:
        return int(facts.get("code", 0))  # until its exit: the command's own
    print_message(f"PTY {pty} ended before ({facts['shown']})")
    return 1


def _wait(
    pty: str,
    text: str | None,
    quiet: float | None,
    state: str | None,
    prompt: bool,
    for_input: bool,
    start: int | str | None,
) -> tuple[str | None, dict[str, Any]]:
    """Wait; return the outcome as a line, None if it did not come true, and as JSON values."""
    from ptymux.cli.waiting import conditions

    if text is not None:
        from ptymux.client.matching import Matcher

        return conditions.for_text(_find(pty), Matcher(text), "oldest" if start is None else start)
    if quiet is not None:
        return conditions.for_quiet(_find(pty), quiet)
    if state is not None:
        return conditions.for_state(_find(pty), state)
    if prompt:
        from ptymux.cli.waiting.shell_prompt import for_prompt

        return for_prompt(_find(pty), start)
    if for_input:
        from ptymux.cli.waiting import shell_prompt

        return shell_prompt.for_input(_find(pty), start)
    return conditions.for_exit(_find(pty))


def _find(pty: str) -> dict[str, Any]:
    """Return the PTY, also when the server is replaced while it is asked."""
    found: dict[str, Any] = repeating(lambda connection: connection.call("get", pty=pty)["pty"])
    return found


def _print_timed_out(pty: str, waited_for: str) -> None:
    from ptymux.cli.waiting.conditions import facts_of

    with contextlib.suppress(PtymuxError):  # forgotten meanwhile; the message remains
        facts = facts_of(waited_for, _find(pty), came_true=False)
        print_json(**facts, timed_out=True)


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise _TimeoutError in the block once it took `seconds`."""
    if seconds is None:
        yield
        return

    def give_up(_signum: int, _frame: FrameType | None) -> None:
        raise _TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
