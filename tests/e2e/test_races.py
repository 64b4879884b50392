"""What could happen a moment too early or too late, again and again."""

from __future__ import annotations

import random

import pytest

from ptymux.client import stream
from ptymux.core.model import SpawnOptions
from tests.serving import Serving
from tests.timing import deadline_text, is_measured

# Commands take three times as long while coverage is measured.
ROUNDS = 15 if is_measured() else 50


@pytest.mark.slow
@pytest.mark.requirement("FR-005")
def test_waiting_for_a_text_never_misses_it_whenever_it_comes(server: Serving) -> None:
    server.start()
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    with server.connect() as connection:
        for _ in range(ROUNDS):
            after = dice.choice((0.0, 0.0, dice.uniform(0, 0.15)))
            ends = dice.choice(("", "; exec sleep 100"))
            script = f"sleep {after:.3f}; echo READY{ends}"
            options = SpawnOptions(argv=("/bin/sh", "-c", script), name="srv", env={}, cwd="/")
            pty = connection.spawn(options)["pty"]

            found = server.json("wait", "srv", "--text", "READY", "--timeout", deadline_text())

            assert (found["came_true"], found["text"]) == (True, "READY"), seed
            connection.call("kill", ptys=[pty["pty_id"]])
            connection.call("remove", all=True)


@pytest.mark.slow
@pytest.mark.requirement("FR-010")
def test_waiting_from_where_input_was_sent_never_finds_what_was_said_before(
    server: Serving,
) -> None:
    server.start()
    script = "stty -echo; echo got 0; while read n; do echo got $n; done"
    with server.connect() as connection:
        options = SpawnOptions(argv=("/bin/sh", "-c", script), name="a", env={}, cwd="/")
        connection.spawn(options)
        server.ok("wait", "a", "--text", "got 0", "--timeout", deadline_text())
        for number in range(1, 1 + ROUNDS // 2):
            offset = stream.send(connection, "a", b"%d\n" % number)

            words = ("--from", str(offset), "--timeout", deadline_text())
            found = server.json("wait", "a", "--text", "got [0-9]+", *words)

            assert found["text"] == f"got {number}"
            assert found["offset"] >= offset
    sent = server.ok("send", "a", "100", "--enter").strip()
    assert server.json("wait", "a", "--text", "got 100", "--from", sent)["offset"] >= int(sent)
