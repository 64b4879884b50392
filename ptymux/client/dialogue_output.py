"""The output of a PTY as a dialogue reads it: some bytes at a time, or the text that they are."""

from __future__ import annotations

import codecs
import logging
import time
from typing import Final

from ptymux.client.answers import Pty
from ptymux.client.pty_reader import PtyReader
from ptymux.client.text_decoder import NOTHING, Decoded, TextDecoder
from ptymux.core.ring import Part
from ptymux.errors import ConnectionClosedError, UnknownPtyError

__all__ = ["DialogueOutput"]

_log: Final = logging.getLogger(__name__)

_PAST: Final = 0.0  # a deadline
_END_SECONDS: Final = 10.0  # for the last output of a PTY that the server has forgotten


class DialogueOutput:
    """What a reader reads, cut as the dialogue asks; a piece ends where bytes were missed.

    With an encoding the pieces are text. `skipped` counts the bytes that were missed; for each gap
    a warning is logged.
    """

    def __init__(self, reader: PtyReader, encoding: str | None, codec_errors: str) -> None:
        """Read with `reader`, which the caller closes; raises LookupError for the encoding."""
        self.skipped = 0
        self._reader = reader
        self._pty_id = reader.pty["pty_id"]
        self._rest = bytearray()  # received, and not read
        self._behind_gap: Part | None = None  # received, to be read after the rest
        self._is_cut = False  # a letter that was begun does not go on
        self._may_be_cut = reader.offset > 0  # what comes next may begin within a letter
        self._is_forgotten = False  # with the rest of the output
        self._decoder = None if encoding is None else TextDecoder(encoding, codec_errors)
        self._is_utf8 = encoding is not None and codecs.lookup(encoding).name == "utf-8"

    @property
    def offset(self) -> int:
        """The offset of the next byte to be read."""
        start = self._reader.offset if self._behind_gap is None else self._behind_gap.offset
        return start - len(self._rest)

    @property
    def has_server(self) -> bool:
        """Whether there is a connection, so that `take(size, 0)` does not wait for one."""
        return self._reader.has_server

    @property
    def is_over(self) -> bool:
        """Whether the PTY has ended, and all its output was received."""
        return self._reader.is_over or self._is_forgotten

    @property
    def end(self) -> Pty | None:
        """The PTY at its end; None before that was received."""
        return self._reader.end

    def fileno(self) -> int:
        """Return an fd that is readable when `take(size, 0)` may have something; -1 if closed."""
        fd = self._reader.fileno()
        self._note_held()
        return fd

    def take(self, size: int, timeout: float | None) -> str | bytes | None:
        """Return what is there of the next `size` bytes; None after the timeout, or at the end.

        Text may be empty, when only a part of a letter came.

        Raises:
            UnicodeDecodeError: the next bytes are no text, and are in the error alone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._rest and self._fetch(deadline):
                pass
            while 0 < len(self._rest) < size and self._fetch(_PAST):
                pass
            return self._next(size)
        finally:
            self._note_held()

    def take_bytes(self, size: int) -> bytes:
        """Return what is there of the next `size` bytes, as they are."""
        decoder, self._decoder = self._decoder, None
        try:
            data = self.take(size, 0)
            held = b"" if decoder is None else decoder.take_held()
            return held + (data if isinstance(data, bytes) else b"")
        finally:
            self._decoder = decoder

    def look_for_server(self) -> None:
        """Try to connect again, for up to 0.3 s; output that comes with it waits for `take`."""
        part = self._read(_PAST)
        self._reader.give_back([] if part is None else [part])
        self._note_held()

    def receive_end(self) -> Pty | None:
        """Receive all that is left of a PTY that has ended; return it as it was at its end.

        The server may know nothing of it any more; None if so much is lost.
        """
        deadline = time.monotonic() + _END_SECONDS
        kept: list[Part] = []
        try:
            while not self.is_over and time.monotonic() < deadline:
                part = self._read(deadline)
                if part is not None:
                    kept.append(part)
        except ConnectionClosedError:
            self._is_forgotten = True
        self._reader.give_back(kept)
        self._note_held()
        return self.end

    def _next(self, size: int) -> str | bytes | None:
        if self._decoder is not None and (self._is_cut or (self.is_over and not self._rest)):
            self._is_cut = False
            found = self._decoder.finish()
            if found != NOTHING:
                return self._used(found)
        data = bytes(self._rest[:size])
        del self._rest[:size]
        if self._decoder is None or not data:
            return data or None
        return self._used(self._decoder.decode(data))

    def _used(self, found: Decoded) -> str:
        """Return the text that was found; what is behind it is for the next call."""
        self._rest[:0] = found.rest
        if found.error is not None:
            raise found.error
        return found.text

    def _fetch(self, deadline: float | None) -> bool:
        """Receive more; False when none came in time, or it does not follow directly."""
        part, self._behind_gap = self._behind_gap, None
        if part is None:
            part = self._read(deadline)
        if part is None:
            return False
        if part.skipped and self._rest:
            self._behind_gap = part
            return False
        self._rest += self._whole(part)
        return True

    def _read(self, deadline: float | None) -> Part | None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return self._reader.read(left)
        except UnknownPtyError:  # another server is there, and the PTY was forgotten meanwhile
            self._is_forgotten = True
            _log.warning("PTY %s was forgotten, and the end of its output with it", self._pty_id)
            return None

    def _whole(self, part: Part) -> bytes:
        """Return the data of a part without the rest of a letter whose beginning was missed."""
        cut = 0
        if part.skipped or self._may_be_cut:
            self._may_be_cut = False
            self._is_cut = self._decoder is not None
            if self._is_utf8:
                head = part.data[:3]
                cut = len(head) - len(head.lstrip(bytes(range(0x80, 0xC0))))
        if part.skipped or cut:
            self.skipped += part.skipped + cut
            facts = (self._pty_id, part.skipped + cut, part.offset + cut)
            _log.warning("PTY %s: %d bytes of output before offset %d were missed", *facts)
        return part.data[cut:]

    def _note_held(self) -> None:
        self._reader.note_held(bool(self._rest) or self._behind_gap is not None or self.is_over)
