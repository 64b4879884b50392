"""What a user of the dashboard chose: order, lane, the selected row, answers to questions."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ptymux.tui.pty_samples import SampleRow

__all__ = ["Call", "Choice", "Local", "SIGNALS", "Sort", "View", "Visit", "sort_rows"]

_REORDER_SECONDS: Final = 1.0  # rows that change places all the time cannot be read
SIGNALS: Final[Mapping[str, str]] = {
    "t": "TERM",
    "h": "HUP",
    "i": "INT",
    "u": "QUIT",  # not by q, which people press to get out
    "k": "KILL",
    "s": "STOP",
    "c": "CONT",
    "1": "USR1",
    "2": "USR2",
    "w": "WINCH",
}


class Sort(enum.StrEnum):
    """What the rows are ordered by; the key `s` goes through these in turn."""

    RATE = "rate"
    DROPS = "drops"
    TROUBLE = "trouble"
    NAME = "name"
    AGE = "age"


class Local(enum.Enum):
    """What a key asks the dashboard itself to do."""

    QUIT = "quit"
    INTERRUPT = "interrupt"
    SUSPEND = "suspend"
    REDRAW = "redraw"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the server that a key asks for, with the words for its beginning and its end."""

    method: str
    params: Mapping[str, object]
    doing: str
    done: str


@dataclass(frozen=True, slots=True)
class Visit:
    """That a key asks to leave the dashboard for a PTY, and to come back."""

    pty_id: str
    label: str
    is_live: bool


Answer: TypeAlias = Call | Local | Visit | None
_Key: TypeAlias = tuple[float | str, ...]


def _by_rate(row: SampleRow) -> _Key:
    # By powers of two, so that two floods do not change places with every sample.
    return (-int(2 * math.log2(row.rate)) if row.rate and row.rate >= 1 else 0,)


_KEYS: Final[Mapping[Sort, Callable[[SampleRow], _Key]]] = {
    Sort.RATE: _by_rate,
    Sort.DROPS: lambda row: (-row.pty.dropped_attended, -row.pty.dropped),
    Sort.TROUBLE: lambda row: (-row.trouble, *_by_rate(row)),
    Sort.NAME: lambda row: ("" if row.pty.is_named else "\U0010ffff", row.pty.name.casefold()),
    Sort.AGE: lambda row: (row.pty.created_at,),
}


def sort_rows(
    rows: Sequence[SampleRow], sort: Sort, *, is_reversed: bool = False
) -> list[SampleRow]:
    """Return the rows in order, the largest first; PTYs that have ended come last.

    Failures that nobody has looked at come before all.
    """
    key = _KEYS[sort]
    ordered = sorted(rows, key=lambda row: (*key(row), row.pty.number), reverse=is_reversed)
    return sorted(ordered, key=lambda row: (not row.pty.is_unseen, not row.pty.is_live))


@dataclass(frozen=True, slots=True)
class View:
    """The rows on the screen, and how many others there are."""

    rows: list[SampleRow]
    above: int
    below: int
    failed: int  # of these, failures that nobody has looked at


class Choice:
    """Chooses the rows to be shown, and turns keys into what is to be done."""

    def __init__(self, sort: Sort = Sort.RATE, lane: str | None = None) -> None:
        self.sort = sort
        self.lane = lane
        self.is_reversed = False
        self.shows_ended = True
        self.shows_help = False
        self.help_page = 0
        self.selected: str | None = None  # the id of a PTY
        self.top = 0  # the first row on the screen
        self.page = 1  # rows on the screen
        self.rows: list[SampleRow] = []  # all that are to be shown, in order
        self.question: str | None = None
        self.message: str = ""
        self.lanes: list[str] = []
        self._all: Sequence[SampleRow] = ()
        self._order: dict[str, int] = {}
        self._ordered_at = float("-inf")
        self._on_answer: Callable[[str], Answer] | None = None

    def update(self, rows: Sequence[SampleRow], at: float) -> None:
        """Take the rows of a new sample; their order changes at most once a second."""
        self._all = rows
        self.lanes = sorted({row.pty.lane for row in rows})
        if at - self._ordered_at >= _REORDER_SECONDS or not self._order:
            self._ordered_at = at
            self._reorder()
        self._choose()

    def press(self, key: str) -> Answer:
        """Take a key; return what others have to do for it, None if that is nothing."""
        self.message = ""
        if key == "ctrl-c":
            return Local.INTERRUPT
        if key == "ctrl-z":
            return Local.SUSPEND
        if self._on_answer is not None:
            on_answer, self._on_answer, self.question = self._on_answer, None, None
            return on_answer(key)
        if self.shows_help:
            if key == " ":
                self.help_page += 1
                return None
            self.shows_help, self.help_page = False, 0
            return Local.QUIT if key == "q" else None
        action = _ACTIONS.get(key)
        return None if action is None else action(self)

    @property
    def selected_row(self) -> SampleRow | None:
        """The selected row, None if there is none."""
        index = self._index()
        return None if index is None else self.rows[index]

    def scroll(self, room: int) -> View:
        """Return the rows that a screen shows that has room for so many lines.

        Where not all fit, a line says how many do not. Failures that nobody has looked at stay in
        sight, as far as they leave room for half as many others.
        """
        rows, count = self.rows, len(self.rows)
        lines = room if count <= room else room - 1
        failed = sum(row.pty.is_unseen for row in rows)  # they are the first ones
        fixed = 0 if count <= room else min(failed, max(1, 2 * lines // 3))
        self.page = max(1, lines - fixed)
        index = self._index()
        if index is not None and index >= fixed:
            self.top = min(max(self.top, index - fixed - self.page + 1), index - fixed)
        self.top = max(0, min(self.top, count - fixed - self.page))
        first = fixed + self.top
        shown = rows[first : first + max(0, lines - fixed)]
        below = rows[first + len(shown) :]
        return View(
            rows=[*rows[:fixed], *shown][: max(0, lines)],
            above=self.top,
            below=len(below),
            failed=failed - sum(row.pty.is_unseen for row in (*rows[:fixed], *shown)),
        )

    # Rows ------------------------------------------------------------------------------------

    def _reorder(self) -> None:
        ordered = sort_rows(self._all, self.sort, is_reversed=self.is_reversed)
        self._order = {row.pty.pty_id: index for index, row in enumerate(ordered)}

    def _choose(self) -> None:
        before = self._index()
        chosen = [
            row
            for row in self._all
            if (self.shows_ended or row.pty.is_live or row.pty.is_unseen)
            and self.lane in (None, row.pty.lane)
        ]
        last = len(self._order)  # where new ones wait to be ordered
        chosen.sort(key=lambda row: self._order.get(row.pty.pty_id, last))
        self.rows = chosen
        if before is not None and self._index() is None:  # it is gone; its place remains
            self.selected = chosen[min(before, len(chosen) - 1)].pty.pty_id if chosen else None

    def _index(self) -> int | None:
        ids = (index for index, row in enumerate(self.rows) if row.pty.pty_id == self.selected)
        return None if self.selected is None else next(ids, None)

    def _move(self, by: int) -> None:
        index = self._index()
        if index is None:
            index = self.top - 1 if by > 0 else self.top + 1
        if self.rows:
            self.selected = self.rows[max(0, min(len(self.rows) - 1, index + by))].pty.pty_id

    # What keys do ----------------------------------------------------------------------------

    def _arrange(self, sort: Sort, *, is_reversed: bool = False) -> None:
        self.sort, self.is_reversed = sort, is_reversed
        self._reorder()
        self._choose()

    def _next_sort(self) -> None:
        sorts = list(Sort)
        self._arrange(sorts[(sorts.index(self.sort) + 1) % len(sorts)])

    def _next_lane(self) -> None:
        lanes = [None, *self.lanes]
        at = lanes.index(self.lane) if self.lane in lanes else -1
        self.lane = lanes[(at + 1) % len(lanes)]
        self._choose()

    def _toggle_ended(self) -> None:
        self.shows_ended = not self.shows_ended
        self._choose()

    def _toggle_help(self) -> None:
        self.shows_help = not self.shows_help

    def _unselect(self) -> None:
        self.selected = None

    def _ask(self, question: str, on_answer: Callable[[str], Answer]) -> None:
        self.question, self._on_answer = question, on_answer

    def _target(self, *, is_live: bool) -> SampleRow | None:
        """Return the selected row if it is of that kind; say what is wrong if not."""
        row = self.selected_row
        if row is None:
            self.message = "select a row first, with the arrow keys"
        elif row.pty.is_live == is_live:
            return row
        else:
            what = "has ended" if is_live else "lives; x kills it"
            self.message = f"{_label(row)} {what}"
        return None

    def _visit(self) -> Answer:
        row = self.selected_row
        if row is None:
            self.message = "select a row first, with the arrow keys"
            return None
        following = self.rows[self.rows.index(row) + 1 :][:1]
        if row.pty.is_unseen and following and following[0].pty.is_unseen:
            self.selected = following[0].pty.pty_id  # this one will go to those that have ended
        return Visit(row.pty.pty_id, _label(row), row.pty.is_live)

    def _kill(self) -> None:
        row = self._target(is_live=True)
        if row is not None:
            call = Call("kill", {"ptys": [row.pty.pty_id]}, *_words("kill", "killed", row))
            self._confirm(f"kill {_label(row)}?", call)

    def _remove(self) -> None:
        row = self._target(is_live=False)
        if row is not None:
            call = Call("remove", {"ptys": [row.pty.pty_id]}, *_words("remov", "removed", row))
            self._confirm(f"remove {_label(row)} and its output?", call)

    def _confirm(self, question: str, call: Call) -> None:
        def answer(key: str) -> Answer:
            if key in ("y", "Y"):
                return call
            self.message = "nothing was done"
            return None

        self._ask(f"{question} y/n", answer)

    def _signal(self) -> None:
        row = self._target(is_live=True)
        if row is None:
            return
        pty_id, label = row.pty.pty_id, _label(row)

        def answer(key: str) -> Answer:
            if key not in SIGNALS:
                self.message = "nothing was sent"
                return None
            name = SIGNALS[key]
            params = {"pty": pty_id, "signal": name}
            return Call("signal", params, f"sending {name} to {label}", f"sent {name} to {label}")

        keys = " ".join(f"{key}={name}" for key, name in SIGNALS.items())
        self._ask(f"signal {label}: {keys}", answer)


def _label(row: SampleRow) -> str:
    return f"{row.pty.number} {row.pty.name}"


def _words(doing: str, done: str, row: SampleRow) -> tuple[str, str]:
    return f"{doing}ing {_label(row)}", f"{done} {_label(row)}"


_ACTIONS: Final[Mapping[str, Callable[[Choice], Answer]]] = {
    "q": lambda choice: Local.QUIT,
    "ctrl-l": lambda choice: Local.REDRAW,
    "s": Choice._next_sort,
    "r": lambda choice: choice._arrange(choice.sort, is_reversed=not choice.is_reversed),
    "l": Choice._next_lane,
    "e": Choice._toggle_ended,
    "?": Choice._toggle_help,
    "h": Choice._toggle_help,
    "enter": Choice._visit,
    "x": Choice._kill,
    "d": Choice._remove,
    "T": Choice._signal,
    "escape": Choice._unselect,
    "up": lambda choice: choice._move(-1),
    "k": lambda choice: choice._move(-1),
    "down": lambda choice: choice._move(1),
    "j": lambda choice: choice._move(1),
    "pageup": lambda choice: choice._move(-choice.page),
    "pagedown": lambda choice: choice._move(choice.page),
    "home": lambda choice: choice._move(-len(choice.rows)),
    "g": lambda choice: choice._move(-len(choice.rows)),
    "end": lambda choice: choice._move(len(choice.rows)),
    "G": lambda choice: choice._move(len(choice.rows)),
}
