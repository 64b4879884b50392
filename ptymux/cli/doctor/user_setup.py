"""The checks of `ptymux doctor` on one user's setup: configuration, directory, server, leftovers.

Nothing is changed or made here; it is well if there is no directory yet.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from typing import Any, Final

from ptymux import __version__
from ptymux.cli.doctor.machine import Check
from ptymux.cli.options.config import config_path, load
from ptymux.cli.output.printing import count_of, times
from ptymux.cli.server_lookup import reach
from ptymux.core.units import format_duration, printable
from ptymux.errors import ConfigError, NoServerError, PtymuxError, UnsafeDirectoryError
from ptymux.handover.state_file import ChildProof, read_intents, read_proofs
from ptymux.posix.orphans import Findings, find, identify
from ptymux.posix.process import boot_id
from ptymux.posix.runtime import ensure_directory, state_path

__all__ = ["UserSetup"]

_RESTLESS: Final = 5  # replacements of the server that restarts by hand do not explain
_MOST_NAMES: Final = 5


class UserSetup:
    """The setup around the socket `path`; after the checks `left` has what a dead server left."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = os.path.dirname(path)
        self._status: dict[str, Any] | None = None  # of the server, if one answers
        self.left = Findings((), ())

    def check(self) -> Iterator[Check]:
        """Give the checks in order: an early trouble may explain a later one."""
        yield self._configuration()
        directory = self._directory()
        yield directory
        yield self._server()
        if self._status is not None:
            yield self._replaced(self._status)
            yield self._world(self._status)
            yield self._unended(self._status)
        if directory.status == "ok":
            yield self._stale()
        yield self._left_behind()

    def _configuration(self) -> Check:
        path = config_path()
        try:
            keys = load()
        except ConfigError as error:
            return Check("config", "problem", str(error), "mend it: `run` and `attach` need it")
        if not os.path.exists(path):
            return Check("config", "ok", f"none at {printable(path)}")
        return Check("config", "ok", f"{printable(path)}: {', '.join(keys) or 'nothing set'}")

    def _directory(self) -> Check:
        shown = printable(self._folder)
        if not os.path.lexists(self._folder):
            above = os.path.dirname(self._folder)
            if not os.access(above, os.W_OK | os.X_OK):
                remedy = f"make {printable(above)} a directory of yours, or choose another --socket"
                return Check("directory", "problem", f"{shown} cannot be made", remedy)
            return Check("directory", "ok", f"{shown} is not there yet; a server makes it")
        try:
            ensure_directory(self._folder)
        except UnsafeDirectoryError as error:
            return Check("directory", "problem", str(error), "or choose another --socket")
        return Check("directory", "ok", f"{shown} is yours alone")

    def _server(self) -> Check:
        shown = printable(self._path)
        try:
            with reach(self._path) as connection:
                self._status = connection.call("status")
        except NoServerError:
            return Check("server", "ok", f"none at {shown}; `ptymux run` starts one")
        except PtymuxError as error:
            log = printable(state_path(self._path, "log"))
            remedy = f"see {log}; ending the keeper ends its PTYs{_of(self._keeper())}"
            return Check("server", "problem", str(error), remedy)
        version = str(self._status.get("server"))
        text = f"ptymux {printable(version)} at {shown}, pid {self._status.get('pid')}"
        if version != __version__:
            remedy = f"`ptymux server restart` brings {__version__} and keeps every PTY"
            return Check("server", "warning", text, remedy)
        return Check("server", "ok", text)

    def _replaced(self, status: dict[str, Any]) -> Check:
        servers, keepers = status.get("server_replaced", 0), status.get("keeper_replaced", 0)
        since = format_duration(status.get("uptime_seconds", 0.0))
        text = f"server {times(servers)}, keeper {times(keepers)}; this one runs for {since}"
        if servers >= _RESTLESS or keepers:
            log = printable(state_path(self._path, "log"))
            return Check("replaced", "warning", text, f"unless you did it, {log} says why")
        return Check("replaced", "ok", text)

    def _world(self, status: dict[str, Any]) -> Check:
        """Tell what commands that are started from here cannot have as we have."""
        other, limited = status.get("differences") or (), status.get("limited") or ()
        texts = [f"commands run without our {', '.join(other)}"] if other else []
        texts += [f"the server itself is limited: {', '.join(limited)}"] if limited else []
        if not texts:
            return Check("world", "ok", "commands get limits, priorities and groups as we have")
        remedy = "`ptymux server stop`, then the next `ptymux run` starts one from there"
        return Check("world", "warning", printable("; ".join(texts)), remedy)

    def _unended(self, status: dict[str, Any]) -> Check:
        """Tell which processes outlived a PTY that was to end."""
        found = status.get("unended") or ()
        if not found:
            return Check("unended", "ok", "no process outlives a PTY that was to end")
        shown = ", ".join(f"{each['pid']} of PTY {each['number']}" for each in found[:_MOST_NAMES])
        text = f"{_processes(len(found))}: {shown}; {found[0]['error']}"
        pids = " ".join(str(each["pid"]) for each in found[:_MOST_NAMES])
        return Check("unended", "warning", printable(text), f"end them as their user: kill {pids}")

    def _stale(self) -> Check:
        names = [printable(name) for name in self._stale_names()]
        if not names:
            return Check("stale files", "ok", "none")
        shown = ", ".join(names[:_MOST_NAMES])
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        remedy = f"remove them from {printable(self._folder)}; a server at the same path does, too"
        return Check("stale files", "warning", f"{shown}{more}", remedy)

    def _stale_names(self) -> list[str]:
        """Return the sockets that nobody listens at and the locks that nobody holds."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return []
        return [name for name in names if _is_stale(os.path.join(self._folder, name))]

    def _keeper(self) -> int | None:
        """Return the pid of the process that has the lock of this socket, None if there is none."""
        return _holder(state_path(self._path, "lock"))

    def _left_behind(self) -> Check:
        state = state_path(self._path, "state")
        begun = identify(read_intents(state))
        children = [
            ChildProof(child.pid, child.start_time, number, boot_id())
            for number, child in begun.items()
        ]
        self.left = found = find([*read_proofs(state), *children], socket=self._path)
        if self._status is not None or self._keeper() is not None:
            # What is proven is not left behind but held, and what left its PTY did so by itself.
            self.left = Findings((), found.unproven)
        proven, unproven = len(self.left.proven), len(self.left.unproven)
        if proven:
            text = f"{_processes(proven)} of PTYs whose keeper died"
            return Check("left behind", "warning", text, "`ptymux server start` ends what is ours")
        if unproven:
            text = f"none that is ours; {_processes(unproven)} may have left a PTY by itself"
            return Check("left behind", "ok", text)
        return Check("left behind", "ok", "none")


def _of(pid: int | None) -> str:
    return "" if pid is None else f" (kill {pid})"


def _processes(count: int) -> str:
    return count_of(count, "process", "processes")


def _is_stale(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    if stat.S_ISSOCK(mode):
        return not _is_listened_at(path)
    if not (path.endswith(".lock") and stat.S_ISREG(mode)) or _holder(path) is not None:
        return False
    # The kernel may name no pid for a lock that a dead process took and a living one shares.
    return not _is_listened_at(path.removesuffix(".lock") + ".sock")


def _is_listened_at(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        return sock.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)


def _holder(path: str) -> int | None:
    """Return the pid of the process that has a lock on a file, without trying to take the lock.

    Source: proc_locks(5); the first of a line's numbers that is one is the pid.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in _locks().splitlines():
        words = line.split()
        if "FLOCK" in words and device in words and "->" not in words:
            return int(words[words.index(device) - 1])
    return None


def _locks() -> str:
    """Return all of /proc/locks."""
    try:
        with open("/proc/locks") as file:
            return file.read()
    except OSError:
        return ""
