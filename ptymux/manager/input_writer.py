"""Types input into a PTY for a program: returns once all arrived, or reports how much did."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from ptymux.core.tty_lines import LONGEST_LINE, line_sizes
from ptymux.engine.input import TAKEN_BYTES
from ptymux.errors import ConnectionClosedError, InputCutError, LineTooLongError
from ptymux.link.interface import Link
from ptymux.manager.managed_pty import ManagedPty

__all__ = ["type_in"]


async def type_in(link: Link, pty: ManagedPty, data: bytes) -> int:
    """Type all of `data` into a PTY; return the number of its bytes once the terminal took them.

    Raises:
        LineTooLongError: the terminal collects lines and would cut one of these; nothing was sent.
        InputCutError: the PTY ended before it took all.
        ConnectionClosedError: the keeper died meanwhile; how much arrived is unknown.
    """
    if len(data) > LONGEST_LINE:
        longest = max(line_sizes(data))
        if longest > LONGEST_LINE and await link.is_canonical(pty.slot):
            raise LineTooLongError(longest, LONGEST_LINE)
    pty.end.is_typed_into = True
    _number, lifeline = await link.open_lifeline(pty.slot, kept=pty.attachments.kinds)
    with lifeline:
        taken = await _send_all(lifeline, data)
    if taken < len(data):
        raise InputCutError(pty.pty_id, taken, len(data))
    return taken


async def _send_all(lifeline: socket.socket, data: bytes) -> int:
    """Send `data` on a lifeline and close it for sending; return how much the terminal took."""
    loop = asyncio.get_running_loop()
    lifeline.setblocking(False)
    # If the engine ends the lifeline, its last word says more than the error.
    with contextlib.suppress(OSError):
        await loop.sock_sendall(lifeline, data)
        lifeline.shutdown(socket.SHUT_WR)
    word = b""
    with contextlib.suppress(OSError):
        while len(word) < TAKEN_BYTES and (more := await loop.sock_recv(lifeline, TAKEN_BYTES)):
            word += more
    if len(word) < TAKEN_BYTES:
        raise ConnectionClosedError("the keeper died: how much input arrived is unknown")
    return int.from_bytes(word, "little")
