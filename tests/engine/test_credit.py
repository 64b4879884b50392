"""`block`: the engine never reads beyond the ring's limit, and says how long it waited."""

from __future__ import annotations

import pytest

from ptymux.core.model import OnFull
from ptymux.core.ring import NO_LIMIT, Cursor
from ptymux.core.windows import Windows
from ptymux.engine.reports import Closed, Exited
from tests.engine.conftest import LONG, Driver, seeded


def _spawn(driver: Driver, *argv: str, buffer_size: int = 4096) -> int:
    return driver.spawn(*argv, buffer_size=buffer_size, on_full=OnFull.BLOCK, plain_output=True)


def _until_ended_while_held(driver: Driver, slot: int) -> None:
    driver.until(lambda: driver.engine.is_exiting(slot))


def _numbers(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


@pytest.mark.requirement("BLOCK")
def test_flood_never_overruns_a_limit_that_is_raised_at_random_moments(driver: Driver) -> None:
    chance = seeded()
    slot = _spawn(driver, "seq", "1", "200000", buffer_size=65536)
    ring = driver.rings[slot]
    ring.limit = 0
    got = bytearray()
    cursor = Cursor(ring)

    for _ in driver.turns_until(lambda: driver.of(Closed, slot)):
        assert ring.total <= ring.limit
        got += cursor.read(chance.choice((1, 100, 4096, 65536))).data
        if chance.random() < 0.7:
            ring.limit = max(ring.limit, cursor.offset + chance.randrange(ring.capacity + 1))
            driver.engine.credit_raised(slot)
        if not cursor.backlog and ring.limit == cursor.offset:
            ring.limit = cursor.offset + 1  # else it waits for ever
            driver.engine.credit_raised(slot)
    while cursor.backlog:
        got += cursor.read().data

    assert cursor.skipped == 0
    assert bytes(got) == _numbers(200_000)


@pytest.mark.requirement("BLOCK")
def test_new_pty_in_block_mode_is_held_at_its_capacity(driver: Driver) -> None:
    slot = _spawn(driver, "seq", "1", "100000", buffer_size=5000)
    ring = driver.rings[slot]

    driver.until(lambda: ring.total == 5000)
    driver.wait_unread(slot, 1)
    driver.until_idle()

    assert ring.total == 5000
    assert driver.output(slot) == _numbers(100_000)[:5000]


@pytest.mark.requirement("BLOCK")
@pytest.mark.parametrize("windows", [Windows(count_paused=100)])
def test_held_time_is_counted_while_it_lasts_and_while_there_is_something_to_read(
    driver: Driver,
) -> None:
    slot = _spawn(driver, "sh", "-c", "printf 0123456789; read x; printf more; exec cat")
    ring = driver.rings[slot]
    ring.limit = 10
    driver.until(lambda: ring.total == 10)
    driver.skip(1000)
    assert ring.held_ms == 0  # at its limit, with nothing to read

    _number, sock = driver.lifeline(slot)
    began = driver.clock.monotonic()
    sock.send(b"\n")
    driver.until(lambda: driver.engine.deadline)  # of the first count
    driver.skip(150)
    while_held = ring.held_ms
    driver.skip(1)
    ring.limit = NO_LIMIT
    driver.engine.credit_raised(slot)
    driver.until(lambda: ring.total == 14)
    at_most = 1000 * (driver.clock.monotonic() - began) + 1

    assert 150_000 <= while_held <= ring.held_ms - 999
    assert ring.held_ms <= at_most
    driver.skip(1000)
    assert ring.held_ms <= at_most


@pytest.mark.requirement("BLOCK", "FR-012")
def test_ended_pty_waits_for_its_consumer_and_is_complete(driver: Driver) -> None:
    slot = _spawn(driver, "seq", "1", "1000", buffer_size=100)
    ring = driver.rings[slot]
    cursor = Cursor(ring)
    got = bytearray()

    for _ in driver.turns_until(lambda: driver.of(Closed, slot)):
        got += cursor.read(7).data
        ring.limit = cursor.offset + ring.capacity
        driver.engine.credit_raised(slot)
        assert cursor.backlog == 0 or not driver.of(Exited, slot) or ring.total == 3893
    while cursor.backlog:
        got += cursor.read().data

    assert bytes(got) == _numbers(1000)


@pytest.mark.requirement("BLOCK", "FR-012")
@pytest.mark.parametrize("windows", [Windows(paused_end=200, count_paused=LONG)])
def test_ended_pty_is_held_for_a_time_then_the_ring_takes_all(driver: Driver) -> None:
    slot = _spawn(driver, "seq", "1", "1000", buffer_size=100)
    ring = driver.rings[slot]

    _until_ended_while_held(driver, slot)
    driver.skip(100)
    assert ring.total == 100
    assert not driver.of(Exited, slot)
    driver.skip(100)
    driver.until_closed(slot)

    assert ring.total == 3893
    assert driver.output(slot) == _numbers(1000)[-100:]
    assert driver.status(slot).exit_code == 0


@pytest.mark.requirement("BLOCK", "FR-012")
@pytest.mark.parametrize(
    "windows", [Windows(tail=200, tail_silence=LONG, paused_end=LONG, count_paused=LONG)]
)
def test_slow_consumer_gets_the_whole_tail_of_what_the_child_left_running(driver: Driver) -> None:
    slot = _spawn(driver, "sh", "-c", "trap '' HUP; seq 1 1500 & exit 0", buffer_size=100)
    ring = driver.rings[slot]
    cursor = Cursor(ring)
    got = bytearray()

    def consume() -> None:
        got.extend(cursor.read(1000).data)
        ring.limit = cursor.offset + ring.capacity
        driver.engine.credit_raised(slot)

    driver.until(lambda: ring.total == 100)
    _until_ended_while_held(driver, slot)
    driver.wait_unread(slot, 1)
    driver.until_idle()
    driver.skip(500)  # longer than a tail may last for a consumer that reads at once
    for _ in driver.turns_until(lambda: driver.of(Closed, slot)):
        consume()

    assert bytes(got) == _numbers(1500)


@pytest.mark.requirement("BLOCK")
def test_forced_close_takes_what_the_terminal_holds_and_counts_it(driver: Driver) -> None:
    slot = _spawn(driver, "seq", "1", "1000", buffer_size=100)
    ring = driver.rings[slot]
    _until_ended_while_held(driver, slot)

    driver.engine.close_pty(slot)
    driver.until_closed(slot)

    assert ring.total == 3893
    assert driver.output(slot) == _numbers(1000)[-100:]
