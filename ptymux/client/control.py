"""The requests that look at PTYs and change them, for programs that block."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, cast

from ptymux.client.answers import Pty, PtyRef, PtyStats, SignalDelivery, Status
from ptymux.client.closing import Closing
from ptymux.client.listing import list_ptys
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy
from ptymux.client.requests import Requests
from ptymux.client.server_connection import ServerConnection
from ptymux.core import given_values as given
from ptymux.core.model import OnFull, WindowSize
from ptymux.errors import InvalidValueError, UnknownPtyError

__all__ = ["Control", "word_for"]

_log: Final = logging.getLogger(__name__)


class Control(Closing):
    """The part of a `Client` that asks and is answered, which its docstring explains."""

    def __init__(self, connection: ServerConnection, policy: RetryPolicy = RETRY_POLICY) -> None:
        """Take over `connection`; `policy`: for how long a server may be away."""
        self.path = connection.path
        self._policy = policy
        self._requests = Requests(connection, policy)
        self._ask = self._requests.ask

    def close(self) -> None:
        """End the connections, and what other threads ask on them; again is no error."""
        self._requests.close()

    def list(
        self, *, lane: str | None = None, session: str | None = None, all: bool = False
    ) -> builtins.list[Pty]:
        """Return the live PTYs, with `all` also those that have ended, oldest first."""
        listing = list_ptys(self._ask, lane=lane, session=session, all=all)
        return cast("builtins.list[Pty]", listing.ptys)

    def get(self, pty: PtyRef) -> Pty:
        """Return a PTY as it is now.

        The beginning of its id or name will do if no other PTY's begins so.

        Raises:
            UnknownPtyError: there is none, or it was forgotten.
            AmbiguousPtyError: several begin so.
        """
        return cast(Pty, self._ask("get", pty=word_for(pty))["pty"])

    def stats(self, pty: PtyRef) -> PtyStats:
        """Return a PTY as `get` does, with its history and the signals that it got.

        Raises:
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        return cast(PtyStats, self._ask("stats", pty=word_for(pty))["pty"])

    def status(self) -> Status:
        """Return the server's version, processes, age, limits and memory."""
        return cast(Status, self._ask("status"))

    def kill(self, pty: PtyRef, grace_seconds: float | None = None) -> Pty:
        """End a PTY with all its session; return it once it is gone and its name is free.

        Its processes get TERM, and KILL after the grace, by default the PTY's own. Those that could
        not be ended, as they run as another user, are logged as a warning.

        Raises:
            UnknownPtyError: there is no such PTY; the beginning of a name is not enough.
            InvalidValueError: the grace is no time of 0 or more.
        """
        grace = None if grace_seconds is None else given.seconds("grace", grace_seconds)
        answer = self._ask("kill", ptys=[self._id_of(pty)], grace=grace)
        for survivor in answer.get("survivors", ()):
            for left in survivor["left"]:
                facts = (left["pid"], survivor["number"], left["error"])
                _log.warning("process %d of PTY %d lives on: %s", *facts)
        return cast(Pty, answer["ptys"][0])

    def signal(
        self, pty: PtyRef, signal: int | str, *, session: bool = False
    ) -> builtins.list[SignalDelivery]:
        """Send a signal, by name or number, to a PTY's processes; return what became of it.

        INT, QUIT and TSTP go to what is in the foreground, others to the first process's group,
        with `session` to the whole session.

        Raises:
            UnknownPtyError: as `kill`.
            UnknownSignalError: there is no such signal.
            ConnectionClosedError: the server died meanwhile, so that nobody knows if it was sent.
        """
        name = signal if isinstance(signal, str) else str(int(signal))
        answer = self._requests.once(
            lambda connection: connection.call(
                "signal", pty=word_for(pty), signal=name, session=session
            )
        )
        return cast("builtins.list[SignalDelivery]", answer["envelopes"])

    def remove(self, pty: PtyRef) -> None:
        """Forget a PTY that has ended, with its output.

        Raises:
            InvalidStateError: it has not ended.
            UnknownPtyError: as `kill`.
        """
        pty_id = self.get(self._id_of(pty))["pty_id"]
        with suppress(UnknownPtyError):  # the server died after it had done it
            self._ask("remove", ptys=[pty_id])

    def rename(self, pty: PtyRef, name: str) -> Pty:
        """Give a live PTY another name.

        Raises:
            UnknownPtyError: as `kill`.
            InvalidStateError: it has ended.
            InvalidValueError: no PTY can have that name.
            NameTakenError: another live PTY has it.
        """
        given.a_text("name", name)
        return cast(Pty, self._ask("rename", pty=self._id_of(pty), name=name)["pty"])

    def resize(self, pty: PtyRef, cols: int, rows: int) -> Pty:
        """Give a PTY's terminal another size.

        Raises:
            InvalidValueError, InvalidDimensionsError: both must be whole numbers, 1 to 10000.
            UnknownPtyError: as `kill`.
            InvalidStateError: it has ended.
        """
        WindowSize(cols, rows)
        answer = self._ask("resize", pty=self._id_of(pty), cols=cols, rows=rows)
        return cast(Pty, answer["pty"])

    def set_on_full(self, pty: PtyRef, on_full: OnFull | Literal["drop", "block"]) -> int:
        """Change what happens when the buffer is full; return the output's offset at the change.

        Raises:
            InvalidValueError: it is neither "drop" nor "block", or the PTY has no buffer.
            UnknownPtyError: as `kill`.
        """
        chosen = OnFull.of(on_full).value
        return int(self._ask("set", pty=self._id_of(pty), on_full=chosen)["offset"])

    def clear(self, pty: PtyRef) -> Pty:
        """Throw away the output that is kept; bytes that nobody had read count as dropped.

        Raises:
            UnknownPtyError: as `kill`.
        """
        return cast(Pty, self._ask("clear", pty=self._id_of(pty))["pty"])

    def _id_of(self, pty: PtyRef) -> str:
        """Return a PTY's id; its name may be another's by the time that a request is repeated.

        Raises:
            UnknownPtyError: none has this name; its beginning is not enough to change something.
        """
        word = word_for(pty)
        if not isinstance(pty, str | int):
            return word
        found = self.get(pty)
        if word not in (found["pty_id"], found["name"], str(found["number"])):
            raise UnknownPtyError(word)
        return found["pty_id"]


def word_for(pty: PtyRef) -> str:
    """Return what a request calls a PTY."""
    if isinstance(pty, str | int) and not isinstance(pty, bool):
        return str(pty)
    if isinstance(pty, Mapping) and isinstance(pty.get("pty_id"), str):
        return pty["pty_id"]
    raise InvalidValueError("the PTY", pty, "a name, a number, an id, or what `run` returned")
