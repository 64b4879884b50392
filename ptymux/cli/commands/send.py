"""`ptymux send`: types into a PTY."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.pty_names import PTY, check_exact
from ptymux.cli.options.typed_text import TypingCommand
from ptymux.cli.output.exit_summary import title
from ptymux.cli.output.printing import print_json, print_message, print_text
from ptymux.cli.server_lookup import connect
from ptymux.core.words import closest
from ptymux.errors import InputCutError, LineTooLongError, PtymuxError

if TYPE_CHECKING:
    from ptymux.client.server_connection import ServerConnection
    from ptymux.core.terminal_modes import TerminalModes

__all__ = ["send"]

_EPILOG: Final = """\b
Examples:
  ptymux send 3 make test --enter        the text, then Enter
  ptymux send 3 ls --json --enter        --json is text: it stands behind ls
  ptymux send 3 --enter -- -x --enter    all behind -- is text
  ptymux send 3 --key C-c --key Up       keys by name: Tab, F5, M-x, S-Tab, ^C
  ptymux send web --stdin < commands     what stdin has
  ptymux send ed --paste --stdin < file  as a paste
  ptymux wait 3 --from $(ptymux send 3 make --enter) --text 'Error|done'
"""

# As tmux's send-keys takes them among the text.
_PRESSED: Final = re.compile(r"Enter|Escape|Space|Tab|BSpace|Up|Down|[CM]-.|\^[A-Za-z]")
_CHUNK: Final = 64 * 1024
_PASTE: Final = b"\x1b[200~"
_PASTE_END: Final = b"\x1b[201~"


@click.command(cls=TypingCommand, epilog=_EPILOG)
@click.argument("pty", type=PTY)
@click.argument("text", nargs=-1)
@click.option("--enter", is_flag=True, help="Enter at the end.")
@click.option(
    "--key", "keys", multiple=True, metavar="KEY", help="A key after the text; repeatable."
)
@click.option("--stdin", "from_stdin", is_flag=True, help="What stdin has, after the text.")
@click.option(
    "--paste", is_flag=True, help="As a paste, marked as one if the program asked for that."
)
@click.option("--raw", is_flag=True, help="Text and stdin byte for byte; else a new line is Enter.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def send(
    pty: str,
    text: tuple[str, ...],
    enter: bool,
    keys: tuple[str, ...],
    from_stdin: bool,
    paste: bool,
    raw: bool,
    as_json: bool,
) -> None:
    """Type TEXT, words joined by blanks, into PTY.

    Options stand before TEXT, and all behind its first word is text; but --stdin, --enter and
    --key with a key's name may stand at its end, where they are typed.
    Keys and pastes are sent as a terminal would that is in the modes which the program switched on.
    Returns when the PTY took it all, and prints the offset of its output before that.
    """
    if not (text or enter or keys or from_stdin):
        raise click.UsageError("nothing to send: give TEXT, --enter, --key or --stdin")
    from ptymux.core.key_names import key_bytes

    names = [*keys, *(["Enter"] if enter else [])]
    for name in names:
        key_bytes(name)  # first: a mistake sends nothing
    said = os.fsencode(" ".join(text))
    with connect() as connection:
        found: dict[str, Any] = connection.call("get", pty=pty)["pty"]
        check_exact(pty, found)

        def pieces(modes: TerminalModes) -> Iterator[bytes]:
            typed = b"".join(key_bytes(name, modes) for name in names)
            typist = _Typist(modes, paste=paste, raw=raw)
            return _pieces(said, typed, typist, from_stdin=from_stdin)

        offset, size = _send(connection, found, pieces)
    if as_json:
        print_json(pty_id=found["pty_id"], offset=offset, size=size)
    else:
        print_text(str(offset))
        if os.isatty(1):
            told = f"of the output before it, for `ptymux wait {pty} --from {offset} --text REGEX`"
            print_message(f"[the offset {told}]", prefix="")
            _tell_options(text)


def _tell_options(text: tuple[str, ...]) -> None:
    """Say on a terminal which word of the text may have been meant as an option or as a key."""
    if len(text) > 1 and _PRESSED.fullmatch(text[-1]):
        print_message(f"[{text[-1]} was typed as text; --key {text[-1]} presses it]", prefix="")
    known = [name for param in send.params for name in param.opts if name[:1] == "-"]
    for word in text[1:]:
        if word[:2] == "--" and (word in known or closest(word, known)):
            print_message(f"[{word} was typed as text; options stand before it]", prefix="")
            return


class _Typist:
    """Makes of a text what a terminal sends for it when it is typed or pasted."""

    def __init__(self, modes: TerminalModes, *, paste: bool, raw: bool) -> None:
        self.paste = paste
        self._marks = paste and modes.has(2004)
        self._raw = raw
        self._ends_with_return = False

    def type(self, data: bytes) -> bytes:
        """Return the next piece of a text: its new lines, CR before LF too, are Enter."""
        if self._raw or not data:
            return data
        if self._ends_with_return and data.startswith(b"\n"):
            data = data[1:]
            self._ends_with_return = False
        self._ends_with_return = data.endswith(b"\r") if data else self._ends_with_return
        return data.replace(b"\r\n", b"\r").replace(b"\n", b"\r")

    def pasted(self, data: bytes) -> bytes:
        """Return the whole text as a paste; what would end it early is taken out."""
        while _PASTE_END in data:
            data = data.replace(_PASTE_END, b"")
        data = self.type(data)
        return _PASTE + data + _PASTE_END if self._marks else data


def _pieces(said: bytes, typed: bytes, typist: _Typist, *, from_stdin: bool) -> Iterator[bytes]:
    if typist.paste:  # a marker in it may be cut, so that it is taken whole
        if from_stdin:
            with open(0, "rb", closefd=False) as stdin:
                said += stdin.read()
        yield typist.pasted(said) + typed
        return
    if not from_stdin:
        yield typist.type(said) + typed
        return
    yield typist.type(said)
    while data := os.read(0, _CHUNK):
        yield typist.type(data)
    yield typed


def _send(
    connection: ServerConnection,
    found: dict[str, Any],
    pieces: Callable[[TerminalModes], Iterator[bytes]],
) -> tuple[int, int]:
    """Send all pieces; return the offset before them, and their size.

    Raises:
        LineTooLongError: the terminal would cut a line; of what came before `taken` was sent.
        InputCutError: the PTY ended and took less.
    """
    from ptymux.client.cut_lines import Lines
    from ptymux.client.stream import open_input
    from ptymux.core.terminal_modes import TerminalModes

    pty_id = str(found["pty_id"])
    lifeline, offset = open_input(connection, pty_id)
    modes = TerminalModes()
    modes.see(lifeline.modes)
    lines = Lines(found["pid"])
    size = 0
    refused: LineTooLongError | None = None
    with lifeline:
        for piece in pieces(modes):
            try:
                lines.check(piece)
            except LineTooLongError as error:
                refused = error
                break
            size += len(piece)
            if not lifeline.send_all(piece):
                break
        taken = lifeline.finish()
    if refused is not None:
        raise PtymuxError(f"{refused} (before it {taken} bytes were sent)") if taken else refused
    if taken < size:
        raise InputCutError(f"{found['number']} ({title(found)})", taken, size)
    return offset, size
