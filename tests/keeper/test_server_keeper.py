"""The keeper process as it is started: what it imports and what it costs."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ptymux
from ptymux.keeper.server_keeper import ServerKeeper
from ptymux.posix.directory_watch import DirectoryWatch

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


def is_readable(watch: DirectoryWatch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


@pytest.mark.parametrize("folder_too", [False, True])
def test_what_is_removed_during_a_look_for_removed_files_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder_too: bool
) -> None:
    folder = tmp_path / "run"
    keeper = ServerKeeper.begin(f"{folder}/s.sock")
    keeper._watch_files()
    watch, renew = keeper._watch, keeper._socket_lock.renew
    assert watch is not None

    def remove_behind_the_look() -> bool:
        is_new = renew()
        os.unlink(f"{folder}/s.sock")
        return is_new

    if folder_too:
        shutil.rmtree(folder)  # the folder that is made again is not watched during the look
    monkeypatch.setattr(keeper._socket_lock, "renew", remove_behind_the_look)
    keeper._check_files()

    is_noticed = is_readable(watch) or keeper._next_check < float("inf")
    monkeypatch.undo()
    keeper._close()
    assert is_noticed


def test_a_watch_forgets_what_it_was_told_to(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    watch = DirectoryWatch(str(folder))
    (folder / "a").touch()
    assert not is_readable(watch)

    (folder / "a").unlink()
    assert is_readable(watch)
    watch.forget()
    assert not is_readable(watch)
    assert not watch.follow()
    folder.rmdir()
    assert is_readable(watch)
    folder.mkdir()
    assert watch.follow()
    watch.close()
