"""The registry: one record for each PTY, found by id, number, name, lane or session."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypedDict, TypeVar, Unpack

from ptymux.core.lifecycle import LIVE, shown_of
from ptymux.core.model import LaneId, PtyId, PtyRecord, SessionId, TerminalId, WindowSize
from ptymux.core.units import printable
from ptymux.errors import (
    AmbiguousPtyError,
    DuplicatePtyError,
    LimitReachedError,
    NameTakenError,
    UnknownPtyError,
)

__all__ = ["Changes", "Registry"]

_LIVE = frozenset(state.value for state in LIVE)

_COMMAND_SHOWN = 40  # characters, in an error

Key = TypeVar("Key", LaneId, SessionId)


class Changes(TypedDict, total=False):
    """The fields of a `PtyRecord` that an update may change; its id and number never change."""

    lane_id: LaneId
    session_id: SessionId
    terminal_id: TerminalId
    command: tuple[str, ...]
    cwd: str
    size: WindowSize
    state: str
    name: str | None
    pid: int | None
    spawn_ms: float | None
    env_names: tuple[str, ...]
    suspended: bool
    tail_pending: bool
    exit_code: int | None
    signal: int | None
    reason: str | None
    timed_out: bool


class Registry:
    """All PTYs, live and ended; at most `capacity` of them are live.

    A lookup by id, number or name takes the same time however many PTYs there are, and so does
    the count of live ones. A refused operation changes nothing.
    """

    def __init__(self, capacity: int = 300) -> None:
        self.capacity = capacity
        self._records: dict[PtyId, PtyRecord] = {}
        self._numbers: dict[str, PtyId] = {}
        self._lanes: dict[LaneId, dict[PtyId, None]] = {}  # a dict as an ordered set
        self._sessions: dict[SessionId, dict[PtyId, None]] = {}
        self._holders: dict[str, list[tuple[int, PtyId]]] = {}  # live PTYs of a name, by number
        self._live_count = 0

    @property
    def live_count(self) -> int:
        """The number of PTYs that have not ended."""
        return self._live_count

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[PtyRecord]:
        """Iterate over a copy of the records, in the order of registration."""
        return iter(tuple(self._records.values()))

    def __contains__(self, pty_id: object) -> bool:
        return pty_id in self._records

    def register(self, record: PtyRecord, *, restored: bool = False) -> None:
        """Add a PTY; a `restored` one may share its name, as older servers allowed.

        Raises:
            DuplicatePtyError: its id or its number is taken.
            NameTakenError: it is live, and another live one has its name.
            LimitReachedError: it is live, and `capacity` others are live too.
        """
        if record.pty_id in self._records:
            raise DuplicatePtyError(record.pty_id)
        if str(record.number) in self._numbers:
            raise DuplicatePtyError(str(record.number))
        if not restored:
            self._check_name(record)
        self._check_room(record)
        self._records[record.pty_id] = record
        self._numbers[str(record.number)] = record.pty_id
        _enter(self._lanes, record.lane_id, record.pty_id)
        _enter(self._sessions, record.session_id, record.pty_id)
        self._count_in(record)

    def get(self, pty_id: PtyId) -> PtyRecord:
        """Return the record of a PTY.

        Raises:
            UnknownPtyError: there is no PTY with this id.
        """
        try:
            return self._records[pty_id]
        except KeyError:
            raise UnknownPtyError(pty_id) from None

    def update(self, pty_id: PtyId, *, at: float, **changes: Unpack[Changes]) -> PtyRecord:
        """Change fields of a PTY, with `at` as the time of the update; return the new record.

        Raises:
            UnknownPtyError: there is no PTY with this id.
            NameTakenError: another live PTY has the new name.
            LimitReachedError: an ended PTY would become live, and `capacity` others are live.
        """
        old = self.get(pty_id)
        new = replace(old, updated_at=at, **changes)
        if old.state not in _LIVE or new.name != old.name:
            self._check_name(new)
        if old.state not in _LIVE:
            self._check_room(new)
        self._count_out(old)
        self._records[pty_id] = new
        if new.lane_id != old.lane_id:
            _leave(self._lanes, old.lane_id, pty_id)
            _enter(self._lanes, new.lane_id, pty_id)
        if new.session_id != old.session_id:
            _leave(self._sessions, old.session_id, pty_id)
            _enter(self._sessions, new.session_id, pty_id)
        self._count_in(new)
        return new

    def remove(self, pty_id: PtyId) -> PtyRecord:
        """Remove a PTY and return its last record.

        Raises:
            UnknownPtyError: there is no PTY with this id.
        """
        record = self.get(pty_id)
        self._count_out(record)
        del self._records[pty_id]
        del self._numbers[str(record.number)]
        _leave(self._lanes, record.lane_id, pty_id)
        _leave(self._sessions, record.session_id, pty_id)
        return record

    def remove_many(self, pty_ids: Iterable[PtyId]) -> tuple[PtyRecord, ...]:
        """Remove all these PTYs, or none of them.

        Raises:
            UnknownPtyError: there is no PTY with one of these ids; none was removed.
        """
        wanted = tuple(dict.fromkeys(pty_ids))
        for pty_id in wanted:
            self.get(pty_id)
        return tuple(self.remove(pty_id) for pty_id in wanted)

    def by_lane(self, lane_id: LaneId) -> tuple[PtyRecord, ...]:
        """Return the PTYs of a lane, in the order in which they joined it."""
        return tuple(self._records[pty_id] for pty_id in self._lanes.get(lane_id, ()))

    def by_session(self, session_id: SessionId) -> tuple[PtyRecord, ...]:
        """Return the PTYs of a session, in the order in which they joined it."""
        return tuple(self._records[pty_id] for pty_id in self._sessions.get(session_id, ()))

    def holder(self, name: str) -> PtyRecord | None:
        """Return the live PTY that has a name."""
        return self._holder(name) if name in self._holders else None

    def find(
        self, reference: str, *, past_names: bool = False, prefixes: bool = False
    ) -> PtyRecord:
        """Return the PTY that a person means by an id, a number or a name.

        Digits only are a number. A name means the live PTY that has it; if several were restored
        with it, the one with the highest number. An ended PTY has given its name up. With
        `past_names` a name that no live PTY has means the latest ended PTY that had it; that is
        for commands that do nothing to a live PTY. With `prefixes` this holds too, and the
        beginning of an id or a name is enough; that is for commands that only read.

        Raises:
            UnknownPtyError: nothing matches.
            AmbiguousPtyError: the prefix matches several PTYs.
        """
        pty_id = PtyId(reference)
        if pty_id in self._records:
            return self._records[pty_id]
        if reference in self._numbers:
            return self._records[self._numbers[reference]]
        if reference in self._holders:
            return self._holder(reference)
        if (past_names or prefixes) and (last := self._last_holder(reference)) is not None:
            return last
        if prefixes and reference and not reference.isdigit():
            return self._by_prefix(reference)
        last = None if past_names or prefixes else self._last_holder(reference)
        if last is not None:
            raise UnknownPtyError(reference, str(last.number), shown_of(last))
        raise UnknownPtyError(reference)

    def _last_holder(self, name: str) -> PtyRecord | None:
        named = (record for record in self._records.values() if record.name == name)
        return max(named, key=lambda record: record.number, default=None)

    def _by_prefix(self, prefix: str) -> PtyRecord:
        fitting: dict[PtyId, str] = {
            pty_id: pty_id for pty_id in self._records if pty_id.startswith(prefix)
        }
        names = {name for name in self._holders if name.startswith(prefix)}
        fitting |= {self._holder(name).pty_id: name for name in names}
        if not fitting:
            raise UnknownPtyError(prefix)
        if len(fitting) > 1:
            texts = (f"{text} ({self._records[pty_id].number})" for pty_id, text in fitting.items())
            raise AmbiguousPtyError(prefix, sorted(texts))
        return self._records[next(iter(fitting))]

    def _holder(self, name: str) -> PtyRecord:
        return self._records[self._holders[name][-1][1]]

    def _check_name(self, record: PtyRecord) -> None:
        if record.state in _LIVE and record.name in self._holders:
            holder = self._holder(record.name)
            command = printable(" ".join(holder.command))
            shown = command if len(command) <= _COMMAND_SHOWN else f"{command[:_COMMAND_SHOWN]}..."
            raise NameTakenError(record.name, holder.number, shown)

    def _check_room(self, record: PtyRecord) -> None:
        if record.state in _LIVE and self._live_count >= self.capacity:
            remedy = "end one with `ptymux kill`"
            raise LimitReachedError("the number of live PTYs", self.capacity, remedy)

    def _count_in(self, record: PtyRecord) -> None:
        if record.state in _LIVE:
            self._live_count += 1
            if record.name is not None:
                insort(self._holders.setdefault(record.name, []), (record.number, record.pty_id))

    def _count_out(self, record: PtyRecord) -> None:
        if record.state not in _LIVE:
            return
        self._live_count -= 1
        if record.name is not None:
            holders = self._holders[record.name]
            holders.remove((record.number, record.pty_id))
            if not holders:
                del self._holders[record.name]


def _enter(index: dict[Key, dict[PtyId, None]], key: Key, pty_id: PtyId) -> None:
    index.setdefault(key, {})[pty_id] = None


def _leave(index: dict[Key, dict[PtyId, None]], key: Key, pty_id: PtyId) -> None:
    members = index[key]
    del members[pty_id]
    if not members:
        del index[key]
