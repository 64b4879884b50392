"""The whole picture at any size."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from ptymux.tui.choice import Sort
from ptymux.tui.overview import Overview, draw_frame, draw_list
from ptymux.tui.overview_table import draw_heading, draw_rows, lay_out
from ptymux.tui.painter import Painter, to_text
from ptymux.tui.pty_samples import Model
from ptymux.tui.recent_events import News
from ptymux.tui.widgets import ALARM, ASCII, DIM, Line, plain, width_of
from tests.tui.conftest import Told

SIZES = [(80, 24), (200, 50), (40, 10), (20, 5), (1, 1), (300, 3), (10, 100)]


@pytest.fixture
def overview(told: Told) -> Overview:
    overview = Overview()
    ptys = [
        told(1, name="web", attended=True, clients=1, utilization=0.9, backlog=900),
        told(2, total_dropped=500, on_full="block", utilization=1.0, unread=1000),
        told(3, state="errored", shown="failed to start", pid=None),
        *(told(number) for number in range(4, 60)),
    ]
    take(overview.model, ptys, 0.0)
    overview.choice.update(overview.model.rows, at=0.0)
    return overview


def take(model: Model, ptys: list[dict[str, object]], at: float) -> None:
    model.take(ptys, at)


def texts(lines: list[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


def titles(width: int, overview: Overview) -> list[str]:
    return [column.title for column, _width in lay_out(overview.model.rows, width)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shows_help", [False, True])
def test_a_frame_has_exactly_its_size(
    overview: Overview, size: tuple[int, int], shows_help: bool
) -> None:
    overview.choice.shows_help = shows_help
    overview.choice.press("j")
    overview.choice.shows_help = shows_help

    lines = draw_frame(overview, size, now=2000.0)

    assert len(lines) == size[1]
    if size[0] >= 10:
        assert all(width_of(line) <= size[0] for line in lines)


def test_columns_go_by_what_they_are_worth(overview: Overview) -> None:
    assert titles(40, overview) == ["#", "NAME", "STATE", "RATE/s", "DROPPED"]
    assert {"BUFFER", "TREND", "COMMAND"} < set(titles(80, overview))
    assert len(titles(200, overview)) == 13  # all but the lane, which says nothing
    for width in range(1, 200):
        columns = lay_out(overview.model.rows, width)
        assert not columns or sum(size + 1 for _column, size in columns) <= width
        assert set(titles(width, overview)) - {"LANE"} <= set(titles(width + 1, overview))


def test_a_lane_is_told_when_there_are_several(overview: Overview, told: Told) -> None:
    assert "LANE" not in titles(80, overview)

    overview.model.take([told(1), told(2, lane_id="ci")], at=1.0)

    assert "LANE" in titles(90, overview)


def test_a_row_tells_what_is_known(told: Told) -> None:
    model = Model()
    pty = told(7, name="web", attended=True, utilization=0.9, backlog=900, total_dropped=5)
    model.take([pty], at=0.0)
    model.take([pty | {"buffer": pty["buffer"] | {"total_written": 2_000_000}}], at=1.0)

    text = plain(draw_rows(model.rows, lay_out(model.rows, 160), now=1067.0)[0])

    for word in ("7 web", "running", "107", "90%", "900 B", "2.0 MB", "▆", "5 B", "1m00s", "-j8"):
        assert word in text
    assert re.search("━+╋━*", text)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_a_number_is_never_cut(told: Told, width: int) -> None:
    model = Model()
    model.take([told(7), told(123_456)], at=0.0)

    layout = lay_out(model.rows, width)
    (heading,) = texts([draw_heading(layout, Sort.RATE)])
    rows = texts(draw_rows(model.rows, layout, now=0.0))

    assert heading.startswith("      # NAME")
    assert [row.split()[0] for row in rows] == ["7", "123456"]


def test_commands_show_what_tells_them_apart(told: Told) -> None:
    model = Model()
    paths = [f"/home/me/project/tools/worker.py --queue={queue}" for queue in ("mail", "images")]
    commands = [["/usr/bin/python3", "-u", *path.split()] for path in paths]
    model.take([told(n, command=command) for n, command in enumerate(commands)], at=0.0)

    narrow = texts(draw_rows(model.rows, lay_out(model.rows, 72), now=0.0))
    wide = texts(draw_rows(model.rows, lay_out(model.rows, 200), now=0.0))

    assert [row[-7:] for row in narrow] == ["ue=mail", "=images"]
    assert [row.rpartition("/usr")[2] for row in wide] == [f"/bin/python3 -u {p}" for p in paths]


def test_without_a_column_for_commands_names_tell_them(told: Told) -> None:
    model = Model()
    model.take([told(1, name=None, command=["bash", "-c", "make all"])], at=0.0)

    assert "make all" in texts(draw_rows(model.rows, lay_out(model.rows, 40), now=0.0))[0]


def test_a_failure_is_red_and_one_that_was_looked_at_is_dim(told: Told) -> None:
    model = Model()
    failed = {"state": "errored", "shown": "exited (2)"}
    model.take([told(1, **failed, unseen=True), told(2, **failed)], at=0.0)

    unseen, seen = draw_rows(model.rows, lay_out(model.rows, 80), now=1120.0)

    assert [piece.text for piece in unseen if piece.style == ALARM] == ["name1", "exited (2)"]
    assert {piece.style for piece in seen if piece.text.strip()} == {DIM}
    assert "1m58s ago" in plain(seen)


def test_rows_that_do_not_fit_are_counted(overview: Overview) -> None:
    lines = texts(draw_frame(overview, (80, 20), now=0.0))

    assert "  48 more" in lines

    overview.choice.press("end")
    assert "  48 above" in texts(draw_frame(overview, (80, 20), now=0.0))


def test_help_that_does_not_fit_has_pages(overview: Overview) -> None:
    overview.choice.press("?")
    assert texts(draw_frame(overview, (80, 24), now=0.0))[-1] == " any key goes back"

    pages = []
    for _ in range(4):
        pages.append(texts(draw_frame(overview, (80, 10), now=0.0)))
        overview.choice.press(" ")
    overview.choice.press("x")

    assert pages[0][-1] == " 1 of 3: space for more, any other key goes back"
    assert pages[3] == pages[0]
    for words in ("Enter", "BUFFER", "held"):
        assert any(line.startswith(f" {words} ") for page in pages for line in page)
    assert not overview.choice.shows_help


def test_a_large_screen_tells_more_of_the_selected_one(overview: Overview, told: Told) -> None:
    overview.model.take([told(1, name="web", total_written=5000, reason="why not")], at=9.0)
    overview.choice.update(overview.model.rows, at=9.0)
    overview.choice.press("j")

    large = "\n".join(texts(draw_frame(overview, (200, 50), now=1100.0)))
    small = "\n".join(texts(draw_frame(overview, (80, 14), now=1100.0)))

    for words in ("1 web ─", "/bin/make -j8", "why not, for 1 m 39 s", "/src", "5.0 kB written"):
        assert words in large
    assert "1 /bin/make -j8 (lane default, pid 101, running)" in small
    assert "5.0 kB written" not in small


def test_events_use_the_room_that_the_table_leaves(overview: Overview, told: Told) -> None:
    overview.model.take([told(1)], at=9.0)
    overview.choice.update(overview.model.rows, at=9.0)
    for seq in range(40):
        overview.news.take(event("pty.terminating", seq, {}))

    lines = texts(draw_frame(overview, (80, 50), now=0.0))

    assert len([line for line in lines if "is being ended" in line]) == 40


def test_a_state_is_shortened_before_it_is_cut(told: Told) -> None:
    model = Model()
    model.take([told(1, state="stopped", shown="killed (KILL)")], at=0.0)
    layout = [(column, min(width, 11)) for column, width in lay_out(model.rows, 160)]

    assert "killed KILL" in plain(draw_rows(model.rows, layout, now=0.0)[0])


def test_dropped_is_red_only_if_somebody_was_attached(told: Told) -> None:
    model = Model()
    model.take([told(1, total_dropped=5), told(2, total_dropped=9, dropped_attended=5)], at=0.0)
    layout = lay_out(model.rows, 80)

    alone, attended = draw_rows(model.rows, layout, now=0.0)

    assert [piece.style for piece in alone if piece.text == "5 B"] == [DIM]
    assert [piece.text for piece in attended if piece.style == ALARM] == ["!5 B"]


def test_nobody_attached_is_no_alarm_and_has_no_mark(told: Told) -> None:
    model = Model()
    model.take([told(1, utilization=1.0)], at=0.0)

    text = plain(draw_rows(model.rows, lay_out(model.rows, 80), now=0.0)[0])

    assert "━" in text
    assert "╋" not in text


def test_the_heading_shows_the_order(overview: Overview) -> None:
    layout = lay_out(overview.model.rows, 80)

    assert "RATE/s▼" in plain(draw_heading(layout, overview.choice.sort))
    assert "RATE/s▲" in plain(draw_heading(layout, overview.choice.sort, is_reversed=True))


def test_the_top_line_answers_what_is_wrong(overview: Overview, told: Told) -> None:
    sample = [told(1, total_dropped=9, dropped_attended=9), told(2, suspended=True)]
    overview.model.take(sample, at=1.0)
    sample[0]["buffer"]["dropped_attended"] = 10
    overview.model.take(sample, at=2.0)

    top = texts(draw_frame(overview, (120, 10), now=0.0))[0]

    for words in ("2 live", "1 losing", "1 suspended", "9 B dropped", "!10 B missed by clients"):
        assert words in top


def test_a_list_has_room_for_all(overview: Overview) -> None:
    lines = texts(draw_list(overview, 80, now=0.0))

    assert len(lines) == 2 + 59


def test_without_ptys_it_says_what_to_do() -> None:
    overview = Overview(hint="no PTYs; start one")

    assert "  no PTYs; start one" in texts(draw_frame(overview, (80, 24), now=0.0))


def test_events_that_repeat_take_one_line(overview: Overview) -> None:
    news = overview.news
    payload = {"total_dropped": 5000, "attended": True}
    for seq in range(3):
        news.take(event("pty.buffer.overflow", seq, payload | {"total_dropped": seq * 1000}))
        news.take(event("pty.terminating", seq, {}))

    lines = texts(draw_frame(overview, (100, 30), now=0.0))

    assert [line for line in lines if "(x3)" in line and "2.0 kB" in line and "web" in line]
    assert len([line for line in lines if "is being ended" in line]) == 3
    assert news.last_seq == 2


def event(topic: str, seq: int, payload: Mapping[str, object]) -> dict[str, object]:
    return {"topic": topic, "seq": seq, "pty_id": "pty_1", "timestamp": 0.0, "payload": payload}


@pytest.mark.parametrize(
    "odd", [{}, {"topic": "pty.new"}, event("pty.resized", 1, {}), event("pty.output", 1, {})]
)
def test_an_event_that_is_not_understood_is_skipped(odd: dict[str, object]) -> None:
    news = News()

    news.take(odd)

    assert news.items == []


def test_who_came_and_left_is_told_of_terminals() -> None:
    news = News()
    who = {"pid": 7, "terminal": True, "by": 8}
    news.take(event("pty.attached", 1, who))
    news.take(event("pty.attached", 1, who | {"terminal": False}))
    for seq, reason in enumerate(("detached", "sent-away", "client-ended", "pty-ended")):
        news.take(event("pty.detached", seq, who | {"reason": reason}))
    news.take(event("pty.renamed", 9, {"old": None, "new": "web"}))

    assert [item.text for item in reversed(news.items)] == [
        "a terminal attached, pid 7",
        "a terminal detached, pid 7",
        "a terminal was detached, pid 8",
        "a terminal is gone, pid 7",
        "renamed to web",
    ]


def test_an_error_with_escape_codes_cannot_draw() -> None:
    news = News()
    payload = {"error": "no \x1b[2J\x07 such", "exit_code": None, "signal": None}

    news.take(event("pty.error", 1, payload))

    assert news.items[0].text.isprintable()


# What a terminal is sent ---------------------------------------------------------------------


def paint(painter: Painter, overview: Overview, size: tuple[int, int] = (80, 24)) -> str:
    return painter.paint(draw_frame(overview, size, now=2000.0), size).decode()


def test_only_rows_that_changed_are_written(overview: Overview) -> None:
    painter = Painter(None, str.encode)
    first = paint(painter, overview)
    same = paint(painter, overview)

    overview.choice.press("j")
    overview.choice.press("j")
    paint(painter, overview)
    overview.choice.press("j")
    moved = paint(painter, overview)

    assert "\x1b[2J" in first
    assert same == ""
    # Two rows, and the line that tells of the selected one.
    assert len(re.findall(r"\x1b\[\d+;1H", moved)) == 3


def test_another_size_draws_everything(overview: Overview) -> None:
    painter = Painter(None, str.encode)
    paint(painter, overview)

    assert "\x1b[2J" in paint(painter, overview, (40, 10))


def test_names_with_escape_codes_cannot_draw(told: Told) -> None:
    overview = Overview()
    overview.model.take([told(1, name="a\x1b[5;5Hb\x9bc\x07", command=["\x1b]0;x\x07"])], at=0.0)
    overview.choice.update(overview.model.rows, at=0.0)

    sent = paint(Painter(None, str.encode), overview, (200, 10))

    assert not re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sent).count("\x1b")
    assert "\x1b[5;5H" not in sent
    assert "\x9b" not in sent


def test_plain_text_has_no_escape_sequence(overview: Overview) -> None:
    for line in draw_list(overview, 160, now=0.0, glyphs=ASCII):
        text = to_text(line, None, styled=False)
        assert text == text.rstrip()
        assert text.isascii()
        assert "\x1b" not in text


def test_without_colours_there_are_none(overview: Overview) -> None:
    sent = paint(Painter(None, str.encode), overview)

    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|38|48|9[0-7])[;m]", sent)
    assert "\x1b[1m" in sent
