"""What every test of ptymux shares: nothing left behind, requirements told, coverage gates."""

from __future__ import annotations

import gc
import inspect
import io
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.processes import children_of, fds_of, kill_all
from tests.serving import Serving, ended, seen_by_coverage
from tests.timing import wait_until
from tests.world import World

# How long an example takes says something about the machine only, and so does a slow generator.
hypothesis.settings.register_profile(
    "ptymux",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ptymux")

# Modules that decide what people see of a PTY are held to more than the overall gate.
GATES = {"ptymux/core/lifecycle.py": 95.0, "ptymux/core/registry.py": 95.0}

# What is required of this version. A family such as LAW has its
# members named in the tests: @pytest.mark.requirement("LAW-RING").
BUILT = [
    "FR-001",
    "FR-002",
    "FR-003",
    "FR-004",
    "FR-005",
    "FR-006",
    "FR-007",
    "FR-008",
    "FR-009",
    "FR-010",
    "FR-011",
    "FR-012",
    "NFR-001",
    "NFR-002",
    "NFR-003",
    "NFR-004",
    "SC-001",
    "SC-002",
    "SC-003",
    "SC-004",
    "RING",
    "LAW-RING",
    "LAW-PTY",
    "LAW-READER",
    "HOLES",
    "BACKPRESSURE",
    "OVERFLOW",
    "BLOCK",
    "PENDING",
    "STATS",
    "EVENTS",
    "EVENTS-CLIENTS",
    "EVENTS-TITLES",
    "EVENT-LOG",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--requirements", action="store_true", help="list what proves what, and stop")
    parser.addoption("--coverage-gates", action="store_true", help="hold modules to their gates")


def pytest_configure() -> None:
    """Have programs start with the usual signals, also where a shell runs us in the background.

    What is ignored is ignored after an exec, too; what is handled is not.
    """
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.getoption("--requirements"):
        return
    proofs: dict[str, set[str]] = defaultdict(set)
    for item in session.items:
        for mark in item.iter_markers("requirement"):
            for name in mark.args:
                proofs[name].add(item.nodeid.split("[")[0])
    for name in [*BUILT, *sorted(set(proofs) - set(BUILT))]:
        print(f"\n{name}" if name in proofs else f"\n{name}  NO TEST")
        for nodeid in sorted(proofs[name]):
            print(f"  {nodeid}")
    missing = [name for name in BUILT if not proofs[name]]
    strangers = sorted(set(proofs) - set(BUILT))
    if missing or strangers:
        pytest.exit(f"no test proves: {missing}; not a requirement: {strangers}", returncode=1)
    pytest.exit(f"all {len(BUILT)} requirements have a test", returncode=0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    result = yield
    is_worker = hasattr(session.config, "workerinput")  # of several that share the tests
    if session.config.getoption("--coverage-gates") and not (session.testsfailed or is_worker):
        for line in _missed_gates():
            session.testsfailed += 1
            session.config.get_terminal_writer().line(line, red=True)
    return result


def _missed_gates() -> list[str]:
    import coverage

    measured = coverage.Coverage()
    measured.load()
    missed = []
    for path, gate in GATES.items():
        percent = measured.report(include=[path], file=io.StringIO())
        if percent < gate:
            missed.append(f"coverage of {path} is {percent:.1f} %, below its gate of {gate:.0f} %")
    return missed


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that ends with a new fd, child process or thread.

    Children that are left are killed, so that they do not fail the tests that follow.
    """
    before = _own_things()
    yield
    try:
        wait_until(lambda: not _new_things(before), "an end that leaves nothing behind", units=0.5)
    except AssertionError:
        left = _new_things(before)
        kill_all(set(children_of(os.getpid())) - before["children"])
        pytest.fail(f"left behind: {left}")


def _own_things() -> dict[str, set[object]]:
    return {
        "fds": set(fds_of(os.getpid()).items()),
        "children": set(children_of(os.getpid())),
        "threads": set(threading.enumerate()),
    }


def _new_things(before: dict[str, set[object]]) -> dict[str, set[object]]:
    """Return what is there and was not; what only waits for the garbage collector is not there."""
    left = {kind: now - before[kind] for kind, now in _own_things().items() if now - before[kind]}
    if left:
        gc.collect()
    return left


# Servers --------------------------------------------------------------------------------------


class _Shared:
    """The servers that tests of this worker share: one that coverage sees, one that it does not.

    One that a test left as it did not find it is ended, and the next test gets another.
    """

    def __init__(self) -> None:
        self._servers: dict[bool, Serving] = {}

    def begin(self, is_seen: bool) -> Serving:
        if is_seen not in self._servers or not self._servers[is_seen].is_there():
            self._servers[is_seen] = self._start(is_seen)
        self._servers[is_seen].begin()
        return self._servers[is_seen]

    def _start(self, is_seen: bool) -> Serving:
        server = Serving(leave_seconds=600)  # so that it goes, too, when pytest is killed
        with seen_by_coverage(is_seen):
            server.start()
        return server

    def give_back(self, is_seen: bool) -> None:
        try:
            self._servers[is_seen].tidy()
        except BaseException:
            self._servers.pop(is_seen).end()
            raise

    def end(self) -> None:
        for server in self._servers.values():
            with ended(server):
                pass


@pytest.fixture(scope="session")
def _shared_servers() -> Iterator[_Shared]:
    shared = _Shared()
    yield shared
    shared.end()


_SEEN: set[object] = set()  # tests of this worker whose own server was seen


@pytest.fixture
def is_server_seen() -> bool:
    """Whether coverage sees what servers do; a folder whose tests are about commands says no."""
    return True


@pytest.fixture
def server(_shared_servers: _Shared, is_server_seen: bool) -> Iterator[Serving]:
    """A server that others use before and after; the test must leave it as it found it."""
    server = _shared_servers.begin(is_server_seen)
    yield server
    _shared_servers.give_back(is_server_seen)


@pytest.fixture
def no_server(is_server_seen: bool, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A socket of the test's own where nobody serves yet.

    Of a test with parameters coverage sees one server: to start those that it sees takes long.
    """
    is_first = request.function not in _SEEN
    _SEEN.add(request.function)
    with seen_by_coverage(is_server_seen and is_first), ended(Serving()) as serving:
        yield serving


@pytest.fixture
def own_server(no_server: Serving) -> Serving:
    """A server for this test only, which it may kill, stop or starve."""
    no_server.start()
    return no_server


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """Whichever server the test asks for, the shared one if it asks for none.

    A test that asks for none must see to it that what it starts has ended at its end.
    """
    asked = inspect.signature(request.function).parameters.keys()
    named = [name for name in ("server", "own_server", "no_server") if name in asked]
    serving: Serving = request.getfixturevalue(named[0] if named else "server")
    yield serving
    if not named:
        wait_until(lambda: not serving.world.processes())


@pytest.fixture
def world(serving: Serving) -> World:
    """Where commands run."""
    return serving.world
