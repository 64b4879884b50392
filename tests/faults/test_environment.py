"""A machine that gives no terminals any more, or where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ptymux.errors import OutOfResourcesError
from tests.faults.streams import goes_on, streaming
from tests.faults.test_shortage import replaced_again_and_again
from tests.processes import kill
from tests.server.conftest import Place

PTYMUX = str(Path(sys.executable).parent / "ptymux")
FEW_TERMINALS = (
    "mount -t devpts -o newinstance,ptmxmode=0666,max=2 none /dev/pts"
    " && mount --bind /dev/pts/ptmx /dev/ptmx"
)


def _can_unshare() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "-m", "sh", "-c", FEW_TERMINALS], capture_output=True)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(
    not _can_unshare(), reason="needs root and mount namespaces of its own"
)


def start_where(place: Place, mounts: str) -> None:
    """Start a server that sees mounts which nobody else sees."""
    command = f"{mounts} && exec {PTYMUX} --socket {place.path} server start"
    subprocess.run(["unshare", "-m", "sh", "-c", command], check=True, capture_output=True)


def test_without_terminals_a_spawn_fails_and_nothing_else(fresh: Place) -> None:
    start_where(fresh, FEW_TERMINALS)
    first, client = streaming(fresh)
    second = fresh.sh("exec sleep 100")

    for _ in range(20):
        with pytest.raises(OutOfResourcesError, match="pseudo-terminals"):
            fresh.sh("true")
    for killed in ("pid", "keeper_pid", "pid"):
        kill(fresh.status()[killed])
        goes_on(client)
        with pytest.raises(OutOfResourcesError):
            fresh.sh("true")
    assert fresh.get(first)["state"] == "active"

    fresh.call("kill", ptys=[second["pty_id"]])
    assert fresh.sh("exit 3")["pid"]
    fresh.call("kill", all=True)
    client.stop()


def test_a_folder_that_became_read_only_keeps_no_successor_away(fresh: Place) -> None:
    """And what cannot be removed at the end is taken over by the next server."""
    start_where(fresh, "true")
    keeper = fresh.status()["keeper_pid"]
    _pty, client = streaming(fresh)
    for mount in (["--bind", fresh.folder], ["-o", "remount,ro,bind"]):
        enter = ["nsenter", "-m", "-t", str(keeper)]
        subprocess.run([*enter, "mount", *mount, fresh.folder], check=True)

    replaced_again_and_again(fresh, client)
    fresh.stop()
    assert "Traceback" not in fresh.log()
    assert os.path.exists(fresh.path)

    fresh.start()
    assert fresh.sh("exit 3")["pid"]
