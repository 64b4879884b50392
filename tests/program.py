"""Programs that tests start."""

from __future__ import annotations

import subprocess
from types import TracebackType

__all__ = ["Program"]


class Program(subprocess.Popen[bytes]):
    """A program for the length of a block; one whose block failed is killed, not waited for."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)
