"""Parameters and their errors; the version that both sides agree on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ptymux.errors import InvalidValueError, VersionError
from ptymux.protocol.messages import PROTOCOL, Request
from ptymux.protocol.params import Params, agree

# Hello ------------------------------------------------------------------------------------------


def test_both_speak_the_newest_version_that_both_know() -> None:
    assert agree(Params({"protocol": [1, 99]})) == PROTOCOL
    assert agree(Params({"protocol": [0, 1]})) == 1


@pytest.mark.parametrize("versions", [[0, 0], [2, 3]])
def test_without_a_common_version_both_are_named(versions: list[int]) -> None:
    with pytest.raises(VersionError, match=f"{versions[0]} to {versions[1]}.*1 to 1"):
        agree(Params({"protocol": versions}))


@pytest.mark.parametrize("versions", [None, 1, [1], [2, 1], ["1", "1"], [1, 1, 1]])
def test_what_are_no_versions_is_refused(versions: object) -> None:
    with pytest.raises(InvalidValueError, match="'protocol'"):
        agree(Params({"protocol": versions}))


# Parameters -------------------------------------------------------------------------------------

GIVEN = Params(
    {
        "text": "web",
        "number": 5,
        "real": 0.5,
        "flag": True,
        "choice": "drop",
        "list": ["a", "b"],
        "numbers": [9, 3],
        "texts": {"K": "v"},
        "nothing": None,
    }
)


def test_parameters_of_their_kind_are_read() -> None:
    assert GIVEN.text("text") == GIVEN.optional_text("text") == "web"
    assert GIVEN.number("number", 5, 5) == GIVEN.optional_number("number") == 5
    assert GIVEN.real("real") == GIVEN.optional_real("real") == 0.5
    assert GIVEN.real("number") == 5.0
    assert GIVEN.flag("flag") is True
    assert GIVEN.choice("choice", ["drop", "block"]) == "drop"
    assert GIVEN.number_or_choice("number", ["now"]) == 5
    assert GIVEN.number_or_choice("text", ["web"]) == "web"
    assert GIVEN.texts_list("list") == GIVEN.choices("list", ["a", "b", "c"]) == ["a", "b"]
    assert GIVEN.numbers("numbers", 3, 9, most=2) == [9, 3]
    assert GIVEN.texts("texts") == {"K": "v"}


@pytest.mark.parametrize("name", ["nothing", "absent"])
def test_what_is_null_is_not_given(name: str) -> None:
    assert not GIVEN.has(name)
    assert GIVEN.optional_text(name) is None
    assert GIVEN.optional_number(name) is None
    assert GIVEN.optional_real(name) is None
    assert GIVEN.text(name, "x") == "x"
    assert GIVEN.number(name, default=3) == 3
    assert GIVEN.real(name, default=3.5) == 3.5
    assert GIVEN.flag(name) is False
    assert GIVEN.choice(name, ["a", "b"], "b") == "b"
    assert GIVEN.number_or_choice(name, ["now"], "now") == "now"
    assert GIVEN.texts_list(name) == GIVEN.choices(name, ["a"]) == []
    assert GIVEN.numbers(name, 3, 9, most=2) == []
    assert GIVEN.texts(name) == {}


@pytest.mark.parametrize(
    ("read", "value", "told"),
    [
        (lambda p: p.text("x"), None, "'x' is missing; it must be a text"),
        (lambda p: p.text("x", longest=3), "four", "'four'; it must be a text of at most 3"),
        (lambda p: p.number("x", 1, 9), "5", "'5'; it must be a whole number from 1 to 9"),
        (lambda p: p.number("x", 1, 9), 10, "10; it must be a whole number from 1 to 9"),
        (lambda p: p.number("x", 1, 9), True, "True; it must be a whole number"),
        (lambda p: p.number("x", 1, 9), 5.0, "5.0; it must be a whole number"),
        (lambda p: p.real("x"), -1, "-1; it must be a number of at least 0"),
        (lambda p: p.real("x"), float("inf"), "inf; it must be a number"),
        (lambda p: p.real("x"), 1 << 2000, "it must be a number"),
        (lambda p: p.real("x"), True, "True; it must be a number"),
        (lambda p: p.flag("x"), 1, "1; it must be true or false"),
        (lambda p: p.choice("x", ["a", "b"]), "c", "'c'; it must be one of a, b"),
        (lambda p: p.number_or_choice("x", ["now"]), "soon", "from 0, or one of now"),
        (lambda p: p.number_or_choice("x", ["now"]), -1, "-1; it must be a whole number"),
        (lambda p: p.texts_list("x"), "ab", "'ab'; it must be a list of texts"),
        (lambda p: p.texts_list("x"), [1], "a list; it must be a list of texts"),
        (lambda p: p.choices("x", ["a"]), ["a", "b"], "a list; it must be a list of some of a"),
        (lambda p: p.numbers("x", 3, 9, 2), [3, 2], "a list; it must be at most 2 different"),
        (lambda p: p.numbers("x", 3, 9, 2), [3, 4, 5], "whole numbers from 3 to 9"),
        (lambda p: p.numbers("x", 3, 9, 2), [4, 4], "different whole numbers"),
        (lambda p: p.numbers("x", 3, 9, 2), 4, "4; it must be at most 2"),
        (lambda p: p.texts("x"), {"K": 1}, "an object; it must be an object of texts"),
        (lambda p: p.text("x", longest=50), "y" * 60, "'" + "y" * 40 + "...'; it must be"),
    ],
)
def test_a_parameter_of_another_kind_is_refused_by_name(
    read: Callable[[Params], object], value: object, told: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read(Params({"x": value}))

    assert str(caught.value).startswith("parameter 'x' is ")
    assert told in str(caught.value)


def test_no_error_shows_the_environment() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Params({"overrides": {"TOKEN": "secret", "X": 1}}).texts("overrides")

    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Request(1, "spawn", {"overrides": {"TOKEN": "secret"}}))
