"""Texts measured in the cells of a terminal, and cut to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.cells import cells, cut, cut_amid


@pytest.mark.parametrize(("text", "width"), [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1)])
def test_a_text_has_cells(text: str, width: int) -> None:
    assert cells(text) == width


@given(st.text(max_size=30), st.integers(0, 30))
def test_a_cut_text_fits(text: str, width: int) -> None:
    for cut_text in (cut(text, width), cut_amid(text, width)):
        assert cells(cut_text) <= width
        assert cut_text == text or "…" in cut_text or width == 0


def test_a_text_is_cut_at_its_end_or_amid() -> None:
    assert cut("worker --queue=mail", 10) == "worker --…"
    assert cut_amid("worker --queue=mail", 10) == "worke…mail"
    assert cut_amid("日本日本日本", 7) == "日本…本"
    assert cut_amid("worker", 3, "~") == "wo~"
