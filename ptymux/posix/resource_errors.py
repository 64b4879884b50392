"""What the system ran out of, and what its user can do about it."""

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
    """Return what the system has no more of, or None when `error` is about something else."""
    if error.errno not in _SHORTAGES:
        return None
    return OutOfResourcesError(*_SHORTAGES[error.errno])


def pty_resource_error() -> OutOfResourcesError:
    """Return the refusal of a system whose pseudo-terminals are all in use."""
    return OutOfResourcesError("pseudo-terminals", "end some PTYs, or raise kernel.pty.max")
