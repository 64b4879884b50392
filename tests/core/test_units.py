"""Sizes, durations and names as people type and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.model import WindowSize
from ptymux.core.units import (
    command_words,
    format_age,
    format_capacity,
    format_date,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    parse_window_size,
    printable,
)
from ptymux.errors import InvalidDimensionsError, InvalidValueError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1024B", 1024),
        ("64k", 65_536),
        ("64K", 65_536),
        ("4M", 4_194_304),
        ("4MiB", 4_194_304),
        ("4MB", 4_194_304),
        ("4mib", 4_194_304),
        ("1G", 1_073_741_824),
        ("1T", 1 << 40),
        ("1.5k", 1536),
        ("0.5M", 524_288),
    ],
)
def test_a_size_is_in_binary_units_of_either_case(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *["", "M", "4X", "4 M", "4MBB", "4Mi", "-1", "-4M", "1.5", "0.3k", ".5k", "1.k", "1e3"],
        *["NaN", "inf", "0x10", "4M\n", "٤", "9" * 5000, "1_000"],
    ],
)
def test_what_is_no_whole_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_size(text)


def test_a_refused_size_says_what_it_was_for_and_what_would_do() -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_size("4X", "buffer size")

    assert (
        str(caught.value)
        == "buffer size is '4X'; it must be a whole number of bytes such as 4M, 64k or 1024"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("5", 5.0),
        ("0", 0.0),
        ("0.1", 0.1),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        ("300s", 300.0),
        ("30d", 2_592_000.0),
        ("9" * 18 + "h", 100 * 366 * 86_400.0),
    ],
)
def test_a_duration_is_seconds_unless_its_unit_says_otherwise(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-5", "-5s", "nan", "inf", "1e400", "5x", "5 s", "5S", "1h30m", "9" * 5000]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="grace"):
        parse_duration(text, "grace")


@pytest.mark.parametrize("text", ["80x24", "80X24"])
def test_a_window_size_is_columns_by_rows(text: str) -> None:
    assert parse_window_size(text) == WindowSize(cols=80, rows=24)


@pytest.mark.parametrize("text", ["", "80", "80x", "x24", "-80x24", "80x24x1", "8.0x24", "80 x 24"])
def test_what_is_no_window_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_window_size(text)


@pytest.mark.parametrize("text", ["0x24", "80x0", "10001x24", "80x10001"])
def test_a_window_size_out_of_bounds_is_refused_as_such(text: str) -> None:
    with pytest.raises(InvalidDimensionsError):
        parse_window_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_194_304, "4.2 MB"),
        (12_300_000, "12.3 MB"),
        (50_000_000, "50.0 MB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3 * 10**12, "3.0 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_a_measured_amount_is_decimal_with_one_digit(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1000, "1000"),
        (65_536, "64k"),
        (4_194_304, "4M"),
        (1 << 30, "1G"),
        (1 << 40, "1T"),
    ],
)
def test_a_configured_size_is_shown_as_it_is_typed(size: int, text: str) -> None:
    assert format_capacity(size) == text


@given(st.integers(0, 1 << 50))
def test_a_configured_size_as_shown_can_be_typed_again(size: int) -> None:
    assert parse_size(format_capacity(size)) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3.0, "0 ms"),
        (0.0, "0 ms"),
        (0.3504, "350 ms"),
        (0.9999, "999 ms"),
        (1.0, "1.0 s"),
        (3.29, "3.2 s"),
        (9.99, "9.9 s"),
        (10.0, "10 s"),
        (41.3, "41 s"),
        (59.9, "59 s"),
        (125.0, "2 m 5 s"),
        (3599.9, "59 m 59 s"),
        (3600.0, "1 h 0 m"),
        (90_000.0, "1 d 1 h"),
    ],
)
def test_a_time_is_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (125, "2m05s"),
        (3599, "59m59s"),
        (3720, "1h02m"),
        (86_399, "23h59m"),
        (86_400 * 3 + 3600 * 4, "3d04h"),
        (86_400 * 100 - 1, "99d23h"),
        (9e6, "104d"),
        (86_400 * 412, "412d"),
    ],
)
def test_an_age_is_as_exact_as_six_characters_can_be(seconds: float, text: str) -> None:
    assert format_age(seconds) == text
    assert len(text) <= 6


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web", "web"),
        ("größe 日本 🎉", "größe 日本 🎉"),
        ("a\x1b[31mred\x1b[0m", "a[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("a\x9b31m", "a31m"),
        ("two\nlines\tand\r", "two lines and "),
        ("a\u202egpj.exe", "agpj.exe"),
        ("a\udcffb", "ab"),
        ("nul\0", "nul"),
    ],
)
def test_names_are_shown_without_anything_a_terminal_would_act_on(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_what_is_shown_is_printable_and_shown_again_the_same(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert printable(shown) == shown
    shown.encode()  # no lone surrogate is left


def test_the_command_is_shown_as_it_was_typed() -> None:
    assert command_words(["sh", "-c", "a; b"]) == "sh -c a; b"
    assert command_words(["/bin/sh", "-c", "a; b", "/bin/sh"]) == "a; b"
    assert command_words(["a\x1b[2Jb\n", "\udc80"]) == "a[2Jb  "


@pytest.mark.parametrize(
    ("then", "date"),
    [
        ((2026, 11, 27), ""),
        ((2026, 11, 26), "Nov 26"),
        ((2026, 1, 2), "Jan 2"),
        ((2025, 11, 27), "2025-11-27"),
        ((2027, 1, 2), "2027-01-02"),
    ],
)
def test_a_date_is_told_where_it_is_not_today(then: tuple[int, ...], date: str) -> None:
    assert format_date((*then, 14, 3), (2026, 11, 27, 15, 0)) == date
