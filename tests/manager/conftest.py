"""A manager over an engine whose children are scripted."""

from __future__ import annotations

import pytest

from tests.manager.fake_engine import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    # Scripted children have no processes, so that their session is gone at once.
    monkeypatch.setattr("ptymux.manager.termination._CLOSE_SECONDS", 0.05)
    return FakeEngine()
