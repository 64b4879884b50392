"""Output as text: a decoder that loses nothing when bytes cannot be decoded."""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

__all__ = ["NOTHING", "Decoded", "TextDecoder", "check_encoding"]


class Decoded(NamedTuple):
    """What became of some bytes: their text, those behind it, and the error between both."""

    text: str
    rest: bytes  # not used yet; give them to the next call
    error: UnicodeDecodeError | None = None  # of bytes that are in the error alone


NOTHING: Final = Decoded("", b"")


def check_encoding(encoding: str | None, errors: str) -> None:
    """Return if there is such an encoding, and such a way to treat errors; raises LookupError."""
    if encoding is not None:
        codecs.lookup(encoding)
        codecs.lookup_error(errors)


class TextDecoder:
    """Makes text of output as it comes; a letter may be cut by the end of a piece.

    Pure. With `errors` as "strict" a piece is decoded up to the first bytes that are no text. The
    next call has the error of these, and the one after it goes on behind them.
    """

    def __init__(self, encoding: str, errors: str) -> None:
        """Raises LookupError if there is no such encoding."""
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)

    def decode(self, data: bytes) -> Decoded:
        """Return the text of `data`, as far as it can be decoded."""
        before = self._decoder.getstate()
        try:
            return Decoded(self._decoder.decode(data), b"")
        except UnicodeDecodeError as error:
            # The error is about the bytes that the decoder held and those of `data`.
            held = max(0, len(error.object) - len(data))
            good = error.start - held
            if good > 0:
                self._decoder.setstate(before)
                return Decoded(self._decoder.decode(data[:good]), data[good:])
            self._decoder.setstate((b"", before[1]))
            return Decoded("", error.object[max(error.end, 1) :], error)

    def finish(self) -> Decoded:
        """Return what stands for a letter whose end does not come; what follows begins anew."""
        try:
            return Decoded(self._decoder.decode(b"", final=True), b"")
        except UnicodeDecodeError as error:
            return Decoded("", error.object[error.end :], error)
        finally:
            self._decoder.reset()

    def take_held(self) -> bytes:
        """Return the bytes of a letter that is not complete, for who reads on without us."""
        held, state = self._decoder.getstate()
        self._decoder.setstate((b"", state))
        return held
