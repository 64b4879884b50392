"""`ptymux events`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import Any

import pytest

from tests.e2e.conftest import PTYMUX
from tests.e2e.serving import Served
from tests.timing import wait_until


def lines(served: Served, *words: str) -> list[Any]:
    """Return the events that a command printed as JSON Lines."""
    return [json.loads(line) for line in served.ok("events", "--json", *words).splitlines()]


def ended(served: Served, *words: str) -> str:
    """Return the id of a PTY that has ended."""
    pty_id = served.start(*words)
    wait_until(lambda: not any(pty["pty_id"] == pty_id for pty in served.live()))
    return pty_id


def test_without_a_server_nothing_has_happened(served: Served) -> None:
    assert served.ok("events") == served.ok("events", "--json", "--since", "3") == ""

    status, text = served.refused("events", "--follow")
    assert (status, "no server runs" in text) == (125, True)


@pytest.mark.requirement("EVENTS")
def test_json_lines_are_whole_envelopes(served: Served) -> None:
    pty_id = ended(served, "-c", "exit 3")

    told = lines(served)

    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert {event["pty_id"] for event in told} == {pty_id}
    assert [event["topic"] for event in told][-1] == "pty.stopped"
    assert told[-1]["payload"]["exit_code"] == 3
    assert told[-1]["correlation_id"]


def test_events_can_be_chosen(served: Served) -> None:
    first, second = ended(served, "true"), ended(served, "--name", "x", "true")

    stopped = lines(served, "--topic", "pty.stopped")
    assert [event["pty_id"] for event in stopped] == [first, second]
    assert {event["pty_id"] for event in lines(served, "--pty", "2")} == {second}
    two = lines(served, "--topic", "pty.stopped", "--topic", "pty.spawned", "--pty", first)
    assert [event["topic"] for event in two] == ["pty.spawned", "pty.stopped"]
    since = lines(served, "--since", str(stopped[0]["seq"]))
    assert {event["pty_id"] for event in since} == {second}


def test_for_people_an_event_is_a_line_with_the_name(served: Served) -> None:
    served.start("--name", "web", "sleep", "1000")
    served.ok("resize", "web", "120x40")
    served.ok("kill", "web")

    told = served.ok("events")

    assert re.search(
        r"^\d\d:\d\d:\d\d\.\d{3}  1 web +pty\.resized +old=80x24 new=120x40$", told, re.M
    )
    assert "signal=TERM" in told


def test_a_topic_has_to_exist(served: Served) -> None:
    assert served.refused("events", "--topic", "pty.nonsense")[0] == 2
    assert served.refused("events", "--since", "-1")[0] == 2


@pytest.mark.parametrize("as_json", [True, False])
def test_following_tells_what_comes(served: Served, as_json: bool) -> None:
    served.start("--name", "first", "sleep", "1000")
    words = ["events", "-f", "--since", "0", "--topic", "pty.spawned", *["--json"] * as_json]

    with served.world.start(*words, stdout=subprocess.PIPE) as following:
        assert following.stdout
        before = following.stdout.readline()
        second = served.start("--name", "second", "sleep", "1000")
        after = following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.stdout.read() == b""

    assert following.returncode == 130
    if as_json:
        assert json.loads(after)["pty_id"] == second
    else:
        assert (b"1 first" in before, b"2 second" in after) == (True, True)


def test_following_ends_when_nobody_reads_any_more(served: Served) -> None:
    served.start("sleep", "1000")
    line = f"{PTYMUX} events -f --since 0; echo $? >&2"

    done = served.world.run("/bin/bash", "-c", f"({line}) | head -1")

    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b"141\n"


def test_following_ends_with_the_server(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")
    pipe = subprocess.PIPE

    words = ["events", "-f", "--since", "0"]
    with served.world.start(*words, stdout=pipe, stderr=pipe) as following:
        assert following.stdout
        assert following.stderr
        following.stdout.readline()
        served.stop()
        rest, said = following.communicate()

    assert b"pty.stopped" in rest
    assert (following.returncode, said) == (0, b"")


def test_following_goes_on_with_the_next_server(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    words = ["events", "-f", "--json", "--since", "0", "--topic", "pty.spawned"]
    with served.world.start(*words, stdout=subprocess.PIPE) as following:
        assert following.stdout
        following.stdout.readline()
        served.ok("server", "restart")
        second = served.start("sleep", "1000")
        told = [json.loads(following.stdout.readline())["pty_id"]]
        while second not in told:
            told.append(json.loads(following.stdout.readline())["pty_id"])
        served.stop()
        assert following.wait() == 0

    assert told.count(second) == 1
