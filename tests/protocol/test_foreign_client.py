"""PROTOCOL.md is enough to write a client by: one that imports nothing of ptymux."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from ptymux.errors import PtymuxError, UnknownPtyError
from ptymux.protocol.framing import Exit, Out, Ping
from ptymux.protocol.messages import Request, decode_payload
from ptymux.protocol.params import Params
from tests.client.stub import Peer, StubServer, engine_end
from tests.protocol import foreign_client

PTY = {"pty_id": "pty_1", "command": ["cat"], "state": "active", "exit_code": None}


def serve_one_cat(peer: Peer) -> None:
    """Be a server with one PTY that has `hello` typed and ends."""
    peer.greet()
    while True:
        request = peer.request()
        try:
            answer(peer, request)
        except PtymuxError as error:
            peer.refuse(request, error)


def answer(peer: Peer, request: Request) -> None:
    params = Params(request.params)
    match request.method:
        case "get":
            raise UnknownPtyError(params.text("pty"))
        case "spawn":
            payload = peer.payload(params.number("payload_bytes"))
            argv, env = decode_payload(payload, params.number("argc"), params.number("envc"))
            assert (argv, list(env)) == (["cat"], ["PATH"])
            assert os.readlink(f"/proc/self/fd/{peer.fds[0]}") == os.getcwd()
            peer.reply(request, {"pty": PTY})
        case "list":
            peer.reply(request, {"ptys": [PTY], "ended": 0, "next": None})
        case "send":
            lifeline, engine = engine_end()
            peer.reply(request, {"pty": PTY, "offset": 0}, [lifeline])
            os.close(lifeline)
            engine.join()
        case "attach":
            peer.reply(request, {"pty": PTY, "offset": 0, "lifeline": False})
            frames = [Out(0, b"hello\r\n"), Ping(), Out(7, b"hello\r\n")]
            peer.send_frames(*frames, Exit(PTY | {"exit_code": 0}))


def test_a_client_made_from_the_document_alone_can_talk(tmp_path: Path) -> None:
    with StubServer(str(tmp_path / "s"), serve_one_cat) as server:
        foreign_client.talk(server.path)


def test_the_foreign_client_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(foreign_client.__file__).read_text())
    names = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }

    assert not [name for name in names if name and name.startswith("ptymux")]
