"""The checks of `ptymux doctor` on the machine: kernel, limits, PTYs, memory, disk, terminal."""

from __future__ import annotations

import contextlib
import getpass
import glob
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ptymux.cli.output.printing import takes_blocks
from ptymux.core.model import Limits, WindowSize
from ptymux.core.ring import ring_size
from ptymux.core.units import format_size, printable
from ptymux.errors import PtymuxError
from ptymux.posix.memory import available_memory
from ptymux.posix.procfs import read

__all__ = [
    "Check",
    "check_machine",
    "judge_disk",
    "judge_linux",
    "judge_logout",
    "judge_memory",
    "judge_open_files",
]

OLDEST_LINUX: Final = (5, 10)
OLDEST_PYTHON: Final = (3, 11)
STATUS_LINUX: Final = (6, 15)  # PIDFD_GET_INFO with PIDFD_INFO_EXIT

_OWN_FDS: Final = 64 + 6  # what a server with one PTY needs
_LEAST_DISK: Final = 1_000_000
_LITTLE_DISK: Final = 50_000_000
_LITTLE_PTYS: Final = 16


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `remedy` says what to do unless all is well."""

    name: str
    status: str  # ok, warning or problem
    text: str
    remedy: str = ""


def check_machine(folder: str) -> Iterator[Check]:
    """Check this machine for a server whose files are in `folder`."""
    yield judge_linux(os.uname().release)
    yield _python()
    yield judge_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    if not os.path.exists("/proc/self/stat"):
        remedy = "mount -t proc proc /proc"
        yield Check("proc", "problem", "/proc is not mounted, and tells nothing below", remedy)
    yield _terminals()
    yield judge_memory(available_memory())
    yield judge_disk(folder)
    yield _terminal()
    if os.path.isdir("/run/systemd/system"):
        yield judge_logout("/", getpass.getuser())


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def judge_linux(release: str) -> Check:
    """Judge the version of the kernel."""
    if sys.platform != "linux":
        return Check("linux", "problem", f"this is {sys.platform}", "ptymux needs Linux")
    if _version(release) < OLDEST_LINUX:
        return Check("linux", "problem", release, "5.10 or newer is needed")
    if _version(release) < STATUS_LINUX:
        lost = "an exit status that a dead keeper did not see stays unknown; since 6.15 it is kept"
        return Check("linux", "ok", f"{release} ({lost})")
    return Check("linux", "ok", f"{release} (exit statuses outlive a dead keeper)")


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("python", "problem", version, "3.11 or newer is needed")
    return Check("python", "ok", version)


def judge_open_files(soft: int, hard: int) -> Check:
    """Judge the limits on open files; the server raises the soft one to the hard one by itself."""
    needed = Limits().worst_case_fds
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    shown = "unlimited" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    text = f"soft limit {soft:,}, hard limit {shown}; {Limits().ptys} PTYs need {needed:,}"
    if most >= needed:
        return Check("open files", "ok", text)
    room = max(0, (most - _OWN_FDS) // 6)
    remedy = f"raise the hard limit (ulimit -Hn {needed}); now there is room for some {room} PTYs"
    return Check("open files", "warning" if room else "problem", text, remedy)


def _terminals() -> Check:
    from ptymux.posix.spawn import open_pty

    used, most = _number("/proc/sys/kernel/pty/nr"), _number("/proc/sys/kernel/pty/max")
    text = f"{used:,} of {most:,} in use"
    try:
        pty = open_pty(WindowSize(80, 24), plain_output=False)
    except PtymuxError as error:
        remedy = f"{error}; is devpts mounted at /dev/pts?"
        return Check("PTYs", "problem", f"none can be opened ({text})", remedy)
    os.close(pty.master)
    if most - used < _LITTLE_PTYS:
        return Check("PTYs", "warning", text, "end some, or raise the sysctl kernel.pty.max")
    return Check("PTYs", "ok", text)


def judge_logout(root: str, user: str) -> Check:
    """Judge whether systemd ends PTYs when their user logs out; its files are below `root`.

    Source: logind.conf(5): files of the later folders, and of later names, win.
    """
    kills = False
    for folder in ("usr/lib", "run", "etc"):
        at = f"{root}/{folder}/systemd/logind.conf"
        drop_ins = sorted(glob.glob(f"{at}.d/*.conf"))
        for path in (at, *drop_ins):
            with contextlib.suppress(OSError), open(path, errors="replace") as file:
                for line in file:
                    name, _, value = line.partition("=")
                    if name.strip() == "KillUserProcesses":
                        kills = value.strip().lower() in ("yes", "true", "1", "on")
    if not kills:
        return Check("logout", "ok", "systemd leaves PTYs alone when you log out")
    text = "systemd ends all PTYs when you log out (KillUserProcesses=yes)"
    start = "start the server by `systemd-run --user --scope ptymux server start`"
    if not os.path.exists(f"{root}/var/lib/systemd/linger/{user}"):
        start = f"`loginctl enable-linger`, and {start}"
    return Check("logout", "warning", text, start)


def _number(path: str) -> int:
    text = (read(path) or b"").strip()
    return int(text) if text.isdigit() else 0


def judge_memory(available: int) -> Check:
    """Judge the memory that is available, by the rule by which a spawn is refused."""
    limits = Limits()
    ring = ring_size(limits.default_buffer)
    room = int(limits.MEMORY_SHARE * available) // ring
    rings, worst = format_size(limits.ptys * ring), format_size(limits.worst_case_bytes)
    text = f"{format_size(available)} available; {limits.ptys} PTYs keep {rings}"
    text += f", with all that clients can cause {worst}"
    if room >= limits.ptys:
        return Check("memory", "ok", text)
    remedy = f"there is room for some {room} PTYs; smaller buffers (--buffer-size) make more"
    return Check("memory", "warning" if room else "problem", text, remedy)


def judge_disk(folder: str) -> Check:
    """Judge the room on the disk for the socket, the log and the state file."""
    while not os.path.isdir(folder) and folder != "/":
        folder = os.path.dirname(folder)
    try:
        found = os.statvfs(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Check("disk", "problem", f"{printable(folder)}: {reason}", "see to the file system")
    free = found.f_bavail * found.f_frsize
    inodes = "" if not found.f_files or found.f_favail else ", no inodes"
    text = f"{format_size(free)} free{inodes} for socket, log and state"
    where = f"make room in {printable(folder)}"
    if free < _LEAST_DISK or inodes:
        return Check("disk", "problem", text, where)
    if free < _LITTLE_DISK:
        return Check("disk", "warning", text, where)
    return Check("disk", "ok", text)


def _terminal() -> Check:
    """Judge what the dashboard and attach would be drawn on."""
    if not sys.stdout.isatty():
        return Check("terminal", "ok", "none here")
    name = os.environ.get("TERM", "")
    size = os.get_terminal_size(sys.stdout.fileno())
    text = f"{printable(name) or 'TERM is not set'}, {size.columns}x{size.lines}"
    if not _is_known(name):
        remedy = "export TERM=xterm-256color, or install its terminfo entry"
        return Check("terminal", "warning", f"{text}, not known here", remedy)
    if not (size.columns and size.lines):
        return Check("terminal", "warning", text, "tell it its size: stty cols 80 rows 24")
    if not takes_blocks():
        remedy = "export LC_ALL=C.UTF-8; bars are drawn with # until then"
        return Check("terminal", "warning", f"{text}, not UTF-8", remedy)
    return Check("terminal", "ok", f"{text}, UTF-8")


def _is_known(name: str) -> bool:
    """Whether the system has a description of such a terminal."""
    if name in ("", "dumb", "unknown"):
        return False
    try:
        import curses
    except ImportError:  # a Python without it does not know
        return True
    try:
        curses.setupterm(name, sys.stdout.fileno())
    except curses.error:
        return False
    return True
