"""Programs that tests start."""

from __future__ import annotations

import os
import select
import subprocess
import time
from types import TracebackType

from tests.timing import deadline_seconds

__all__ = ["Program"]


class Program(subprocess.Popen[bytes]):
    """A program for the length of a block; one whose block failed is killed, not waited for.

    Whoever waits for its end waits until the deadline, and not for ever.
    """

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status."""
        return super().wait(deadline_seconds() if timeout is None else timeout)

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """Return what it wrote until its end."""
        return super().communicate(input, deadline_seconds() if timeout is None else timeout)

    def read_line(self) -> bytes:
        """Return the next line that it writes into the pipe at its stdout, or the rest at its end.

        Nothing may have been read from `stdout` itself before; `communicate` returns what follows.
        """
        assert self.stdout is not None
        fd = self.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + deadline_seconds()
        line = b""
        while not line.endswith(b"\n"):
            assert poll.poll(1000 * max(0.0, deadline - time.monotonic())), f"no more than {line!r}"
            byte = os.read(fd, 1)  # not more, so that nothing is missing afterwards
            if not byte:
                break
            line += byte
        return line

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)
