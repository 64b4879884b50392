"""A lost server is survived in one way by all clients: for how long, and after what."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.client.closing import Closing
from ptymux.client.reconnect import RETRY_SECONDS, Reconnect, RetryPolicy, hello_seconds, repeat
from ptymux.client.server_connection import HELLO_SECONDS
from ptymux.errors import (
    ConnectionClosedError,
    NoServerError,
    PtymuxError,
    UnknownPtyError,
    UnreachableError,
)
from tests.client.clock import FakeClock

HUNG_UP = ConnectionClosedError("the server hung up")
NOBODY = NoServerError("nobody listens")
SILENT = UnreachableError("/s", "it did not answer")
PASSING = (HUNG_UP, NOBODY, SILENT)


class Connection(Closing):
    """A connection as far as its end goes."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Server(Reconnect[Connection]):
    """A server that is there or not as `outcomes` say; the last one holds for ever."""

    def __init__(
        self,
        *outcomes: PtymuxError | None,
        clock: FakeClock,
        connect_seconds: float = 0.0,
        policy: RetryPolicy | None = None,
    ) -> None:
        super().__init__(replace(policy or RetryPolicy(), clock=clock))
        self.deadlines: list[float | None] = []
        self._outcomes = list(outcomes)
        self._clock = clock
        self._connect_seconds = connect_seconds

    @property
    def tries(self) -> int:
        return len(self.deadlines)

    def _connect(self, deadline: float | None) -> Connection:
        self.deadlines.append(deadline)
        self._clock.now += self._connect_seconds
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if outcome is not None:
            raise outcome
        return Connection()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(("failure", "seconds"), [(HUNG_UP, 10), (SILENT, 10), (NOBODY, 3)])
def test_a_server_is_waited_for_as_long_as_one_may_come(
    clock: FakeClock, failure: PtymuxError, seconds: int
) -> None:
    server = Server(failure, clock=clock)
    began = clock.now

    with pytest.raises(ConnectionClosedError, match=f"within {seconds} s") as given_up:
        server.wait()

    assert given_up.value.__cause__ is failure
    assert clock.now - began == pytest.approx(seconds, abs=2 * RETRY_SECONDS)
    assert set(clock.slept) == {RETRY_SECONDS}


@pytest.mark.parametrize("failure", PASSING)
def test_a_server_that_comes_is_connected_to(clock: FakeClock, failure: PtymuxError) -> None:
    server = Server(failure, failure, None, clock=clock)

    connection = server.wait()

    assert server.wait() is server.current is connection
    assert clock.slept == [RETRY_SECONDS] * 2


def test_the_time_that_failing_takes_is_time_that_the_server_is_away(clock: FakeClock) -> None:
    server = Server(SILENT, clock=clock, connect_seconds=2.0)

    with pytest.raises(ConnectionClosedError, match="within 10 s"):
        server.wait()

    assert server.tries == 5


def test_a_loss_begins_the_time_anew(clock: FakeClock) -> None:
    server = Server(None, HUNG_UP, clock=clock)
    server.wait()
    clock.now += 100.0

    server.lose()

    lost = clock.now
    with pytest.raises(ConnectionClosedError, match="did not come back"):
        server.wait()
    assert clock.now - lost == pytest.approx(10.0, abs=2 * RETRY_SECONDS)


def test_servers_that_hang_up_soon_have_one_time_together(clock: FakeClock) -> None:
    server = Server(None, clock=clock)
    began = clock.now

    def hang_up(_connection: Connection) -> None:
        clock.now += 0.9
        raise HUNG_UP

    with pytest.raises(ConnectionClosedError, match="within 10 s"):
        server.run(hang_up)

    assert 10.0 <= clock.now - began < 12.0
    assert clock.slept == [RETRY_SECONDS] * (server.tries - 1)


def test_each_server_that_served_for_a_while_begins_the_time_anew(clock: FakeClock) -> None:
    server = Server(None, clock=clock)
    began = clock.now

    def serve(_connection: Connection) -> str:
        clock.now += 1.0
        if server.tries <= 50:
            raise HUNG_UP
        return "done"

    assert server.run(serve) == "done"
    assert clock.now - began == 51.0
    assert clock.slept == []  # what served is missed at once


def test_the_last_failure_is_raised_if_nobody_wants_to_know_how_long(clock: FakeClock) -> None:
    policy = RetryPolicy(died_seconds=1.8, passing=(ConnectionClosedError,), says_how_long=False)
    server = Server(HUNG_UP, clock=clock, policy=policy)

    with pytest.raises(ConnectionClosedError) as given_up:
        server.wait()

    assert given_up.value is HUNG_UP
    assert sum(clock.slept) == pytest.approx(1.8, abs=2 * RETRY_SECONDS)


outcomes = st.lists(
    st.tuples(st.sampled_from([*PASSING, None]), st.floats(0.0, 4.0), st.floats(0.0, 2.0)),
    max_size=30,
)


@given(outcomes)
def test_it_gives_up_only_after_the_time_and_never_long_after(
    steps: list[tuple[PtymuxError | None, float, float]],
) -> None:
    """Whatever comes: tries of any duration that fail, and servers that serve for any time."""
    clock = FakeClock()
    server = Server(*(failure for failure, _, _ in steps), None, clock=clock)
    away_since: float | None = None
    for failure, took, served in steps:
        server._connect_seconds = took
        began = clock.now
        limit = 3.0 if failure is NOBODY else 10.0
        try:
            connection = server.try_once()
        except ConnectionClosedError:
            assert away_since is not None or took >= limit
            assert clock.now - (began if away_since is None else away_since) >= limit
            return
        assert (connection is None) == (failure is not None)
        if connection is None:
            away_since = began if away_since is None else away_since
            assert clock.now - away_since < limit
            continue
        clock.now += served
        is_new = served >= 1.0 or away_since is None
        away_since = clock.now if is_new else away_since
        assert away_since is not None
        try:
            with server.until_lost():
                raise HUNG_UP
        except ConnectionClosedError:
            assert clock.now - away_since >= 10.0
            return
        assert clock.now - away_since < 10.0


@pytest.mark.parametrize("failure", PASSING)
def test_a_block_ends_at_the_loss_of_the_server(clock: FakeClock, failure: PtymuxError) -> None:
    server = Server(None, clock=clock)
    connection = server.wait()

    with server.until_lost() as used:
        assert used is connection
        raise failure

    assert connection.is_closed
    assert server.current is None


def test_a_refusal_ends_nothing_but_the_block(clock: FakeClock) -> None:
    server = Server(None, clock=clock)
    connection = server.wait()

    with pytest.raises(UnknownPtyError), server.until_lost():
        raise UnknownPtyError("web")

    assert server.current is connection
    assert not connection.is_closed


def test_what_another_server_would_say_too_is_raised_at_once(clock: FakeClock) -> None:
    server = Server(UnknownPtyError("web"), clock=clock)

    with pytest.raises(UnknownPtyError):
        server.wait()

    assert (server.tries, clock.slept) == (1, [])


@pytest.mark.parametrize("failure", [NOBODY, SILENT])
def test_a_first_connection_to_no_server_fails_at_once(
    clock: FakeClock, failure: PtymuxError
) -> None:
    server = Server(failure, clock=clock)

    with pytest.raises(type(failure)):
        server.begin()

    assert (server.tries, clock.slept) == (1, [])


def test_a_first_connection_waits_for_a_server_that_hangs_up(clock: FakeClock) -> None:
    server = Server(HUNG_UP, None, NOBODY, None, clock=clock)

    connection = server.begin()

    assert connection is server.current
    server.lose()
    assert server.wait() is not connection  # from now on none may be there for a while, too


def test_repeat_calls_again_with_another_connection(clock: FakeClock) -> None:
    made: list[Connection] = []

    def connect() -> Connection:
        made.append(Connection())
        return made[-1]

    def act(connection: Connection) -> int:
        if len(made) < 3:
            raise HUNG_UP
        return made.index(connection)

    assert repeat(connect, act, RetryPolicy(clock=clock)) == 2
    assert [connection.is_closed for connection in made] == [True, True, False]


def test_who_has_a_poll_loop_tries_once_and_is_not_kept(clock: FakeClock) -> None:
    server = Server(HUNG_UP, clock=clock)

    assert server.try_once() is None
    clock.now += 9.9
    assert server.try_once() is None
    clock.now += 0.1
    with pytest.raises(ConnectionClosedError, match="within 10 s"):
        server.try_once()

    assert clock.slept == []


@pytest.mark.parametrize(("left", "pause"), [(5.0, RETRY_SECONDS), (0.02, 0.02), (-1.0, 0.0)])
def test_a_pause_ends_at_the_deadline(clock: FakeClock, left: float, pause: float) -> None:
    server = Server(HUNG_UP, clock=clock)
    deadline = clock.now + left

    assert server.try_and_pause(deadline) is None

    assert server.deadlines == [deadline]
    assert clock.slept == [pytest.approx(pause)]


def test_closing_is_no_loss(clock: FakeClock) -> None:
    server = Server(HUNG_UP, None, HUNG_UP, clock=clock)
    server.try_once()
    clock.now += 9.0
    connection = server.try_once()
    assert connection is not None

    server.close()
    server.close()

    assert connection.is_closed
    clock.now += 9.0
    assert server.try_once() is None  # a time of its own


@pytest.mark.parametrize(
    ("left", "seconds"), [(None, HELLO_SECONDS), (60.0, HELLO_SECONDS), (-1.0, 0.2)]
)
def test_a_hello_has_as_long_as_there_is_time_but_at_least_a_moment(
    left: float | None, seconds: float
) -> None:
    assert hello_seconds(None if left is None else time.monotonic() + left) == seconds


def test_the_policy_for_a_first_connection_differs_in_what_passes_alone() -> None:
    policy = RetryPolicy(died_seconds=1.0, gone_seconds=2.0)

    assert policy.at_first == replace(policy, passing=(ConnectionClosedError,))
