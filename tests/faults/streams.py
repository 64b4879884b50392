"""Output whose every byte follows from its offset, and clients that hold it against that.

Clients go on when a server is replaced exactly as those of the command line do: they keep their
lifeline and attach again at their offset.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from typing import Any, Final

from ptymux.client.attach_request import AttachRequest
from ptymux.client.attachment import Attachment
from ptymux.client.reconnect import RetryPolicy
from ptymux.client.stream import attach
from ptymux.errors import PtymuxError
from ptymux.protocol.framing import Exit, Frame, Gap, Out
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

__all__ = ["Client", "FLOOD", "LINE", "PACED", "expected", "goes_on", "streaming"]

LINE: Final = 16  # bytes, with the newline
FLOOD: Final = ("/usr/bin/seq", "-f", "%015.0f", "0", "1000000000000")
# Some 300 KB a second, in pieces that are no multiple of anything.
PACED: Final = (
    sys.executable,
    "-ISc",
    """import os, time
at = 0
while True:
    text = b"".join(b"%015d\\n" % n for n in range(at, at + 97))
    while text:
        text = text[os.write(1, text):]
    at += 97
    time.sleep(0.005)
""",
)

_BLOCK: Final = 1000  # lines that share all but their last three digits
_TEMPLATE: Final = b"".join(b"#%03d\n" % number for number in range(_BLOCK))
_RETRY_SECONDS: Final = 0.01
# A replacement that comes late on a busy machine is not what these clients are about.
_PATIENT: Final = RetryPolicy(died_seconds=deadline_seconds(), gone_seconds=deadline_seconds())


def expected(offset: int, size: int) -> bytes:
    """Return what a counter stream has at an offset."""
    block = _BLOCK * LINE
    first, last = offset // block, (offset + size) // block
    text = b"".join(_TEMPLATE.replace(b"#", b"%012d" % at) for at in range(first, last + 1))
    start = offset - first * block
    return text[start : start + size]


class Client(threading.Thread):
    """Reads a counter stream and judges it by content; gaps are allowed where they are told.

    `kind` is that of the reader; `lifeline`: the attachment lives by one, as `run` into a pipe and
    terminals do; without, it is a follower.
    """

    def __init__(
        self,
        server: Serving,
        pty: dict[str, Any],
        kind: str = "consumer",
        *,
        lifeline: bool = False,
        types: bool = False,
        hangup: bool = False,
        rate: float | None = None,
    ) -> None:
        super().__init__(daemon=True)
        request = AttachRequest(
            pty["pty_id"], kind, wants_input=types, lifeline=lifeline, hangup=hangup
        )
        with server.connect() as connection:
            stream = attach(connection, request)
        self.attachment = Attachment(server.path, stream, request, _PATIENT)
        self.start_offset = self.attachment.offset
        self.delivered = self.skipped = 0
        self.wrong: list[str] = []
        self.end: dict[str, Any] | None = None
        self.attachments = 1
        self.first_byte_at = 0.0  # of this attachment, on time.monotonic
        self._is_stopping = threading.Event()
        self._rate = rate  # bytes a second that it takes at most
        self._take(self.attachment.pending())
        self.start()

    @property
    def offset(self) -> int:
        """The offset of the next byte."""
        return self.attachment.offset

    def run(self) -> None:
        """Read until the end or until stopped."""
        try:
            while not (self.attachment.is_over or self._is_stopping.is_set()):
                self._turn()
        except PtymuxError as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _turn(self) -> None:
        if self.attachment.stream is None:
            if self.attachment.look_for_server():
                self.attachments += 1
                self.first_byte_at = 0.0
                self._take(self.attachment.pending())
            else:
                time.sleep(_RETRY_SECONDS)  # polls for a server
            return
        poll = select.poll()
        poll.register(self.attachment.stream, select.POLLIN)
        if poll.poll(50):
            self._take(self.attachment.receive())

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            match frame:
                case Out():
                    self.first_byte_at = self.first_byte_at or time.monotonic()
                    if frame.data != expected(frame.offset, len(frame.data)):
                        self.wrong.append(f"{len(frame.data)} bytes at {frame.offset}")
                    self.delivered += len(frame.data)
                    if self._rate:
                        time.sleep(len(frame.data) / self._rate)  # what a slow reader is
                case Gap():
                    self.skipped += frame.end - frame.start
                case Exit():
                    self.end = frame.pty

    def stop(self, *, detach: bool = False) -> None:
        """End the attachment, with or without taking leave, and check its arithmetic."""
        self._is_stopping.set()
        self.join(deadline_seconds())
        assert not self.is_alive(), "a client hangs"
        self.attachment.close(detach=detach)
        self.check()

    def check(self) -> None:
        """Hold it to the law of readers, and to the content."""
        assert not self.wrong, self.wrong[:5]
        assert self.offset - self.start_offset == self.delivered + self.skipped


def streaming(server: Serving) -> tuple[dict[str, Any], Client]:
    pty = server.spawn(*PACED, plain_output=True)
    return pty, Client(server, pty, types=True)


def goes_on(client: Client) -> None:
    """Return once output arrived that was written after this was called."""
    before = client.offset + 50_000
    wait_until(lambda: client.offset > before or client.wrong)
    client.check()
