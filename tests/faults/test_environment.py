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
from tests.serving import Serving

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


def start_where(server: Serving, mounts: str) -> None:
    """Start a server that sees mounts which nobody else sees."""
    command = f"{mounts} && exec {PTYMUX} --socket {server.path} server start"
    subprocess.run(["unshare", "-m", "sh", "-c", command], check=True, capture_output=True)


def test_without_terminals_a_spawn_fails_and_nothing_else(no_server: Serving) -> None:
    start_where(no_server, FEW_TERMINALS)
    first, client = streaming(no_server)
    second = no_server.sh("exec sleep 100")

    for _ in range(20):
        with pytest.raises(OutOfResourcesError, match="pseudo-terminals"):
            no_server.sh("true")
    for killed in ("pid", "keeper_pid", "pid"):
        kill(no_server.status()[killed])
        goes_on(client)
        with pytest.raises(OutOfResourcesError):
            no_server.sh("true")
    assert no_server.get(first)["state"] == "active"

    no_server.call("kill", ptys=[second["pty_id"]])
    assert no_server.sh("exit 3")["pid"]
    no_server.call("kill", all=True)
    client.stop()


def test_a_folder_that_became_read_only_keeps_no_successor_away(no_server: Serving) -> None:
    """And what cannot be removed at the end is taken over by the next server."""
    start_where(no_server, "true")
    keeper = no_server.status()["keeper_pid"]
    _pty, client = streaming(no_server)
    for mount in (["--bind", no_server.folder], ["-o", "remount,ro,bind"]):
        enter = ["nsenter", "-m", "-t", str(keeper)]
        subprocess.run([*enter, "mount", *mount, no_server.folder], check=True)

    replaced_again_and_again(no_server, client)
    no_server.stop()
    assert "Traceback" not in no_server.log()
    assert os.path.exists(no_server.path)

    no_server.start()
    assert no_server.sh("exit 3")["pid"]
