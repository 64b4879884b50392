"""A file system that never answers, as one whose server is gone."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ["dead_mount"]

_MNT_DETACH: Final = 2


@contextmanager
def dead_mount(folder: Path) -> Iterator[Path]:
    """Mount one at `folder` for a `with` block: whoever looks below it waits until its end."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    try:
        options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if libc.mount(b"dead", os.fsencode(folder), b"fuse", 0, options.encode()):
            pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
        try:
            yield folder
        finally:
            libc.umount2(os.fsencode(folder), _MNT_DETACH)
    finally:
        os.close(fuse)  # whoever waits gets an error
