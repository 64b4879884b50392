"""Lists of PTYs, put together from the pages in which they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ptymux.client.listing import Listing, list_ptys
from ptymux.errors import ProtocolError

PAGES: dict[object, dict[str, Any]] = {
    None: {"ptys": [{"number": 1}, {"number": 4}], "ended": 1, "next": 4},
    4: {"ptys": [{"number": 7}], "ended": 2, "next": 7},
    7: {"ptys": [], "ended": 2, "next": None},
}


def test_all_pages_are_asked_for_in_order_each_for_the_same_ptys() -> None:
    asked: list[dict[str, object]] = []

    def ask(method: str, **params: object) -> Mapping[str, Any]:
        assert method == "list"
        asked.append(params)
        return PAGES[params.get("after")]

    listing = list_ptys(ask, all=True, lane="ci")

    assert [pty["number"] for pty in listing.ptys] == [1, 4, 7]
    assert listing.ended == 2  # as the last page says
    chosen = {"all": True, "lane": "ci"}
    assert asked == [chosen, chosen | {"after": 4}, chosen | {"after": 7}]


def test_a_list_says_what_to_ask_for_next_until_it_is_whole() -> None:
    listing = Listing(lane="ci")
    requests = [listing.request]

    for page in PAGES.values():
        listing.take(page)
        requests.append(listing.request)

    assert requests == [
        {"lane": "ci"},
        {"lane": "ci", "after": 4},
        {"lane": "ci", "after": 7},
        None,
    ]


@pytest.mark.parametrize("page", [{}, {"ptys": None, "next": 3}, {"ptys": {"number": 1}}])
def test_a_page_without_ptys_is_refused_and_adds_nothing(page: dict[str, Any]) -> None:
    listing = Listing()

    with pytest.raises(ProtocolError):
        listing.take(page)

    assert (listing.ptys, listing.request) == ([], {})
