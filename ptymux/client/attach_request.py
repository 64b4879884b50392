"""One value that says how to attach to a PTY, now or once more after its server was replaced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["AttachRequest"]

_ATTENDING: Final = frozenset({"consumer", "lossless"})  # kinds that count as attached


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """How to attach: to which PTY, from which byte of its output on, and with which lifeline.

    A lifeline is a socket to the keeper. It carries input, and while it is open the attachment
    lives, whichever server is there. One comes with `wants_input`; `lifeline` asks for one all the
    same when nothing will be typed.
    """

    pty: str  # its id, or another name of it
    kind: str = "consumer"  # of reader, as `ReaderKind` has them
    offset: int | str = (
        "oldest"  # of the first byte; "oldest" that is kept, "now" for those to come
    )
    wants_input: bool = True
    echo: bool = False  # what answers a key comes by the lifeline, too, ahead of the stream
    cols: int | None = None  # the size of the terminal that shows it
    rows: int | None = None
    lifeline: bool = False
    line: int | None = None  # number of the lifeline that an attachment has which comes back
    received_from: int | None = None  # all output from here to `offset` was received before
    inside: str | None = None  # the id of the PTY in which the output is shown
    only: bool = False  # other terminals are detached
    hangup: bool = False  # the end of the lifeline hangs the PTY up, unless we detached before

    @classmethod
    def to_read(
        cls,
        pty: str,
        kind: str = "consumer",
        offset: int | str = "oldest",
        *,
        wants_input: bool = False,
        inside: str | None = None,
    ) -> AttachRequest:
        """Return how a reader attaches: one that counts as attached has a lifeline to live by."""
        lifeline = kind in _ATTENDING
        return cls(pty, kind, offset, wants_input, lifeline=lifeline, inside=inside)

    def going_on(self, offset: int, received_from: int) -> AttachRequest:
        """Return how to attach to the next server: where it was, in the size that the PTY has."""
        return replace(
            self, offset=offset, received_from=received_from, cols=None, rows=None, only=False
        )

    def living_by(self, line: int | None) -> AttachRequest:
        """Return how to attach with the lifeline of that number, or without: not with a new one."""
        return replace(self, wants_input=False, lifeline=False, line=line)

    def params(self) -> dict[str, object]:
        """Return the parameters of the request `attach`; one that is None is not to be sent."""
        return {
            "pty": self.pty,
            "kind": self.kind,
            "offset": self.offset,
            "input": self.wants_input,
            "echo": self.echo or None,
            "cols": self.cols,
            "rows": self.rows,
            "lifeline": self.lifeline or None,
            "line": self.line,
            "received_from": self.received_from,
            "hangup": self.hangup or None,
            "only": self.only or None,
            "inside": self.inside,
        }
