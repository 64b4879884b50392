"""Moments chosen by a seed that a failing test prints."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

_SEED = "PTYMUX_FAULTS_SEED"
_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what is here run with the slow tests, with a few kills, if not by the hundred."""
    for item in items:
        if item.path.is_relative_to(_FOLDER) and not item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def moments() -> random.Random:
    """A source of random moments; set PTYMUX_FAULTS_SEED to have the same ones again."""
    seed = int(os.environ.get(_SEED) or random.SystemRandom().randrange(1 << 32))
    print(f"{_SEED}={seed}")  # shown for a test that fails
    return random.Random(seed)
