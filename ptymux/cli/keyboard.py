"""Carries what is typed from a terminal to a lifeline, at the pace of the lifeline."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Final

__all__ = ["Keyboard"]

_CHUNK: Final = 4096


class Keyboard:
    """Reads `fd` while the lifeline takes input; owns the lifeline.

    `on_keys` is called with what was typed, `on_gone` once when the terminal is gone.
    """

    def __init__(
        self,
        fd: int,
        lifeline: socket.socket,
        on_keys: Callable[[bytes], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._fd = fd
        self._lifeline = lifeline
        self._on_keys = on_keys
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._rest = b""

    def __enter__(self) -> Keyboard:
        self._lifeline.setblocking(False)
        self._loop.add_reader(self._fd, self._read)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._lifeline)
        self._lifeline.close()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal hung up
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)
            self._on_gone()
            return
        self._on_keys(data)
        self._send(data)

    def _send(self, data: bytes) -> None:
        """Send what the lifeline takes; stop reading keys while it takes no more."""
        try:
            sent = self._lifeline.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # the PTY ended; its end is told elsewhere
            self._loop.remove_reader(self._fd)
            return
        self._rest = data[sent:]
        if self._rest:
            self._loop.remove_reader(self._fd)
            self._loop.add_writer(self._lifeline, self._go_on)

    def _go_on(self) -> None:
        self._loop.remove_writer(self._lifeline)
        self._loop.add_reader(self._fd, self._read)
        self._send(self._rest)
