"""A gate at which a child waits until its test lets it go on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

__all__ = ["Gate", "gate"]


class Gate:
    """A fifo: the child reads a line of it, the test writes one; whoever comes first.

    The test has both ends open, so that no open blocks and a line that nobody read yet is kept.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR)

    @property
    def wait(self) -> str:
        """The command by which a shell waits here; each wait needs an opening of its own."""
        return f"read go <{shlex.quote(self.path)}"

    def open(self, times: int = 1) -> None:
        """Let the child go on, as often as this."""
        os.write(self._fd, b"\n" * times)

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate for the length of a test; import it where it is used."""
    with Gate(tmp_path / "gate") as gate:
        yield gate
