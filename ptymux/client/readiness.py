"""An fd to poll for what holds bytes of its own beside a socket."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import Protocol

from ptymux.client.closing import Closing

__all__ = ["Readiness"]


class Source(Protocol):
    """What has an fd of its own, such as a stream."""

    def fileno(self) -> int:
        """Return the fd; -1 once closed."""
        ...


class Readiness(Closing):
    """An fd that is readable while something is held, or while its source is readable.

    It stays the same when the source is replaced. It is an epoll fd, which can be polled as any
    other can; nothing can be read from it. Source: epoll(7), questions 3 and 4.
    """

    def __init__(self) -> None:
        self._source: Source | None = None
        self._holds = False
        self._epoll = select.epoll()
        try:
            self._held = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._epoll.close()
            raise
        self._epoll.register(self._held, select.EPOLLIN)

    def fileno(self) -> int:
        """Return the fd; -1 once closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def close(self) -> None:
        """Close the fd; again is no error."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._held)

    def update(self, source: Source | None, *, holds: bool) -> None:
        """Make it readable with `source` from now on; `holds`: readable at once."""
        if self._epoll.closed:
            return
        if source is not self._source:
            self._watch(source)
        if holds and not self._holds:
            os.eventfd_write(self._held, 1)
        elif self._holds and not holds:
            os.eventfd_read(self._held)
        self._holds = holds

    def _watch(self, source: Source | None) -> None:
        if self._source is not None and self._source.fileno() >= 0:
            with suppress(OSError):
                self._epoll.unregister(self._source.fileno())
        self._source = source  # one that was closed has left the epoll by itself
        if source is not None and source.fileno() >= 0:
            self._epoll.register(source.fileno(), select.EPOLLIN)
