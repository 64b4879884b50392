"""What a command that takes several PTYs could not do: a line for each, and exit code 1."""

from __future__ import annotations

import re
from typing import Any, Final

from ptymux.cli.output.printing import print_message
from ptymux.errors import PtymuxError, UnknownPtyError

__all__ = ["Refusals", "hinted"]

_SOME_REFUSED: Final = 1


class Refusals:
    """The PTYs of a command that it could not act upon, in the order in which they were typed."""

    def __init__(self) -> None:
        self._errors: dict[str, PtymuxError] = {}

    def add(self, word: str, error: PtymuxError) -> None:
        """Note why nothing was done to the PTY that was typed as `word`."""
        self._errors[word] = error

    def as_json(self) -> list[dict[str, Any]]:
        """Return them as the member `errors` of what `--json` prints."""
        return [
            {"pty": word, "code": error.code, "error": str(error)}
            for word, error in self._errors.items()
        ]

    def print(self) -> int:
        """Print a line for each on stderr; return the exit code to end with."""
        for error in self._errors.values():
            print_message(hinted(error))
        return _SOME_REFUSED if self._errors else 0


def hinted(error: PtymuxError) -> str:
    """Return the message of an error; for an unknown PTY with a name that may have been meant."""
    text = str(error)
    unknown = re.match(r"no PTY '([^']+)'", text) if isinstance(error, UnknownPtyError) else None
    if unknown is None:
        return text
    from ptymux.cli.options.pty_names import similar_pty

    meant = similar_pty(unknown[1])
    return text if meant is None else f"{unknown[0]}, did you mean {meant!r}{text[unknown.end() :]}"
