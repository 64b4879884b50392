"""A manager over an engine whose children are scripted."""

from __future__ import annotations

from typing import Final

import pytest

from ptymux.core.windows import Windows
from tests.manager.fake_engine import FakeEngine

# Scripted children have no processes, so that their session is gone at once.
QUICK: Final = Windows(close=0.05)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()
