"""A base class for what is closed at the end of a `with` block."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = ["Closing"]


class Closing:
    """Something with a `close`, which may be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back fds and other resources."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Have another thread that waits for something on this find that it has ended."""
