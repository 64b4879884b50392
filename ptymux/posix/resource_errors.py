"""Errors for a system that runs out of something: what it lacks, and what its user can do."""

from __future__ import annotations

import errno

from ptymux.errors import OutOfResourcesError

__all__ = ["resource_error", "pty_resource_error"]

_SHORTAGES = {
    errno.EMFILE: (
        "open files",
        "end some PTYs, or raise the hard limit (ulimit -Hn) and start the server again",
    ),
    errno.ENFILE: ("open files of the system", "close programs, or raise fs.file-max"),
    errno.EAGAIN: ("processes", "end some, or raise the limit (ulimit -u, pids.max of the cgroup)"),
    errno.ENOMEM: ("memory", "end some PTYs, or give new ones smaller buffers"),
    errno.ENOSPC: ("memory", "end some PTYs, or give new ones smaller buffers"),
}


def resource_error(error: OSError) -> OutOfResourcesError | None:
    """Return the error that names the resource that is used up; None for other errors."""
    if error.errno not in _SHORTAGES:
        return None
    return OutOfResourcesError(*_SHORTAGES[error.errno])


def pty_resource_error() -> OutOfResourcesError:
    """Return the error for a system whose pseudo-terminals are all in use."""
    return OutOfResourcesError("pseudo-terminals", "end some PTYs, or raise kernel.pty.max")
