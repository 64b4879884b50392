"""Commands in the test's own process, whatever the user's environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no setting of the user's, and a terminal of the usual width."""
    for name in ("NO_COLOR", "FORCE_COLOR", *(n for n in os.environ if n.startswith("PTYMUX_"))):
        if name != "PTYMUX_TEST_FACTOR":
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-configuration"))
    monkeypatch.setenv("COLUMNS", "80")
