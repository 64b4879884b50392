"""A keeper that was started to replace one that lives: it gets ready, and waits for a handover."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from ptymux.errors import LinkClosedError
from ptymux.handover.wire import Message
from ptymux.link.keeper_channel import KeeperChannel
from ptymux.link.launch import Installation, start_keeper

__all__ = ["Candidate", "end_child"]


class Candidate:
    """A new keeper, and the channel to it; `on_lost` is called if the channel ends by itself.

    Raises:
        OSError: open files, processes or memory; or its interpreter cannot be started.
    """

    def __init__(
        self,
        path: str,
        installation: Installation,
        on_message: Callable[[Message], None],
        on_output: Callable[[int], None],
    ) -> None:
        sock, self._pid = start_keeper(path, installation, stands_by=True)
        self._on_message = on_message
        self._warm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_lost: Callable[[str], None] = self._on_early_end
        self.channel = KeeperChannel(
            sock, self._receive, lambda reason: self.on_lost(reason), on_output
        )

    async def await_warm(self, seconds: float) -> None:
        """Return once it can take over, and be replaced itself.

        Raises:
            LinkClosedError: it ended, or has not come within `seconds`.
        """
        try:
            await asyncio.wait_for(self._warm, seconds)
        except TimeoutError:
            raise LinkClosedError(f"it was not ready within {seconds:.1f} s") from None

    def end(self) -> None:
        """Kill it and close the channel; a second call does nothing."""
        end_child(self._pid)
        self.channel.close()

    def _receive(self, message: Message) -> None:
        if message.body["op"] != "warm":
            self._on_message(message)
        elif not self._warm.done():
            self._warm.set_result(None)

    def _on_early_end(self, _reason: str) -> None:
        if not self._warm.done():
            self._warm.set_exception(LinkClosedError("it ended at once"))
            self._warm.exception()  # retrieved, in case nobody awaits it


def end_child(pid: int) -> None:
    """Kill a child of this process, and reap it; one that was reaped is no error."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
