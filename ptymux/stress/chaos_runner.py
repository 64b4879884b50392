"""Runs `ptymux stress --chaos`: kills a server of its own again and again while readers go on.

`chaos.py` has what is run and how it is judged.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ptymux.client.attach_request import AttachRequest
from ptymux.client.attachment import Attachment
from ptymux.client.event_follower import EventFollower
from ptymux.client.followed_stream import attach_to
from ptymux.client.reconnect import RETRY_SECONDS, ServerReconnect
from ptymux.client.requests import Requests
from ptymux.core.model import SpawnOptions
from ptymux.core.notifications import BufferStats
from ptymux.core.ring import Part
from ptymux.errors import PtymuxError
from ptymux.protocol.framing import Exit, Frame, Gap, Out
from ptymux.stress.chaos import ChaosMeasured, ChaosPlan, ReaderMeasured, ReaderPlan
from ptymux.stress.child import ChildKind, argv
from ptymux.stress.measurements import ContentCheck
from ptymux.stress.private_server import kill_server, private_server, undisturbed

__all__ = ["ChaosProgress", "run_chaos"]

_LOOK_SECONDS: Final = 0.005  # for a kill that is due
_PROGRESS_SECONDS: Final = 0.15
_STOP_SECONDS: Final = 0.1  # in which a reader sees that it is to stop


@dataclass(frozen=True, slots=True)
class ChaosProgress:
    """How far a run is: the offset of each reader, in the order of the plan."""

    kills: int
    offsets: tuple[int, ...]
    silence_seconds: float


OnChaosProgress = Callable[[ChaosProgress], None]


def run_chaos(plan: ChaosPlan, on_progress: OnChaosProgress) -> ChaosMeasured:
    """Run the plan on a keeper and a server of its own; both are gone afterwards, whatever happens.

    Raises:
        PtymuxError: no server or no child can be started.
    """
    with private_server() as path:
        return _ChaosRun(plan, path, on_progress).measure()


# A reader --------------------------------------------------------------------------------------


class _ChaosReader:
    """Reads one PTY, in a thread of its own, and checks what it gets."""

    def __init__(self, plan: ReaderPlan, total: int, pause_at: int, path: str, pty_id: str) -> None:
        self.plan = plan
        self.pty_id = pty_id
        self.check = ContentCheck(ChildKind.COUNTER, 0)
        self.seconds = self.silence_seconds = 0.0
        self.kills = 0
        self.exit_code: int | None = None
        self.failure: str | None = None
        self._total = total
        self._missed = 0  # just before the next part
        self.pause_at = pause_at  # it reads no further before the next kill
        self._asked = self._started = time.monotonic()
        self._is_stopping = False
        request = AttachRequest(
            pty_id, plan.kind.value, offset=0, wants_input=False, lifeline=True, hangup=True
        )
        self._attachment = Attachment(path, attach_to(path, request), request)
        self._thread = threading.Thread(target=self._run, name=plan.name)

    @property
    def is_done(self) -> bool:
        """Whether all was read."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and hang the PTY up: its command gets HUP."""
        self._is_stopping = True
        if self._thread.is_alive():
            self._thread.join()
        self._attachment.close(detach=False)

    def note_kill(self, pause_at: int) -> None:
        """Count a kill, if it hit this reader before it had all; the next one is due by then."""
        self.kills += self.check.end < self._total
        self.pause_at = pause_at

    def _run(self) -> None:
        try:
            self._take(self._attachment.pending())
            while not (self._attachment.is_over or self._is_stopping):
                if self.check.end < self.pause_at:
                    self._read_on()
                else:
                    time.sleep(_LOOK_SECONDS)
                    self._asked = time.monotonic()  # this is nobody's silence
        except PtymuxError as error:
            self.failure = str(error)
        self.seconds = time.monotonic() - self._started

    def _read_on(self) -> None:
        stream = self._attachment.stream
        if stream is None:
            if self._attachment.look_for_server():
                self._take(self._attachment.pending())
            else:
                time.sleep(RETRY_SECONDS)
        elif stream.wait(time.monotonic() + _STOP_SECONDS):
            self._take(self._attachment.receive())

    def _take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, Gap):
                self._missed += frame.end - frame.start
            elif isinstance(frame, Out):
                self._add(Part(frame.offset, self._missed, frame.data))
            elif isinstance(frame, Exit):
                self.exit_code = frame.pty.get("exit_code")
                if self._missed:
                    self._add(Part(self._attachment.offset, self._missed, b""))

    def _add(self, part: Part) -> None:
        if self.check.size:  # how long the child takes to start is nobody's silence
            silence = time.monotonic() - self._asked
            self.silence_seconds = max(self.silence_seconds, silence)
        self.check.add(part)
        self._missed = 0
        if self.plan.reader_pace:
            time.sleep(len(part.data) / self.plan.reader_pace)
        self._asked = time.monotonic()


# The run ---------------------------------------------------------------------------------------


class _ChaosRun:
    """One run: kills the server when a kill is due, and asks for the statistics at the end."""

    def __init__(self, plan: ChaosPlan, path: str, on_progress: OnChaosProgress) -> None:
        self._plan = plan
        self._path = path
        self._on_progress = on_progress
        self._kills = 0
        self._readers: list[_ChaosReader] = []

    def measure(self) -> ChaosMeasured:
        """Run, and return the figures."""
        started = time.monotonic()
        try:
            for each in self._plan.readers:
                self._readers.append(self._begin(each))
            for reader in self._readers:
                reader.start()
            is_stuck = not self._kill_until_done(started + self._plan.deadline_seconds)
        finally:
            with undisturbed():
                for reader in self._readers:
                    reader.stop()
        return self._look(time.monotonic() - started, is_stuck=is_stuck)

    def _begin(self, plan: ReaderPlan) -> _ChaosReader:
        total = self._plan.child_bytes
        options = SpawnOptions(
            argv=argv(ChildKind.COUNTER, total, plan.child_pace),
            env=dict(os.environ),
            cwd="/",
            name=plan.name,
            buffer_size=self._plan.capacity,
            on_full=plan.on_full,
            plain_output=True,
        )
        with ServerReconnect(self._path).wait() as connection:
            spawned = connection.spawn(options, hangup=True)
            pause_at = self._plan.pause_offset(0)
            return _ChaosReader(plan, total, pause_at, self._path, spawned["pty"]["pty_id"])

    def _kill_until_done(self, deadline: float) -> bool:
        """Kill whenever it is due; return whether the readers came to their end in time."""
        lossless = self._readers[-1]
        next_progress = 0.0
        while not all(reader.is_done for reader in self._readers):
            now = time.monotonic()
            if now > deadline:
                return False
            due = self._plan.kill_offset(self._kills)
            if (
                self._kills < self._plan.kills
                and due <= lossless.check.end
                and not lossless.is_done
            ):
                kill_server(self._path)
                self._kills += 1
                for reader in self._readers:
                    reader.note_kill(self._plan.pause_offset(self._kills))
                next_progress = now
            if now >= next_progress:
                next_progress = now + _PROGRESS_SECONDS
                self._on_progress(self._progress())
            time.sleep(_LOOK_SECONDS)
        return True

    def _progress(self) -> ChaosProgress:
        return ChaosProgress(
            self._kills,
            tuple(reader.check.end for reader in self._readers),
            max(reader.silence_seconds for reader in self._readers),
        )

    def _look(self, seconds: float, *, is_stuck: bool) -> ChaosMeasured:
        """Ask the last server what it knows."""
        with Requests(ServerReconnect(self._path).wait()) as requests:
            status = requests.ask("status")
            stats = {reader.pty_id: self._stats(requests, reader) for reader in self._readers}
        dropped, missed = self._overflows()
        return ChaosMeasured(
            plan=self._plan,
            seconds=seconds,
            is_stuck=is_stuck,
            kills=self._kills,
            server_replaced=status["server_replaced"],
            keeper_replaced=status["keeper_replaced"],
            events_missed=missed,
            readers=tuple(
                ReaderMeasured(
                    plan=reader.plan,
                    check=reader.check,
                    seconds=reader.seconds,
                    silence_seconds=reader.silence_seconds,
                    kills=reader.kills,
                    failure=reader.failure,
                    exit_code=reader.exit_code,
                    stats=stats[reader.pty_id],
                    overflow_dropped=dropped.get(reader.pty_id, 0),
                )
                for reader in self._readers
            ),
        )

    def _stats(self, requests: Requests, reader: _ChaosReader) -> BufferStats | None:
        try:
            buffer: dict[str, Any] = requests.ask("get", pty=reader.pty_id)["pty"]["buffer"]
        except PtymuxError as error:
            reader.failure = reader.failure or str(error)
            return None
        return BufferStats(**buffer)

    def _overflows(self) -> tuple[dict[str, int], int]:
        """Return the bytes dropped, by PTY, as its events say; and how many events were missed."""
        dropped: dict[str, int] = {}
        missed = 0
        with EventFollower(
            self._path, since=0, topics=["pty.buffer.overflow"], follow=False
        ) as events:
            for event in events:
                if "missed" in event:
                    missed += event["missed"]
                else:
                    pty_id = event["pty_id"] or ""
                    lost = int(event["payload"]["dropped_since_last"])
                    dropped[pty_id] = dropped.get(pty_id, 0) + lost
        return dropped, missed
