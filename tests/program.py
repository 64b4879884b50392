"""Programs that tests start."""

from __future__ import annotations

import subprocess
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)
