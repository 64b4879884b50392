"""`ptymux attach`: shows a PTY that is there already on this terminal, and types into it."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from ptymux.cli.options.at_terminal import detach_keys_option
from ptymux.cli.options.detach_keys import DetachKeys
from ptymux.cli.options.pty_names import PTY
from ptymux.cli.output.printing import print_message
from ptymux.cli.server_lookup import chosen_path, connect, home, renewed_links
from ptymux.errors import NotATerminalError, PtymuxError

__all__ = ["attach", "attach_to"]

_EPILOG: Final = """\b
Examples:
  ptymux attach 3                        keys in, output out; C-\\ d detaches
  ptymux attach                          the only one, or one of a list
  ptymux attach --only web               and throw others out
  ptymux attach --read-only web          only look
  ptymux attach --detach-keys 'C-a d' 3  where C-\\ has other work
  ptymux attach --detach-keys C-] 3      one key that detaches alone; or none

Exit status: 0 after a detach, that of the command if it ended meanwhile; 128+N after signal N.
"""


@click.command(epilog=_EPILOG)
@click.argument("pty", type=PTY, required=False)
@click.option("--only", is_flag=True, help="Detach all others that are attached with keys.")
@click.option("--raw", is_flag=True, help="Pass everything through as it is; so far the only way.")
@click.option("--read-only", is_flag=True, help="Send no keys, and leave the size as it is.")
@detach_keys_option
def attach(pty: str | None, only: bool, raw: bool, read_only: bool, detach_keys: str) -> int:
    """Show PTY on this terminal, and type into it; without one, choose from those that live.

    It goes on after a detach. Several can be attached at once; who types gives it the size.
    """
    if only and read_only:
        raise click.UsageError("--only and --read-only exclude each other")
    keys = DetachKeys(detach_keys)
    for fd, name in enumerate(("stdin", "stdout")):
        if not os.isatty(fd):
            raise NotATerminalError(f"{name}, which attach needs (`ptymux logs -f` does not),")
    return attach_to(_choose() if pty is None else pty, keys, read_only=read_only, only=only)


def _choose() -> str:
    """Return the id of the only live PTY, not counting the one that we run in, or of that chosen.

    Raises:
        PtymuxError: there is none.
        click.Abort: none was chosen.
    """
    from ptymux.client.listing import list_ptys

    own = os.environ.get("PTYMUX_ID")
    with connect() as connection:
        ptys = [pty for pty in list_ptys(connection.call).ptys if pty["pty_id"] != own]
    if not ptys:
        raise PtymuxError("no PTY to attach to; `ptymux run` starts one")
    if len(ptys) == 1:
        return str(ptys[0]["pty_id"])
    from ptymux.cli.terminal.chooser import choose

    return str(choose(ptys)["pty_id"])


def attach_to(pty: str, keys: DetachKeys, *, read_only: bool = False, only: bool = False) -> int:
    """Show a PTY on the terminal at stdin and stdout; return the exit code to end with.

    Raises:
        PtymuxError: it is unknown, or the one that we run in, or the server went away.
    """
    from ptymux.cli.options.config import sets_title
    from ptymux.cli.output.exit_summary import exit_code, summary, title
    from ptymux.cli.terminal.client_title import title_sequence
    from ptymux.cli.terminal.sizes import terminal_size
    from ptymux.cli.terminal.viewer import Viewer
    from ptymux.client.attach_request import AttachRequest
    from ptymux.client.attachment import Attachment
    from ptymux.client.stream import attach as attach_stream
    from ptymux.core.model import ENDED_STATES
    from ptymux.core.windows import Windows

    windows = Windows.from_environment(os.environ)
    connection = connect()
    renewed_links(os.environ)
    with connection:
        found: dict[str, Any] = connection.call("get", pty=pty, look=True)["pty"]
        if found["pty_id"] == os.environ.get("PTYMUX_ID"):
            raise PtymuxError(f"this is PTY {found['number']} itself; it cannot be shown in itself")
        if found["state"] in ENDED_STATES:
            print_message(summary(found), prefix="")
            return exit_code(found)
        size = None if read_only else terminal_size()
        request = AttachRequest(
            found["pty_id"],
            offset="now",
            wants_input=not read_only,
            lifeline=True,
            echo=not read_only,
            only=only,
            inside=home(),
            cols=None if size is None else size.cols,
            rows=None if size is None else size.rows,
        )
        stream = attach_stream(connection, request)
    name = f"{found['number']} ({title(found)})"
    with stream:
        way = f"; {keys.shown} detaches" if keys.shown else ""
        print_message(f"[attached to {name}{way}]", prefix="")
        if size is None:
            stream.redraw()
        attachment = Attachment(chosen_path(), stream, request)
        heading = title_sequence(stream.pty, os.environ.get("TERM", "")) if sets_title() else b""
        viewer = Viewer(
            attachment, keys, windows, read_only=read_only, modes=stream.modes, title=heading
        )
        status = viewer.run()
    if viewer.end is not None:
        print_message(summary(viewer.end), prefix="")
    return status
