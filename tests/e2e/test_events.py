"""`ptymux events`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import Any

import pytest

from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX


def lines(server: Serving, *words: str) -> list[Any]:
    """Return the events that a command printed as JSON Lines."""
    return [json.loads(line) for line in server.ok("events", "--json", *words).splitlines()]


def ended(server: Serving, *words: str) -> str:
    """Return the id of a PTY that has ended."""
    pty_id = server.run(*words)
    wait_until(lambda: lines(server, "--pty", pty_id, "--topic", "pty.stopped"))
    return pty_id


def test_without_a_server_nothing_has_happened(no_server: Serving) -> None:
    assert no_server.ok("events") == no_server.ok("events", "--json", "--since", "3") == ""

    status, text = no_server.refused("events", "--follow")
    assert (status, "no server runs" in text) == (125, True)


@pytest.mark.requirement("EVENTS")
def test_json_lines_are_whole_envelopes(own_server: Serving) -> None:
    pty_id = ended(own_server, "-c", "exit 3")

    told = lines(own_server)

    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert {event["pty_id"] for event in told} == {pty_id}
    assert [event["topic"] for event in told][-1] == "pty.stopped"
    assert told[-1]["payload"]["exit_code"] == 3
    assert told[-1]["correlation_id"]


def test_events_can_be_chosen(own_server: Serving) -> None:
    first, second = ended(own_server, "true"), ended(own_server, "--name", "x", "true")

    stopped = lines(own_server, "--topic", "pty.stopped")
    assert [event["pty_id"] for event in stopped] == [first, second]
    assert {event["pty_id"] for event in lines(own_server, "--pty", "2")} == {second}
    two = lines(own_server, "--topic", "pty.stopped", "--topic", "pty.spawned", "--pty", first)
    assert [event["topic"] for event in two] == ["pty.spawned", "pty.stopped"]
    since = lines(own_server, "--since", str(stopped[0]["seq"]))
    assert {event["pty_id"] for event in since} == {second}


def test_for_people_an_event_is_a_line_with_the_name(own_server: Serving) -> None:
    own_server.run("--name", "web", "sleep", "1000")
    own_server.ok("resize", "web", "120x40")
    own_server.ok("kill", "web")

    told = own_server.ok("events")

    assert re.search(
        r"^\d\d:\d\d:\d\d\.\d{3}  1 web +pty\.resized +old=80x24 new=120x40$", told, re.M
    )
    assert "signal=TERM" in told


def test_a_topic_has_to_exist(server: Serving) -> None:
    assert server.refused("events", "--topic", "pty.nonsense")[0] == 2
    assert server.refused("events", "--since", "-1")[0] == 2


@pytest.mark.parametrize("as_json", [True, False])
def test_following_tells_what_comes(own_server: Serving, as_json: bool) -> None:
    own_server.run("--name", "first", "sleep", "1000")
    words = ["events", "-f", "--since", "0", "--topic", "pty.spawned", *["--json"] * as_json]

    with own_server.world.start(*words, stdout=subprocess.PIPE) as following:
        before = following.read_line()
        second = own_server.run("--name", "second", "sleep", "1000")
        after = following.read_line()
        following.send_signal(signal.SIGINT)
        assert following.communicate()[0] == b""

    assert following.returncode == 130
    if as_json:
        assert json.loads(after)["pty_id"] == second
    else:
        assert (b"1 first" in before, b"2 second" in after) == (True, True)


def test_following_ends_when_nobody_reads_any_more(server: Serving) -> None:
    server.run("sleep", "1000")
    line = f"{PTYMUX} events -f --since 0; echo $? >&2"

    done = server.world.run("/bin/bash", "-c", f"({line}) | head -1")

    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b"141\n"


def test_following_ends_with_the_server(own_server: Serving) -> None:
    own_server.run("--name", "x", "sleep", "1000")
    pipe = subprocess.PIPE

    words = ["events", "-f", "--since", "0"]
    with own_server.world.start(*words, stdout=pipe, stderr=pipe) as following:
        following.read_line()
        own_server.stop()
        rest, said = following.communicate()

    assert b"pty.stopped" in rest
    assert (following.returncode, said) == (0, b"")


def test_following_goes_on_with_the_next_server(own_server: Serving) -> None:
    own_server.run("--name", "x", "sleep", "1000")

    words = ["events", "-f", "--json", "--since", "0", "--topic", "pty.spawned"]
    with own_server.world.start(*words, stdout=subprocess.PIPE) as following:
        following.read_line()
        own_server.ok("server", "restart")
        second = own_server.run("sleep", "1000")
        told = [json.loads(following.read_line())["pty_id"]]
        while second not in told:
            told.append(json.loads(following.read_line())["pty_id"])
        own_server.stop()
        assert following.wait() == 0

    assert told.count(second) == 1
