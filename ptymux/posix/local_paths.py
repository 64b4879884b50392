"""Finds out whether a command can be started at once, without waiting for a file system.

A path of a user may lead to a file system that never answers: a server that is gone, a FUSE process
that is stopped. Whoever looks there waits with it. So paths are resolved only as far as the kernel
has them in its cache (RESOLVE_CACHED), and what they lead to counts as fast only on a file system
of this machine. Nothing else is asked of a file before that is known.

Limit: an overlay counts as local, whatever lies under it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import time
from contextlib import suppress
from typing import Final

from ptymux.posix.program import interpreter_of, search_paths

__all__ = ["LocalPaths"]

# fmt: off
_LOCAL: Final = frozenset((
    "bcachefs", "btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs",
    "hugetlbfs", "iso9660", "jfs", "ntfs3", "overlay", "proc", "ramfs", "reiserfs", "rootfs",
    "squashfs", "sysfs", "tmpfs", "ubifs", "udf", "vfat", "xfs", "zfs"
))
# fmt: on
_OPENAT2: Final = 437  # the number of openat2(2), Linux 5.6
_RESOLVE_CACHED: Final = 0x20  # Linux 5.12
_HOW: Final = struct.Struct("QQQ")  # flags, mode, resolve
_HEAD: Final = 4096  # bytes at the start of a file, which name its interpreter
_FAST_SECONDS: Final = 1.0  # a link is rarely made to lead elsewhere between two starts
_MOST_FAST: Final = 256
_INTERPRETERS: Final = 5  # more in a row the kernel refuses
# That a path cannot be executed, which needs no waiting to be found out again.
_FAST: Final = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG)
)


class _UnsureError(Exception):
    """It cannot be known without waiting."""


class LocalPaths:
    """Knows the mounts; asked by a process that must not wait."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._syscall = libc.syscall
        self._syscall.restype = ctypes.c_long
        self._mounts = -1  # an fd that polls as changed when something was mounted
        self._types: dict[int, str] = {}  # by mount id
        self._fast: dict[tuple[str, str], float] = {}  # commands that were fast, and until when
        with suppress(OSError):  # /proc is not mounted; then every command counts as slow
            self._read_mounts()

    def close(self) -> None:
        """Close what is open."""
        if self._mounts >= 0:
            os.close(self._mounts)
            self._mounts = -1

    def may_wait(self, argv: tuple[str, ...], search_path: str, directory: int) -> bool:
        """Return whether to start `argv` in the directory, an fd, may have to wait for long.

        That a program does not exist can be answered at once, too.
        """
        try:
            if not self._is_local(directory):
                return True
            command = (argv[0], search_path)
            if time.monotonic() < self._fast.get(command, 0.0):
                return False
            depends_on_directory = False
            for path in search_paths(argv[0], search_path):
                depends_on_directory = depends_on_directory or not path.startswith("/")
                if self._is_fast(path, directory):
                    if not depends_on_directory:
                        self._note_fast(command)
                    return False
        except (_UnsureError, OSError, ValueError):
            return True
        return False

    def _note_fast(self, command: tuple[str, str]) -> None:
        if len(self._fast) >= _MOST_FAST:
            self._fast.clear()
        self._fast[command] = time.monotonic() + _FAST_SECONDS

    def _is_fast(self, path: str, directory: int) -> bool:
        """Return True for a program whose interpreters are all local, False where there is none.

        Raises:
            _UnsureError: it may have to be waited for.
        """
        for _ in range(_INTERPRETERS):
            fd = self._open(path, directory, os.O_PATH)
            if fd is None:
                return False
            try:
                if not self._is_local(fd):
                    raise _UnsureError
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return False
            finally:
                os.close(fd)
            head = self._open(path, directory, os.O_RDONLY | os.O_NONBLOCK)
            if head is None:  # it may be executable all the same, and name any interpreter
                raise _UnsureError
            try:
                path = interpreter_of(os.read(head, _HEAD))
            finally:
                os.close(head)
            if not path:
                return True
        return True

    def _open(self, path: str, directory: int, flags: int) -> int | None:
        """Return an fd of a file whose path is cached; None if there is no such file.

        Raises:
            _UnsureError: the path is not cached.
        """
        how = _HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
        name = os.fsencode(path)
        fd = self._syscall(_OPENAT2, directory, name, how, _HOW.size)
        if fd >= 0:
            return int(fd)
        if ctypes.get_errno() in _FAST:
            return None
        raise _UnsureError

    def _is_local(self, fd: int) -> bool:
        """Return whether a file is on a file system of this machine; asks only the kernel."""
        info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _, found, rest = os.read(info, 4096).partition(b"mnt_id:")
        finally:
            os.close(info)
        return bool(found) and self._type_of(int(rest.split(None, 1)[0])) in _LOCAL

    def _type_of(self, mount: int) -> str:
        poll = select.poll()
        if self._mounts >= 0:
            poll.register(self._mounts, select.POLLPRI)
        if self._mounts < 0 or poll.poll(0):  # something was mounted or unmounted
            self._read_mounts()
        return self._types.get(mount, "")

    def _read_mounts(self) -> None:
        """Read which types of file systems are mounted.

        The file is opened again: what has changed is reported once for each open file.
        Source: proc_pid_mounts(5).
        """
        fresh = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._mounts = fresh
        self._types = {}
        self._fast = {}
        with open(fresh, closefd=False, errors="replace") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                self._types[int(before.split(" ", 1)[0])] = after.split(" ", 1)[0]
