"""What people get wrong, and a server that is just being replaced."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

from tests.serving import Serving
from tests.world import windows


def test_a_word_that_is_nearly_a_command_is_understood(server: Serving) -> None:
    status, text = server.refused("lst")

    assert (status, "did you mean 'ls'" in text) == (2, True)


def test_an_option_that_is_nearly_one_is_understood(server: Serving) -> None:
    status, text = server.refused("run", "--nmae", "x", "true")

    assert (status, "did you mean '--name';" in text) == (2, True)


def test_a_name_that_is_nearly_one_is_understood(server: Serving) -> None:
    server.run("--name", "web", "sleep", "1000")

    for words in (("stats", "webb"), ("stats", "webb", "--json"), ("kill", "wbe"), ("logs", "wb")):
        status, text = server.refused(*words)
        assert (status, "did you mean 'web'; " in text) == (125, True)
    assert "did you mean" not in server.refused("stats", "quite-another")[1]
    assert len(server.live()) == 1


def test_a_socket_without_a_path_is_refused(server: Serving) -> None:
    for words in (["ls"], ["run", "true"], ["version"]):
        status, text = server.refused("--socket", "", *words)
        assert (status, "--socket is empty" in text) == (2, True)


class HangsUp:
    """A server that hangs up on the first that come, before it said a word."""

    def __init__(self, path: str, times: int) -> None:
        self._times = times
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._path = path
        self.count = 0

    def _serve(self) -> None:
        while self.count < self._times:
            self._listener.accept()[0].close()
            self.count += 1
        os.unlink(self._path)
        self._listener.close()

    def __enter__(self) -> HangsUp:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._times = 0
        if self._thread.is_alive():
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(self._path)
        self._thread.join()


def test_a_server_that_is_being_replaced_is_asked_again(no_server: Serving) -> None:
    with HangsUp(no_server.path, 5) as replaced:
        assert no_server.ok("ls") == ""  # as without a server, which there is none in the end

    assert replaced.count == 5


def test_a_server_that_hangs_up_for_good_costs_a_moment_and_a_line(no_server: Serving) -> None:
    no_server.world.env |= windows(replacement=0.2)
    with HangsUp(no_server.path, 1 << 30) as broken:
        words = (["ls"], ["stats", "x", "--json"], ["server", "status"])
        commands = [no_server.world.start(*each, stderr=subprocess.PIPE) for each in words]

        for command in commands:
            told = command.communicate()[1]
            assert (command.returncode, told.count(b"\n"), b"it hangs up" in told) == (125, 1, True)

    assert broken.count > 3
