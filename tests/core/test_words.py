"""A guess and a list for a word that is none of a closed set."""

from __future__ import annotations

import pytest

from ptymux.core.words import alternatives, closest

STATES = ("running", "quiet", "exited", "failed to start")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("exitd", "exited"),
        ("Running", "running"),
        ("QUITE", "quiet"),
        ("run", "running"),
        ("fail", "failed to start"),
    ],
)
def test_the_most_alike_word_is_meant(word: str, meant: str) -> None:
    assert closest(word, STATES) == meant


def test_the_only_word_that_begins_so_comes_before_those_that_are_alike() -> None:
    assert closest("stat", ("start", "stop", "status", "restart")) == "status"
    assert closest("sta", ("start", "stop", "status", "restart")) == "start"


def test_a_word_that_begins_otherwise_has_to_be_more_alike() -> None:
    assert closest("search", ("detach", "logs")) is None
    assert closest("tart", ("start", "stop")) == "start"
    assert closest("rnu", ("rename", "run")) == "run"


@pytest.mark.parametrize("word", ["", "x", "zzzzzz", "\x1b[31m"])
def test_nothing_is_meant_by_what_is_like_none(word: str) -> None:
    assert closest(word, STATES) is None


def test_a_short_list_is_shown_with_the_guess() -> None:
    assert alternatives("exitd", STATES[:3]) == (
        "did you mean 'exited'? there are running, quiet, exited"
    )
    assert alternatives("x", STATES[:2]) == "there are running, quiet"


def test_a_long_list_is_shown_only_where_there_is_no_guess() -> None:
    many = [f"word{n}" for n in range(40)]

    assert alternatives("word39x", many) == "did you mean 'word39'?"
    assert alternatives("x", many) == f"there are {', '.join(many)}"
