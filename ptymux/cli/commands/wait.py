"""`ptymux wait`: returns once a PTY has ended, said something, fallen silent or changed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
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
  ptymux wait a b c && ./deploy          until all have exited, and well
  ptymux wait --any a b                  until one has; ends as that one did
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
@click.argument("ptys", nargs=-1, required=True, type=ANY_PTY, metavar="PTY...")
@click.option(
    "--exit", "for_exit", is_flag=True, help="Until it has exited, and end as it did; the default."
)
@click.option(
    "--all", "all_of", is_flag=True, help="Of several PTYs until all have exited: the default."
)
@click.option("--any", "any_of", is_flag=True, help="Of several PTYs until one has exited.")
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
    ptys: tuple[str, ...],
    for_exit: bool,
    all_of: bool,
    any_of: bool,
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
    needs_one = _check_choice(chosen, start)
    if all_of and any_of:
        raise click.UsageError("--all and --any exclude each other")
    if needs_one and (len(ptys) > 1 or all_of or any_of):
        raise click.UsageError("of several PTYs only the exit can be waited for")
    if len(ptys) > 1:
        return _wait_for_several(ptys, timeout, any_of=any_of, as_json=as_json)
    pty = ptys[0]
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


def _check_choice(chosen: Mapping[str, object], start: int | str | None) -> bool:
    """Check that one thing is waited for at most; return whether it is of one PTY only."""
    given = {name for name, one in chosen.items() if one is not None}
    if len(given) > 1:
        raise click.UsageError(_EXCLUDING)
    if start is not None and not given & {"text", "prompt", "input"}:
        raise click.UsageError("--from needs --text, --prompt or --input")
    return bool(given - {"exit"})


def _wait_for_several(
    words: tuple[str, ...], timeout: float | None, *, any_of: bool, as_json: bool
) -> int:
    from ptymux.cli.waiting.conditions import for_exits

    try:
        with _limited(timeout):
            found = {pty["pty_id"]: word for word in words for pty in [_find(word)]}
            facts = for_exits([{"pty_id": pty_id} for pty_id in found], any_of=any_of)
    except _TimeoutError:
        print_message(f"PTYs {', '.join(words)}: it took longer than the timeout")
        return _TIMEOUT
    if as_json:
        print_json(**facts)
    else:
        for each in facts["exits"]:
            print_text(f"{found[each['pty_id']]} {each['code']}")
    return int(facts["code"])


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
