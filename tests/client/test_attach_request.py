"""How to attach is one value, also how to attach once more."""

from __future__ import annotations

import pytest

from ptymux.client.attach_request import AttachRequest


def test_only_what_is_asked_for_is_sent() -> None:
    sent = {
        name: value for name, value in AttachRequest("web").params().items() if value is not None
    }

    assert sent == {"pty": "web", "kind": "consumer", "offset": "oldest", "input": True}


def test_everything_that_is_asked_for_is_sent_by_the_names_of_the_protocol() -> None:
    request = AttachRequest(
        "web",
        "lossless",
        5,
        echo=True,
        cols=80,
        rows=24,
        lifeline=True,
        line=7,
        received_from=3,
        inside="pty_1",
        only=True,
        hangup=True,
    )

    assert request.params() == {
        "pty": "web",
        "kind": "lossless",
        "offset": 5,
        "input": True,
        "echo": True,
        "cols": 80,
        "rows": 24,
        "lifeline": True,
        "line": 7,
        "received_from": 3,
        "hangup": True,
        "only": True,
        "inside": "pty_1",
    }


@pytest.mark.parametrize(
    ("kind", "lifeline"),
    [("consumer", True), ("lossless", True), ("observer", False), ("one-shot", False)],
)
def test_a_reader_that_counts_as_attached_lives_by_a_lifeline(kind: str, lifeline: bool) -> None:
    assert AttachRequest.to_read("web", kind, "now") == AttachRequest(
        "web", kind, "now", wants_input=False, lifeline=lifeline
    )


def test_who_comes_back_leaves_the_size_as_it_is() -> None:
    request = AttachRequest("web", cols=80, rows=24, hangup=True)

    assert request.going_on(9, 4) == AttachRequest("web", offset=9, received_from=4, hangup=True)


def test_who_has_a_lifeline_asks_for_no_other() -> None:
    request = AttachRequest("web", lifeline=True)

    assert request.living_by(7) == AttachRequest("web", wants_input=False, line=7)
