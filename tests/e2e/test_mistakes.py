"""What people get wrong, and a server that is just being replaced."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

import pytest

from ptymux.errors import InvalidValueError
from tests.serving import Serving
from tests.world import windows


def test_a_word_that_is_nearly_a_command_is_understood(server: Serving) -> None:
    status, text = server.refused("lst")

    assert (status, "did you mean 'ls'" in text) == (2, True)


def test_an_option_that_is_nearly_one_is_understood(server: Serving) -> None:
    status, text = server.refused("run", "--nmae", "x", "true")

    assert (status, "did you mean '--name';" in text) == (2, True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["ls", "--state", "exitd"], "no state 'exitd'; did you mean 'exited'? there are starting"),
        (["ls", "--state", "exited (x)"], "no state 'exited (x)'; did you mean 'exited'?"),
        (["wait", "x", "--state", "Quiet"], "no state 'Quiet'; did you mean 'quiet'?"),
        (["events", "--topic", "pty.stoped"], "did you mean 'pty.stopped'?"),
        (["events", "--topic", "x"], "no topic 'x'; there are pty.spawned, "),
        (["dashboard", "--sort", "drps"], "did you mean 'drops'? there are rate, "),
        (["set", "x", "--on-full", "blok"], "did you mean 'block'? there are drop, block;"),
        (["run", "--on-full", "blok", "true"], "did you mean 'block'? there are drop, block;"),
        (["stress", "--child", "no"], "no child 'no'; there are counter, yes;"),
        (["completion", "bsh"], "did you mean 'bash'? there are bash, zsh, fish;"),
        (["server", "strt"], "no command 'strt'; did you mean 'start'? there are start, stop,"),
        (["help", "lss"], "no command 'lss', did you mean 'ls'"),
    ],
)
def test_a_word_that_is_none_of_a_closed_set_is_refused_with_a_guess_and_the_list(
    no_server: Serving, words: list[str], complaint: str
) -> None:
    status, text = no_server.refused(*words)

    assert (status, complaint in text) == (2, True), text


def test_a_signal_that_is_nearly_one_is_understood(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")

    status, text = server.refused("signal", "x", "SIGTRM")

    assert (status, "(did you mean TERM?)" in text) == (2, True), text


def test_a_state_that_does_not_exist_is_refused_by_the_server_too(server: Serving) -> None:
    pty = server.sh("sleep 1000")

    for method, params in (("list", {}), ("wait", {"pty": pty["pty_id"], "until": "state"})):
        with pytest.raises(InvalidValueError, match="did you mean 'exited'"):
            server.call(method, state="exitd", **params)


def test_a_name_that_is_nearly_one_is_understood(server: Serving) -> None:
    server.run("--name", "web", "sleep", "1000")

    for words in (("stats", "webb"), ("stats", "webb", "--json"), ("kill", "wbe"), ("logs", "wb")):
        status, text = server.refused(*words)
        assert (status, "did you mean 'web'; " in text) == (1 if "kill" in words else 125, True)
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
