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


EXAMPLES = re.findall(
    r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", README.read_text(), re.DOTALL
)


def test_every_program_is_tried() -> None:
    assert len(EXAMPLES) == README.read_text().count("```python") == 3


@pytest.mark.parametrize(("program", "shown"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_example_runs_as_shown(program: str, shown: str, no_server: Serving) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=deadline_seconds(),
        check=False,
        env={"PATH": "/usr/bin:/bin", "PTYMUX_SOCKET": no_server.path},
    )

    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)
