"""Children on real PTYs that are gone when their test ends."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pytest

from ptymux.core.model import SpawnOptions
from ptymux.errors import SignalError
from ptymux.posix.process import ExitStatus, reap, send, session_members
from ptymux.posix.spawn import SpawnedChild, spawn
from tests.timing import deadline_seconds, wait_until

NOBODY = 65534


@contextmanager
def soft_limit(which: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


@contextmanager
def not_root() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def soft_limit_of_open_files(soft: int) -> AbstractContextManager[None]:
    return soft_limit(resource.RLIMIT_NOFILE, soft)


class Child:
    """A spawned command, and what its terminal showed so far."""

    def __init__(self, spawned: SpawnedChild) -> None:
        self.spawned = spawned
        self.pid, self.pidfd, self.master = spawned.pid, spawned.pidfd, spawned.master
        self.shown = b""
        self.status: ExitStatus | None = None

    def read_until(self, text: bytes) -> bytes:
        wait_until(lambda: text in self.shown or not self._read() or text in self.shown)
        assert text in self.shown, self.shown
        return self.shown

    def read_to_end(self) -> bytes:
        wait_until(lambda: not self._read())
        return self.shown

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.05)[0]:
            return True
        try:
            self.shown += os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # which is the end
                raise
            return False
        return True

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait(self) -> ExitStatus:
        assert select.select([self.pidfd], [], [], deadline_seconds())[0], "it still runs"
        self.status = self.status or reap(self.pidfd)
        assert self.status is not None
        return self.status

    def end(self) -> None:
        for member in session_members(self.pid):
            with suppress(SignalError):
                send(member, signal.SIGKILL)
        self.wait()
        wait_until(lambda: not session_members(self.pid))
        os.close(self.pidfd)
        os.close(self.master)


Start = Callable[..., Child]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `argv` with SpawnOptions as keywords; `env` is the child's whole environment."""
    children = []

    def start(*argv: str, env: Mapping[str, str] | None = None, **options: Any) -> Child:
        whole = {"PATH": os.environ["PATH"], "LC_ALL": "C"} if env is None else env
        child = Child(spawn(SpawnOptions(argv=argv, **options), whole))
        children.append(child)
        return child

    yield start
    for child in children:
        child.end()
