"""Who types is answered beside a flood, and a flood that was typed starves nobody."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ptymux.core.windows import Windows
from ptymux.engine.reports import Output
from ptymux.engine.terminal import Terminal
from tests.engine.conftest import LONG, Driver

_FLOOD = "while :; do echo 0123456789012345678901234567890123456789; done"


@pytest.fixture
def windows() -> Windows:
    """Windows in which somebody types until `driver.skip` lets time pass."""
    return Windows(typing=LONG)


def test_what_is_typed_into_has_the_turn_before_a_flood_and_is_reported_in_it(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def noted(terminal: Terminal, count: int) -> bool:
        before = terminal.ring.total
        has_more = plain(terminal, count)
        if terminal.ring.total > before:
            read.append(terminal.slot)
        return has_more

    plain = Terminal.read
    monkeypatch.setattr(Terminal, "read", noted)
    floods = [driver.shell("stty -opost; exec cat /dev/zero") for _ in range(3)]
    typed = driver.spawn("cat")
    for flood in floods:
        driver.until(lambda flood=flood: driver.rings[flood].total > 1 << 20)  # type: ignore[misc]
    _number, line = driver.lifeline(typed)
    line.send(b"#")

    for _ in driver.turns_until(lambda: driver.rings[typed].total):
        if driver.rings[typed].total:
            break
        read.clear()

    assert read[0] == typed
    assert driver.of(Output, typed)


def test_who_types_into_a_flood_leaves_the_others_their_turns(driver: Driver) -> None:
    typed, other = driver.shell(_FLOOD), driver.shell(_FLOOD)
    driver.until(lambda: driver.rings[typed].total and driver.rings[other].total)
    _number, line = driver.lifeline(typed)
    line.send(b"#")
    driver.until(lambda: driver.engine.typing_until)
    before = driver.rings[other].total, driver.rings[typed].total

    for _ in driver.turns_until(
        lambda: (
            driver.rings[other].total >= before[0] + 4096
            and driver.rings[typed].total >= before[1] + 1
        )
    ):
        with suppress(BlockingIOError):
            line.send(b"#")

    assert driver.engine.typing_until > 0


def test_turns_are_long_again_when_nobody_has_typed_for_a_while(driver: Driver) -> None:
    flood = driver.shell(_FLOOD)
    typed = driver.spawn("cat")
    _number, line = driver.lifeline(typed)
    line.send(b"#")
    driver.until_output(typed, b"#")
    assert driver.engine.typing_until

    driver.clock.skip(LONG)
    driver.until(lambda: not driver.engine.typing_until)

    total = driver.rings[flood].total
    driver.until(lambda: driver.rings[flood].total > total)
