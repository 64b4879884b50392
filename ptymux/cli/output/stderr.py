"""What we say on stderr."""

from __future__ import annotations

import contextlib
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["print_message"]

_STUCK_SECONDS: Final = 1.0  # after which a stderr that nobody reads is told nothing
_HALF: Final = 300  # characters of a long text that are said from either end


def print_message(text: str, who: str = "ptymux") -> None:
    """Say something in one line on stderr, unless nobody would take it.

    What a terminal would act upon is taken out, so that a name cannot draw.
    """
    words = "".join(char for char in " ".join(text.split()) if char.isprintable())
    if len(words) > 2 * _HALF:
        words = f"{words[:_HALF]} ... {words[-_HALF:]}"
    line = f"{who}: {words}\n" if who else f"{words}\n"
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        # Past sys.stderr, whose buffer would be tried again at exit and change the exit code.
        if poll.poll(1000 * _STUCK_SECONDS):
            os.write(2, line.encode(errors="replace"))
