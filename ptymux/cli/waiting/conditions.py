"""Waits for the end, a state, a text or silence of a PTY, also while its server is replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from ptymux.cli.output.exit_summary import exit_code
from ptymux.cli.output.log_printer import follow
from ptymux.cli.server_lookup import chosen_path
from ptymux.client.matching import Matcher
from ptymux.client.reconnect import ServerReconnect
from ptymux.client.server_connection import ServerConnection
from ptymux.client.watches import Silence, observe
from ptymux.core.units import printable
from ptymux.errors import InvalidStateError
from ptymux.protocol.framing import Exit, Gap

__all__ = [
    "Outcome",
    "facts_of",
    "for_exit",
    "for_exits",
    "for_quiet",
    "for_state",
    "for_text",
]

# A line for people, None if the PTY ended before it came true, and the same as JSON values.
Outcome: TypeAlias = tuple[str | None, dict[str, Any]]

_LOOK_SECONDS: Final = 1.0


def for_exit(pty: Mapping[str, Any]) -> Outcome:
    """Return once the PTY has exited and its own output is complete."""
    ended = _ask(pty, until="exit")
    return str(exit_code(ended)), facts_of("exit", ended) | {"code": exit_code(ended)}


def for_exits(ptys: Sequence[Mapping[str, Any]], *, any_of: bool) -> dict[str, Any]:
    """Return once all have exited, or `any_of` them; the JSON values are of the one that decides.

    Of all this is the first that failed, else the last. `exits` has each of those that exited.
    """
    ended = [_first_ended(ptys)] if any_of else [_ask(pty, until="exit") for pty in ptys]
    exits = [facts_of("exit", pty) | {"code": exit_code(pty)} for pty in ended]
    deciding = next((each for each in exits if each["code"]), exits[-1])
    return deciding | {"exits": exits}


def _first_ended(ptys: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one that has ended, as soon as there is one; a look a second misses no event."""
    from ptymux.cli.server_lookup import repeating
    from ptymux.client.event_follower import EventFollower
    from ptymux.core.model import ENDED_STATES

    with EventFollower(chosen_path(), topics=["pty.state.changed"]) as changes:
        while True:
            for pty in ptys:
                now = repeating(partial(_look_at, pty["pty_id"]))
                if now["state"] in ENDED_STATES:
                    return _ask(pty, until="exit")
            changes.read(_LOOK_SECONDS)


def _look_at(pty_id: str, connection: ServerConnection) -> dict[str, Any]:
    found: dict[str, Any] = connection.call("get", pty=pty_id)["pty"]
    return found


def for_state(pty: Mapping[str, Any], state: str) -> Outcome:
    """Return once the PTY is in `state`, a word of machines (active) or of people (running)."""
    try:
        there = _ask(pty, until="state", state=state)
    except InvalidStateError:  # it ended and never was
        return None, facts_of("state", _ask(pty, until="exit"), came_true=False)
    return str(there["shown"]), facts_of("state", there)


def for_text(pty: Mapping[str, Any], matcher: Matcher, start: int | str) -> Outcome:
    """Return once the output from `start` on has a match."""
    has_begun = False
    for piece in follow(chosen_path(), pty["pty_id"], start, "observer"):
        if isinstance(piece, Gap):
            matcher.skip(piece.end)
            has_begun = True
            continue
        if isinstance(piece, Exit):
            found = matcher.finish()
        else:
            if not has_begun:
                matcher.skip(piece.offset)
                has_begun = True
            found = matcher.feed(piece.data)
        if found is not None:
            place = {"text": found.text, "offset": found.offset, "end": found.end}
            shown = " ".join(printable(found.text.replace("\n", " ")).split())
            return f"{found.offset} {shown}".rstrip(), facts_of("text", pty) | place
        if isinstance(piece, Exit):
            return None, facts_of("text", piece.pty, came_true=False)
    return None, facts_of("text", pty, came_true=False)


def for_quiet(pty: Mapping[str, Any], seconds: float) -> Outcome:
    """Return once nothing was written for `seconds`, from now on."""
    silence, found = observe(
        chosen_path(), pty["pty_id"], "now", lambda offset: Silence(seconds, offset)
    )
    if isinstance(found, Exit):
        return None, facts_of("quiet", found.pty, came_true=False)
    return str(silence.offset), facts_of("quiet", pty) | {"offset": silence.offset}


def _ask(pty: Mapping[str, Any], **wanted: str) -> dict[str, Any]:
    """Have the server wait; return the PTY as it is then."""

    def ask(connection: ServerConnection) -> dict[str, Any]:
        with connection:
            found: dict[str, Any] = connection.call("wait", pty=pty["pty_id"], **wanted)["pty"]
            return found

    return ServerReconnect(chosen_path()).run(ask)


def facts_of(what: str, pty: Mapping[str, Any], *, came_true: bool = True) -> dict[str, Any]:
    """Return the members that the JSON of every condition has."""
    names = ("pty_id", "state", "shown", "exit_code", "signal")
    return {"waited_for": what, "came_true": came_true} | {name: pty[name] for name in names}
