"""A dialogue's control characters, and its `interact`: our terminal connected with a PTY.

`ptymux attach` does more.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Final

from ptymux.client.pty_reader import PtyReader
from ptymux.posix.tty import raw_mode

__all__ = ["CONTROLS", "pass_through", "write_fully"]

# Source: sendcontrol of ptyprocess, whose users expect the same.
CONTROLS: Final = {
    **{chr(ord("a") + i): i + 1 for i in range(26)},
    **dict.fromkeys("@`", 0),
    **dict.fromkeys("[{", 27),
    **dict.fromkeys("\\|", 28),
    **dict.fromkeys("]}", 29),
    **dict.fromkeys("^~", 30),
    "_": 31,
    "?": 127,
}

_KEYS: Final = 1000
_LOOK_SECONDS: Final = 0.05  # for a server, while there is none


def pass_through(
    keyboard: int,
    reader: PtyReader,
    show: Callable[[], bool],
    type_: Callable[[bytes], bool],
) -> None:
    """Pass keys from the terminal `keyboard` to `type_`, and call `show` when there is output.

    The terminal is in raw mode. It ends once either returns False, or the terminal hung up.

    Raises:
        NotATerminalError: `keyboard` is none.
    """
    with raw_mode(keyboard):
        while show():
            poll = select.poll()
            poll.register(keyboard, select.POLLIN)
            if reader.fileno() >= 0:
                poll.register(reader, select.POLLIN)
            ready = poll.poll(None if reader.fileno() >= 0 else 1000 * _LOOK_SECONDS)
            if any(fd == keyboard for fd, _events in ready):
                keys = _keys(keyboard)
                if not keys or not type_(keys):
                    return


def write_fully(fd: int, data: bytes) -> None:
    """Write all of `data` to a terminal or a file."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _keys(keyboard: int) -> bytes:
    try:
        keys = os.read(keyboard, _KEYS)
    except OSError:  # EIO: it hung up
        keys = b""
    return keys
