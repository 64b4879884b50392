"""`ptymux send`: types into a PTY."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.pty_names import PTY, check_exact
from ptymux.cli.output.exit_summary import title
from ptymux.cli.output.printing import print_json, print_text
from ptymux.cli.server_lookup import connect
from ptymux.errors import InputCutError, LineTooLongError, PtymuxError

if TYPE_CHECKING:
    from ptymux.client.server_connection import ServerConnection

__all__ = ["send"]

_EPILOG: Final = """\b
Examples:
  ptymux send 3 make test --enter        the text, then Enter
  ptymux send 3 --key C-c --key Up       keys by name: Tab, F5, M-x, S-Tab
  ptymux send web --stdin < commands     what stdin has
  ptymux send ed --paste --stdin < file  as a paste
  ptymux wait 3 --from $(ptymux send 3 make --enter) --text 'Error|done'
"""

_CHUNK: Final = 64 * 1024
_PASTE: Final = b"\x1b[200~"
_PASTE_END: Final = b"\x1b[201~"


@click.command(epilog=_EPILOG)
@click.argument("pty", type=PTY)
@click.argument("text", nargs=-1)
@click.option("--enter", is_flag=True, help="Enter at the end.")
@click.option(
    "--key", "keys", multiple=True, metavar="KEY", help="A key after the text; repeatable."
)
@click.option("--stdin", "from_stdin", is_flag=True, help="What stdin has, after the text.")
@click.option("--paste", is_flag=True, help="Mark text and stdin as pasted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def send(
    pty: str,
    text: tuple[str, ...],
    enter: bool,
    keys: tuple[str, ...],
    from_stdin: bool,
    paste: bool,
    as_json: bool,
) -> None:
    """Type TEXT, words joined by blanks, into PTY.

    Returns when the PTY took it all, and prints the offset of its output before that.
    """
    if not (text or enter or keys or from_stdin):
        raise click.UsageError("nothing to send: give TEXT, --enter, --key or --stdin")
    from ptymux.cli.options.key_names import key_bytes

    typed = b"".join(map(key_bytes, keys)) + (b"\r" if enter else b"")
    said = os.fsencode(" ".join(text))
    with connect() as connection:
        found: dict[str, Any] = connection.call("get", pty=pty)["pty"]
        check_exact(pty, found)
        pieces = _pieces(said, typed, from_stdin=from_stdin, paste=paste)
        offset, size = _send(connection, found, pieces)
    if as_json:
        print_json(pty_id=found["pty_id"], offset=offset, size=size)
    else:
        print_text(str(offset))


def _pieces(said: bytes, typed: bytes, *, from_stdin: bool, paste: bool) -> Iterator[bytes]:
    if not from_stdin:
        yield (_pasted(said) if paste else said) + typed
        return
    if paste:  # a marker in it may be cut, so that it is taken whole
        with open(0, "rb", closefd=False) as stdin:
            yield _pasted(said + stdin.read()) + typed
        return
    yield said
    while data := os.read(0, _CHUNK):
        yield data
    yield typed


def _pasted(data: bytes) -> bytes:
    """Return the data as a paste; what would end it early is taken out."""
    while _PASTE_END in data:
        data = data.replace(_PASTE_END, b"")
    return _PASTE + data + _PASTE_END


def _send(
    connection: ServerConnection, found: dict[str, Any], pieces: Iterator[bytes]
) -> tuple[int, int]:
    """Send all pieces; return the offset before them, and their size.

    Raises:
        LineTooLongError: the terminal would cut a line; of what came before `taken` was sent.
        InputCutError: the PTY ended and took less.
    """
    from ptymux.client.cut_lines import Lines
    from ptymux.client.stream import open_input

    pty_id = str(found["pty_id"])
    lifeline, offset = open_input(connection, pty_id)
    lines = Lines(found["pid"])
    size = 0
    refused: LineTooLongError | None = None
    with lifeline:
        for piece in pieces:
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
