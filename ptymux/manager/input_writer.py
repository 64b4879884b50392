"""Input that arrives whole or says how much of it did."""

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
    """Return once the PTY took all of `data`: the number of its bytes.

    Raises:
        LineTooLongError: the terminal collects lines and would cut one of these; nothing was sent.
        InputCutError: the PTY ended first.
        ConnectionClosedError: the keeper died while it typed: nobody knows how much arrived.
    """
    if len(data) > LONGEST_LINE:
        longest = max(line_sizes(data))
        if longest > LONGEST_LINE and await link.is_canonical(pty.slot):
            raise LineTooLongError(longest, LONGEST_LINE)
    pty.end.is_typed_into = True
    _number, lifeline = await link.open_lifeline(pty.slot)
    with lifeline:
        taken = await _send_all(lifeline, data)
    if taken < len(data):
        raise InputCutError(pty.pty_id, taken, len(data))
    return taken


async def _send_all(lifeline: socket.socket, data: bytes) -> int:
    """Send `data`, say that it is all, and return how much of it was taken."""
    loop = asyncio.get_running_loop()
    lifeline.setblocking(False)
    # An end that the other side made is told by the last word, not by the error.
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
