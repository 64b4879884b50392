"""What happens when the files of the installation that serves are removed or replaced."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ptymux
from ptymux.client import autostart
from tests.processes import is_alive, kill, stop, wait_gone
from tests.serving import Serving, ended
from tests.timing import wait_until

pytestmark = pytest.mark.slow  # installations are copied

PACKAGE = Path(ptymux.__file__).parent


class Moved:
    """A server from an installation of its own, which is then taken away."""

    def __init__(self, server: Serving, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.pty: dict[str, Any] = {}

    def take_away(self) -> None:
        shutil.rmtree(self.folder)

    def check_life(self) -> None:
        """The PTY is there and answers, and others can be started."""
        assert is_alive(self.pty["pid"])
        before = self.server.get(self.pty)["buffer"]["total_written"]
        with self.server.attach(self.pty) as stream:
            assert stream.lifeline is not None
            stream.lifeline.send_all(b"it\n")
            wait_until(lambda: self.server.get(self.pty)["buffer"]["total_written"] > before + 5)
        assert self.server.output(self.server.sh("echo out"))[0] == b"out\r\n"


def is_warm(zygote: int) -> bool:
    """Whether it can fork a server: it ignores the end of its children since then."""
    with suppress(OSError):
        lines = Path(f"/proc/{zygote}/status").read_text().splitlines()
        ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
        return bool(ignored >> signal.SIGCHLD - 1 & 1)
    return False


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moved]:
    folder = tmp_path / "installation"
    ignored = shutil.ignore_patterns("__pycache__", "*.md", "tui", "stress")
    shutil.copytree(PACKAGE, folder / "ptymux", ignore=ignored)
    first = f"import sys; sys.path.insert(0, {str(folder)!r}); "
    monkeypatch.setattr(autostart, "_KEEPER", first + autostart._KEEPER)
    with ended(Serving()) as server:
        server.start()
        moved = Moved(server, folder)
        moved.pty = server.sh("while read x; do echo got-$x; done")
        assert server.status()["folder"] == str(folder)
        server.zygote()  # it has been started, and imports what it needs
        server.kill_server()  # the next one comes only once it has
        yield moved


@pytest.mark.parametrize("which", ["keeper_pid", "pid"])
def test_a_kill_is_survived_again_and_again(moved: Moved, which: str) -> None:
    moved.take_away()
    for _ in range(2):
        before = moved.server.status()[which]
        kill(before)
        wait_until(lambda before=before: moved.server.status()[which] != before)  # type: ignore[misc]
        moved.check_life()


def test_either_is_replaced_after_the_other(moved: Moved) -> None:
    """A keeper without files has to have a zygote without files, and a server from that."""
    moved.take_away()
    for which in ("keeper_pid", "pid", "keeper_pid", "zygote", "pid"):
        before = moved.server.pid_of(which)
        kill(before)
        wait_until(lambda which=which, before=before: moved.server.pid_of(which) != before)  # type: ignore[misc]
        moved.check_life()


def test_a_server_is_replaced_though_the_zygote_alone_was_killed(moved: Moved) -> None:
    """Its keeper cannot start another, nor fork one: the server does."""
    moved.take_away()
    for which in ("zygote", "pid", "zygote", "zygote", "pid"):
        before = moved.server.pid_of(which)
        kill(before)
        wait_until(lambda which=which, before=before: moved.server.pid_of(which) != before)  # type: ignore[misc]
        wait_until(lambda: is_warm(moved.server.zygote()))
        moved.check_life()

    assert moved.server.status()["keeper_replaced"] == 0
    assert "from the code of the server that serves" in moved.server.log()


def test_a_zygote_that_the_server_forked_ends_with_its_keeper(moved: Moved) -> None:
    moved.take_away()
    for _ in range(2):
        before = moved.server.zygote()
        kill(before)
        wait_until(
            lambda before=before: (new := moved.server.zygote()) != before and is_warm(new)  # type: ignore[misc]
        )
        stop(before := moved.server.zygote())
        kill(keeper := moved.server.status()["keeper_pid"])

        wait_gone(before)
        wait_until(lambda keeper=keeper: moved.server.status()["keeper_pid"] != keeper)  # type: ignore[misc]
    moved.check_life()


def test_files_that_cannot_be_run_are_as_good_as_none(moved: Moved) -> None:
    for path in (moved.folder / "ptymux").rglob("*.py"):
        path.write_text("raise SystemExit(1)\n")
    kill(before := moved.server.status()["keeper_pid"])

    wait_until(lambda: moved.server.status()["keeper_pid"] != before)

    moved.check_life()


def test_a_restart_brings_the_installation_that_asks_for_it(moved: Moved) -> None:
    moved.take_away()

    told = moved.server.ok("server", "restart")

    assert f"from {PACKAGE.parent} serves now" in told
    status = moved.server.status()
    assert status["folder"] == str(PACKAGE.parent)
    lines = moved.server.processes()
    assert all(str(moved.folder) not in lines[pid] for pid in moved.server.own())
    moved.check_life()
    kill(status["keeper_pid"])
    wait_until(lambda: moved.server.status()["keeper_pid"] != status["keeper_pid"])
    assert str(PACKAGE.parent) in moved.server.processes()[moved.server.status()["keeper_pid"]]


def test_a_restart_within_what_is_gone_changes_nothing_and_says_so(moved: Moved) -> None:
    moved.take_away()
    before = moved.server.status()

    with moved.server.connect() as connection, pytest.raises(Exception, match="nothing was repl"):
        connection.call("restart")

    assert moved.server.status()["keeper_pid"] == before["keeper_pid"]
    moved.check_life()
