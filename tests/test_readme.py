"""The README keeps its word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import Serving
from tests.timing import deadline_seconds

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("section", ["From Python", "Library"])
def test_the_example_runs_as_shown(section: str, no_server: Serving) -> None:
    text = README.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=deadline_seconds(),
        check=False,
        env={"PATH": "/usr/bin:/bin", "PTYMUX_SOCKET": no_server.path},
    )

    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)
