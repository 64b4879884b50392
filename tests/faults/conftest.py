"""Moments chosen by a seed that a failing test prints."""

from __future__ import annotations

import os
import random

import pytest

_SEED = "PTYMUX_FAULTS_SEED"


@pytest.fixture
def moments() -> random.Random:
    """A source of random moments; set PTYMUX_FAULTS_SEED to have the same ones again."""
    seed = int(os.environ.get(_SEED) or random.SystemRandom().randrange(1 << 32))
    print(f"{_SEED}={seed}")  # shown for a test that fails
    return random.Random(seed)
