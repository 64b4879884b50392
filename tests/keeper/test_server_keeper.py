"""The keeper process as it is started: what it imports and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ptymux

FOLDER = str(Path(ptymux.__file__).parent.parent)
LIST = """
import sys
sys.path.insert(0, {folder!r})
import {module}
print(*sorted(name for name in sys.modules if '.' not in name or name.startswith('ptymux')))
"""
HEAVY = {"asyncio", "logging", "subprocess", "typing_extensions", "ssl", "concurrent"}


@pytest.mark.parametrize("module", ["ptymux.keeper.daemon", "ptymux.keeper.private_keeper"])
def test_a_keeper_imports_the_standard_library_and_the_lower_layers_only(module: str) -> None:
    command = [sys.executable, "-ISE", "-c", LIST.format(folder=FOLDER, module=module)]
    names = set(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())

    ours = {name for name in names if name.partition(".")[0] == "ptymux"}
    layers = {name.split(".")[1] for name in ours - {"ptymux"}}
    assert layers <= {"errors", "core", "posix", "protocol", "engine", "handover", "keeper"}
    assert not names & HEAVY
    assert names - ours <= set(sys.stdlib_module_names) | {"__main__", "_sysconfigdata"}
