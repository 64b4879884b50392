"""The time windows of ptymux: how long it waits when only time can show what happened.

A terminal that was silent for 0.2 s has probably nothing more to print. A program that got HUP has
probably cleaned up after 0.3 s. Such numbers are guesses about other programs. They stand here in
one value, which is passed on, so that a test can make each of them longer for a slow machine, or as
short as it likes. `PTYMUX_WINDOWS` sets them for a process and for the server that it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from ptymux.core.model import DEFAULT_GRACE_SECONDS
from ptymux.errors import InvalidValueError

__all__ = ["VARIABLE", "Windows"]

VARIABLE: Final = "PTYMUX_WINDOWS"  # in the environment: `typing=1,hangup=0.05`


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Seconds, each for one thing that may need time."""

    typing: float = 0.1  # after a key, in which output counts as its answer
    tail_silence: float = 0.2  # of a terminal that others hold after the child's end, to close it
    tail: float = 1.0  # for all that such a terminal may still say
    paused_end: float = 10.0  # for the consumer that an ended PTY in `block` waits for
    count_paused: float = 0.5  # between two updates of `held_ms` while a terminal is paused
    hangup: float = 0.3  # from HUP to TERM, for programs that clean up at HUP
    grace: float = DEFAULT_GRACE_SECONDS  # from TERM to KILL, of sessions that no manager ends
    scan: float = 0.01  # between two scans of such sessions
    close: float = 1.5  # for the engine to close the terminal once its session is gone
    nudge: float = 0.05  # that a terminal keeps another size, so that its program repaints
    stale: float = 0.3  # after ^C, in which what was interrupted is still shown only in part
    last_words: float = 1.0  # for a full terminal to take what restores it, and our last line
    replacement: float = 1.8  # for a server that hangs up on whoever comes to be replaced
    hello: float = 0.5  # for a server to answer the dashboard, which draws nothing meanwhile
    no_answer: float = 2.0  # after which the dashboard says that the server does not answer
    leave: float = 0.5  # for a full terminal to take what ends the dashboard
    suggestion: float = 0.5  # for a server to name PTYs, to complete a word or mend a mistake
    launch: float = 20.0  # for a program on a file system that does not answer to start
    kill_launch: float = 0.5  # from a request to end such a PTY until nobody waits for it
    restart: float = 10.0  # for a restart to be done, or given up with everything as it was
    start: float = 10.0  # for the first server to serve, whom a client has started
    clients_return: float = 10.0  # for the clients of a dead server to attach to the next one
    last_input: float = 5.0  # for a terminal to take what a client typed before it left
    come: float = 2.0  # for a new server to come; doubled after each one that did not
    quick: float = 2.0  # a server or zygote that lived no longer will probably die again at once
    again: float = 0.1  # before another try to start one; doubled with each failure in a row
    check: float = 2.0  # between two checks by a keeper of what it has no event for

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Windows:
        """Return the windows that `environ` sets, the others as they are by default.

        Raises:
            InvalidValueError: there is no window of such a name, or it is no number of seconds.
        """
        given: dict[str, float] = {}
        names = {each.name for each in fields(cls)}
        for part in filter(None, environ.get(VARIABLE, "").split(",")):
            name, _, seconds = part.partition("=")
            try:
                given[name] = float(seconds)
            except ValueError:
                given[name] = -1.0
            if name not in names or not 0 <= given[name] < 1e6:
                expected = f"NAME=SECONDS with a name of {', '.join(sorted(names))}"
                raise InvalidValueError(VARIABLE, part, expected)
        return cls(**given)
