"""What lives in a soak: PTYs of mixed temper, and the clients that come to them and go."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from ptymux.client.attach_request import AttachRequest
from ptymux.client.blocking import Client, connect
from ptymux.client.followed_stream import attach_to
from ptymux.client.pty_reader import PtyReader
from ptymux.core.model import KIB
from ptymux.errors import ConnectionClosedError, NoServerError, UnknownPtyError, UnreachableError
from ptymux.stress.child import ChildKind, argv
from ptymux.stress.measurements import ContentCheck
from tests.timing import deadline_seconds

__all__ = ["Follower", "Residents", "Visitor", "spawn_residents"]

STANDING: Final = 284  # the rest to 300 is short-lived
ENDLESS: Final = 100_000_000_000
BUFFER: Final = 256 * KIB
ECHO_SECONDS: Final = deadline_seconds(2)  # more, and a key was lost
PAUSE_SECONDS: Final = 0.05  # between two acts of a visitor

# What is no wonder while the server is killed, for what may not be asked for twice.
PASSING: Final = (ConnectionClosedError, NoServerError, UnreachableError)

BURSTS: Final = "while :; do seq 5000; sleep 1; done"
FORKS: Final = "while :; do (sleep 0.4; echo forked) & sleep 1; done"


class Residents:
    """The PTYs that stay, by temper."""

    def __init__(self) -> None:
        self.echoing: list[str] = []
        self.stopped: list[str] = []
        self.paced: list[str] = []  # counters in drop mode
        self.held: list[str] = []  # counters that write as fast as they are read
        self.others: list[str] = []

    @property
    def all(self) -> list[str]:
        """Every one of them."""
        return [*self.echoing, *self.stopped, *self.paced, *self.held, *self.others]


def spawn_residents(client: Client) -> Residents:
    """Start all that stays."""
    found = Residents()

    def start(into: list[str], count: int, *command: str, **options: Any) -> None:
        for _ in range(count):
            pty = client.run(
                command, buffer_size=BUFFER, grace_seconds=0.2, idle_timeout_seconds=20, **options
            )
            into.append(pty["pty_id"])

    start(found.paced, 10, "sh", "-c", 'stty -opost; exec "$@"', "-", *_counter(50_000))
    start(found.held, 4, "sh", "-c", 'stty -opost; exec "$@"', "-", *_counter(0), on_full="block")
    start(found.stopped, 20, "sleep", "100000")
    start(found.others, 30, "sh", "-c", BURSTS)
    start(found.others, 20, "sh", "-c", FORKS)
    start(found.echoing, STANDING - len(found.all), "cat")
    for pty_id in found.stopped:
        client.signal(pty_id, "STOP")
    return found


def _counter(pace: float) -> tuple[str, ...]:
    return argv(ChildKind.COUNTER, ENDLESS, pace)


class _Inhabitant:
    """A thread that goes on until `stop` is set; what went wrong is in `wrong`."""

    def __init__(self, path: str, stop: threading.Event) -> None:
        self.path = path
        self.stop = stop
        self.wrong: list[str] = []
        self.thread = threading.Thread(target=self._live)
        self.thread.start()

    def _live(self) -> None:
        try:
            self.live()
        except Exception:
            self.wrong.append(traceback.format_exc(limit=-4))

    def live(self) -> None:
        """Do what this one does."""
        raise NotImplementedError


class Follower(_Inhabitant):
    """Reads a counter from its beginning, and compares every byte."""

    def __init__(self, path: str, stop: threading.Event, pty_id: str, kind: str) -> None:
        self.pty_id = pty_id
        self.kind = kind
        self.check = ContentCheck(ChildKind.COUNTER, 0)
        self.silence_seconds = 0.0
        super().__init__(path, stop)

    def live(self) -> None:
        """Read; a lossless one takes its time, so that its child is held."""
        request = AttachRequest.to_read(self.pty_id, self.kind, 0)
        with PtyReader(self.path, request) as reader:
            asked = time.monotonic()
            while not self.stop.is_set():
                part = reader.read(timeout=0.5)
                if part is None:
                    continue
                self.silence_seconds = max(self.silence_seconds, time.monotonic() - asked)
                self.check.add(part)
                if self.kind == "lossless":
                    self.stop.wait(len(part.data) / 500e3)
                asked = time.monotonic()

    def faults(self) -> list[str]:
        """Return what was wrong with what it got."""
        c = self.check
        found = list(self.wrong)
        if c.wrong_at is not None:
            found.append(f"{self.pty_id}: the byte at {c.wrong_at} is wrong")
        if c.gap_at is not None or c.size + c.skipped != c.end:
            found.append(f"{self.pty_id}: a gap at {c.gap_at} was not told as it was")
        if self.kind == "lossless" and c.skipped:
            found.append(f"{self.pty_id}: {c.skipped} bytes were missed by a lossless reader")
        return found


class Visitor(_Inhabitant):
    """Comes to the PTYs that are its own, does something, and goes."""

    def __init__(
        self,
        path: str,
        stop: threading.Event,
        seed: int,
        residents: Residents,
        share: tuple[int, int],
    ) -> None:
        self.done: Counter[str] = Counter()
        self.chance = random.Random(seed)
        self.seed = seed
        index, count = share
        self.echoing = residents.echoing[index::count]
        self.stopped = residents.stopped[index::count]
        self.everybody = residents.all
        super().__init__(path, stop)

    def live(self) -> None:
        """Visit."""
        acts: Sequence[Callable[[Client], None]] = (
            *(self.attach, self.follow, self.short_life, self.short_life, self.type),
            *(self.resize, self.list, self.stats, self.stop_or_go),
        )
        with connect(self.path, start=False) as client:
            while not self.stop.wait(PAUSE_SECONDS):
                act = self.chance.choice(acts)
                act(client)
                self.done[act.__name__] += 1

    def attach(self, _client: Client) -> None:
        """Attach with input, read a little, and vanish."""
        try:
            stream = attach_to(self.path, AttachRequest(self.chance.choice(self.everybody)))
        except PASSING:
            return
        stream.close()

    def follow(self, client: Client) -> None:
        """Follow for a moment, as `logs -f`."""
        with client.follow(self.chance.choice(self.everybody), kind="observer") as reader:
            for _ in range(5):
                reader.read(timeout=0.05)

    def short_life(self, client: Client) -> None:
        """Start what ends at once, wait for it, forget it, or leave it."""
        code = self.chance.randrange(4)
        try:
            pty = client.run(["sh", "-c", f"echo short; exit {code}"], buffer_size=4 * KIB)
        except PASSING:
            return  # whether it started is unknown
        ended = client.wait(pty, timeout=ECHO_SECONDS)
        if ended["exit_code"] != code:
            self.wrong.append(f"{pty['pty_id']} ended with {ended['exit_code']}, not {code}")
        if self.chance.random() < 0.5:
            try:
                client.wait_text(pty, "never", timeout=ECHO_SECONDS)  # until it is gone
                client.remove(pty)
            except UnknownPtyError:
                pass  # it aged out

    def type(self, client: Client) -> None:
        """Type a word, and see it come back."""
        pty_id, word = self.chance.choice(self.echoing), f"w{self.chance.randrange(1 << 40)}"
        offset = client.send(pty_id, f"{word}\r")
        if client.wait_text(pty_id, f"{word}\n?\r?.*{word}", offset, ECHO_SECONDS) is None:
            self.wrong.append(f"{pty_id} ended")

    def resize(self, client: Client) -> None:
        """Resize, and look."""
        pty_id = self.chance.choice(self.echoing)
        cols, rows = self.chance.randrange(20, 200), self.chance.randrange(5, 60)
        client.resize(pty_id, cols, rows)
        now = client.get(pty_id)
        if (now["cols"], now["rows"]) != (cols, rows):
            self.wrong.append(f"{pty_id} is {now['cols']}x{now['rows']}, not {cols}x{rows}")

    def list(self, client: Client) -> None:
        """List everything."""
        found = {pty["pty_id"] for pty in client.list(all=True)}
        if missing := set(self.everybody) - found:
            self.wrong.append(f"{len(missing)} are not listed: {min(missing)} and others")

    def stats(self, client: Client) -> None:
        """Look at one."""
        client.stats(self.chance.choice(self.everybody))

    def stop_or_go(self, client: Client) -> None:
        """Let a stopped one go, and stop it again."""
        pty_id = self.chance.choice(self.stopped)
        try:
            client.signal(pty_id, "CONT")
            client.signal(pty_id, "STOP")
        except PASSING:
            return  # whether it was sent is unknown
