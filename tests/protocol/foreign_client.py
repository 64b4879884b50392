"""A client made from PROTOCOL.md alone: it imports nothing of ptymux."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from tests.timing import deadline_seconds

OUT, GAP, EXIT, DETACH = 1, 7, 8, 10


class ForeignClient:
    """Speaks to the server whose socket is at `path`."""

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(deadline_seconds())
        self._sock.connect(path)
        self._rest = b""
        self._fds: list[int] = []
        self._id = 0
        self.hello = self.ask("hello", {"protocol": [1, 1], "client": "foreign 1"})

    def close(self) -> None:
        self._sock.close()
        for fd in self._fds:
            os.close(fd)

    def ask(self, method: str, params: dict[str, Any], payload: bytes = b"") -> dict[str, Any]:
        """Return the result or the error; with a payload goes the working directory."""
        self._id += 1
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        self._sock.sendall(json.dumps(request).encode() + b"\n")
        if payload:
            folder = os.open(".", os.O_PATH | os.O_DIRECTORY)
            sent = socket.send_fds(self._sock, [payload], [folder])
            os.close(folder)
            self._sock.sendall(payload[sent:])
        while b"\n" not in self._rest:
            self._receive()
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        assert answer["id"] == self._id, answer
        result = answer.get("result") or answer["error"]
        assert isinstance(result, dict)
        return result

    def spawn(self, *argv: str, **env: str) -> dict[str, Any]:
        words = [*argv, *(f"{name}={value}" for name, value in env.items())]
        payload = b"".join(word.encode() + b"\0" for word in words)
        params = {"argc": len(argv), "envc": len(env), "payload_bytes": len(payload)}
        spawned = self.ask("spawn", params | {"has_stdin": False, "cols": 80, "rows": 24}, payload)
        pty = spawned["pty"]
        assert isinstance(pty, dict)
        return pty

    def read_all(self, pty: str) -> tuple[bytes, int, dict[str, Any]]:
        """Attach; return all output, how many bytes of it were missed, and how the PTY ended."""
        reply = self.ask("attach", {"pty": pty, "offset": "oldest", "input": False})
        offset, output, missed = reply["offset"], b"", 0
        while True:
            kind, size = struct.unpack(">BI", self._exactly(5))
            content = self._exactly(size)
            if kind == OUT:
                assert struct.unpack_from(">Q", content) == (offset,)
                output += content[8:]
                offset += size - 8
            elif kind == GAP:
                start, end = struct.unpack(">QQ", content)
                assert start == offset
                missed, offset = missed + end - start, end
            elif kind in (EXIT, DETACH):
                return output, missed, json.loads(content or b"{}")

    def send(self, pty: str, data: bytes) -> int:
        """Return how many bytes of input the terminal took."""
        self.ask("send", {"pty": pty, "size": len(data)})
        with socket.socket(fileno=self._fds.pop()) as lifeline:
            lifeline.settimeout(deadline_seconds())
            lifeline.sendall(data)
            lifeline.shutdown(socket.SHUT_WR)
            word = b""
            while piece := lifeline.recv(8):
                word += piece
        return int.from_bytes(word, "little")

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._receive()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _receive(self) -> None:
        piece, fds, _flags, _address = socket.recv_fds(self._sock, 65536, 4)
        assert piece, "the server hung up"
        self._rest += piece
        self._fds += fds


def talk(path: str) -> None:
    """Go through what PROTOCOL.md tells with the server at `path`, which can spawn `cat`."""
    client = ForeignClient(path)
    try:
        assert client.hello["protocol"] == 1
        assert {"server", "epoch", "pid"} <= client.hello.keys()
        refusal = client.ask("get", {"pty": "no-such-pty"})
        assert refusal["data"] == {"code": "unknown-pty", "exit_code": 125}
        pty = client.spawn("cat", PATH=os.environ["PATH"])
        assert pty["command"] == ["cat"]
        assert client.ask("list", {})["ptys"][0]["pty_id"] == pty["pty_id"]
        assert client.send(pty["pty_id"], b"hello\n\4") == 7
        output, missed, end = client.read_all(pty["pty_id"])
        assert output == b"hello\r\nhello\r\n"
        assert missed == 0
        assert (end["pty_id"], end["exit_code"]) == (pty["pty_id"], 0)
    finally:
        client.close()
