"""A list of PTYs, which a server sends in pages as it may be longer than one reply."""

from __future__ import annotations

from ptymux.errors import ProtocolError

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["Listing", "list_ptys"]


class Listing:
    """Puts the pages of one list together, and says what to ask for next.

    Whoever has a connection sends a `list` request with `request` as its parameters, gives the
    reply to `take`, and does so again until `request` is None.
    """

    def __init__(self, **chosen: object) -> None:
        """Begin a list; `chosen` are the parameters of `list` that say which PTYs it has."""
        self.request: dict[str, object] | None = chosen
        self.ptys: list[dict[str, Any]] = []
        self.ended = 0  # PTYs that have ended, listed or not
        self._chosen = chosen

    def take(self, page: Mapping[str, Any]) -> None:
        """Add a page to the list.

        Raises:
            ProtocolError: it is none; nothing was added.
        """
        ptys, after = page.get("ptys"), page.get("next")
        if not isinstance(ptys, list):
            raise ProtocolError("the server's list has no PTYs")
        self.ptys += ptys
        self.ended = page.get("ended", 0)
        self.request = None if after is None else {**self._chosen, "after": after}


def list_ptys(ask: Callable[..., Mapping[str, Any]], **chosen: object) -> Listing:
    """Return a whole list; `ask` sends a request and returns the reply, as `ServerConnection.call`.

    Raises:
        ProtocolError: the server sent something else.
    """
    listing = Listing(**chosen)
    while listing.request is not None:
        listing.take(ask("list", **listing.request))
    return listing
