"""A client that asks without end, or for very much, does not hold up the others."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.processes import is_stopped
from tests.server.raw_client import greeted, request
from tests.serving import Serving
from tests.timing import wait_until

pytestmark = pytest.mark.requirement("SC-002")

_COUNT = 400  # requests that the server reads at once


def test_who_asks_many_things_at_once_is_not_answered_all_of_them_first(
    own_server: Serving,
) -> None:
    pty = own_server.sh("exec sleep 600")
    number = str(pty["number"])
    server = own_server.status()["pid"]
    renames = [
        request("rename", json.dumps({"pty": number, "name": f"n{at}"}), id=at + 1)
        for at in range(1, _COUNT + 1)
    ]
    with greeted(own_server) as many, greeted(own_server) as one:
        os.kill(server, signal.SIGSTOP)
        wait_until(lambda: is_stopped(server))
        many.sendall(b"".join(renames))
        one.sendall(request("get", json.dumps({"pty": number})))
        os.kill(server, signal.SIGCONT)

        name = json.loads(one.makefile("rb").readline())["result"]["pty"]["name"]

        assert name is None or int(name[1:]) < _COUNT
        answers = many.makefile("rb")
        ids = [json.loads(answers.readline())["id"] for _ in renames]
        assert ids == [at + 1 for at in range(1, _COUNT + 1)]


def test_a_name_that_is_given_a_hundred_thousand_times_is_looked_up_once(server: Serving) -> None:
    pty = server.sh("exit 0")
    server.call("wait", pty=pty["pty_id"], until="gone")
    names = ",".join([f'"{pty["number"]}"'] * 100_000)

    with greeted(server) as sock:
        sock.sendall(request("remove", f'{{"ptys":[{names}]}}'))

        assert json.loads(sock.makefile("rb").readline())["result"]["removed"] == [pty["pty_id"]]
