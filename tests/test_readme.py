"""The README keeps its word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_as_shown() -> None:
    text = README.read_text()
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", text.split("## Library")[1], re.DOTALL)

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )

    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)
