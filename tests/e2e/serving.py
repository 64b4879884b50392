"""A server of a test's own, used as people use it: by the installed command."""

from __future__ import annotations

import json
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from tests.processes import kill_all, marked

if TYPE_CHECKING:
    from tests.e2e.conftest import World

__all__ = ["Served"]


class Served:
    """The commands of a world whose PTYMUX_SOCKET is a short path where nobody serves yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = tempfile.mkdtemp(prefix="ptymux-e2e-")
        self.path = f"{self.folder}/s.sock"
        world.env["PTYMUX_SOCKET"] = self.path

    def ok(self, *words: str) -> str:
        """Return what a command printed; it must succeed and complain of nothing."""
        done = self.world.run(*words)
        assert (done.returncode, done.stderr.decode()) == (0, "")
        return done.stdout.decode()

    def refused(self, *words: str) -> tuple[int, str]:
        """Return the exit code and the one line of a command that must print nothing else."""
        done = self.world.run(*words)
        assert done.stdout == b""
        assert done.stderr.decode().count("\n") == 1
        return done.returncode, done.stderr.decode()

    def json(self, *words: str) -> Any:
        """Return the JSON that a command printed."""
        return json.loads(self.ok(*words, "--json"))

    def start(self, *words: str) -> str:
        """Return the id of a PTY that `run -d` with these words made."""
        return self.ok("run", "-d", *words).strip()

    def pty(self, pty: str) -> Any:
        """Return what `stats` says of a PTY."""
        return self.json("stats", pty)["pty"]

    def live(self) -> list[Any]:
        """Return the live PTYs."""
        ptys: list[Any] = self.json("ls")["ptys"]
        return ptys

    def processes(self) -> dict[int, str]:
        """Return pid and command of the keeper, the server and all that runs in a PTY of theirs."""
        return marked(self.path)

    def stop(self) -> None:
        """End the server with all its PTYs."""
        assert self.world.run("server", "stop", "--force").returncode == 0

    def clear(self) -> None:
        """Kill what a failed test left, and remove the files."""
        kill_all(self.processes())
        shutil.rmtree(self.folder)
