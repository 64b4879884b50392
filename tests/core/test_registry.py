"""The registry: lookups, indexes after every mutation, capacity, references of people."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ptymux.core.model import LaneId, PtyId, PtyRecord, SessionId, TerminalId, WindowSize
from ptymux.core.registry import Registry
from ptymux.errors import (
    AmbiguousPtyError,
    DuplicatePtyError,
    LimitReachedError,
    NameTakenError,
    UnknownPtyError,
)

pytestmark = pytest.mark.requirement("FR-002")

LIVE = ["idle", "spawning", "active", "throttled"]
ENDED = ["errored", "stopped"]
LANES = [LaneId("main"), LaneId("fix")]
SESSIONS = [SessionId("ses_1"), SessionId("ses_2")]


def record(
    number: int,
    *,
    name: str | None = None,
    state: str = "active",
    lane: str = "main",
    session: str = "ses_1",
) -> PtyRecord:
    return PtyRecord(
        pty_id=PtyId(f"pty_{number:04}"),
        number=number,
        lane_id=LaneId(lane),
        session_id=SessionId(session),
        terminal_id=TerminalId("ter_1"),
        command=("make",),
        cwd="/",
        size=WindowSize(80, 24),
        state=state,
        created_at=1.0,
        updated_at=1.0,
        name=name,
    )


def registry_of(*records: PtyRecord, capacity: int = 300, restored: bool = False) -> Registry:
    registry = Registry(capacity)
    for each in records:
        registry.register(each, restored=restored)
    return registry


def test_a_registered_pty_is_found_by_its_id() -> None:
    one = record(1)
    registry = registry_of(one)

    assert registry.get(one.pty_id) is one
    assert one.pty_id in registry
    assert list(registry) == [one]
    assert len(registry) == 1


def test_a_duplicate_id_is_refused_and_changes_nothing() -> None:
    registry = registry_of(record(1, lane="main"))

    with pytest.raises(DuplicatePtyError):
        registry.register(record(1, lane="fix"))

    assert registry.get(PtyId("pty_0001")).lane_id == "main"
    assert registry.by_lane(LaneId("fix")) == ()


def test_a_duplicate_number_is_refused() -> None:
    registry = registry_of(record(1))

    with pytest.raises(DuplicatePtyError):
        registry.register(replace(record(1), pty_id=PtyId("pty_other")))

    assert len(registry) == 1


def test_an_unknown_id_is_a_clear_error_for_get_update_and_remove() -> None:
    registry = registry_of(record(1))
    unknown = PtyId("pty_none")

    with pytest.raises(UnknownPtyError, match="pty_none"):
        registry.get(unknown)
    with pytest.raises(UnknownPtyError, match="pty_none"):
        registry.update(unknown, at=2.0, state="stopped")
    with pytest.raises(UnknownPtyError, match="pty_none"):
        registry.remove(unknown)

    assert list(registry) == [record(1)]


def test_an_update_changes_the_fields_and_the_time_and_returns_the_new_record() -> None:
    old = record(1)
    registry = registry_of(old)

    new = registry.update(old.pty_id, at=5.0, pid=77, size=WindowSize(100, 30))

    assert new == replace(old, updated_at=5.0, pid=77, size=WindowSize(100, 30))
    assert registry.get(old.pty_id) is new


def test_an_update_of_a_field_that_does_not_exist_changes_nothing() -> None:
    registry = registry_of(record(1))

    with pytest.raises(TypeError):
        registry.update(PtyId("pty_0001"), at=5.0, colour="red")  # type: ignore[call-arg]

    assert list(registry) == [record(1)]


def test_lane_and_session_are_indexed_in_the_order_of_entry() -> None:
    registry = registry_of(record(1), record(2, lane="fix"), record(3))

    registry.update(PtyId("pty_0001"), at=2.0, lane_id=LaneId("fix"), session_id=SessionId("s"))

    assert [each.number for each in registry.by_lane(LaneId("main"))] == [3]
    assert [each.number for each in registry.by_lane(LaneId("fix"))] == [2, 1]
    assert [each.number for each in registry.by_session(SessionId("ses_1"))] == [2, 3]
    assert [each.number for each in registry.by_session(SessionId("s"))] == [1]


def test_an_update_that_keeps_the_lane_keeps_the_place_in_it() -> None:
    registry = registry_of(record(1), record(2))

    registry.update(PtyId("pty_0001"), at=2.0, lane_id=LaneId("main"), state="stopped")

    assert [each.number for each in registry.by_lane(LaneId("main"))] == [1, 2]


def test_an_unknown_lane_or_session_is_empty() -> None:
    registry = Registry()

    assert registry.by_lane(LaneId("none")) == ()
    assert registry.by_session(SessionId("none")) == ()


def test_a_removed_pty_is_returned_and_gone_from_every_lookup() -> None:
    registry = registry_of(record(1, name="web"), record(2))

    removed = registry.remove(PtyId("pty_0001"))

    assert removed.name == "web"
    assert removed.pty_id not in registry
    assert [each.number for each in registry.by_lane(LaneId("main"))] == [2]
    for reference in ("pty_0001", "1", "web"):
        with pytest.raises(UnknownPtyError):
            registry.find(reference)


def test_bulk_removal_leaves_nothing_at_all() -> None:
    records = [record(n, name=f"n{n}", lane=f"l{n % 3}", session=f"s{n}") for n in range(1, 31)]
    registry = registry_of(*records)

    removed = registry.remove_many(each.pty_id for each in records)

    assert list(removed) == records
    assert (len(registry), registry.live_count) == (0, 0)
    assert not any(vars(registry)[index] for index in vars(registry) if index.startswith("_"))


def test_bulk_removal_with_an_unknown_id_removes_nothing() -> None:
    registry = registry_of(record(1), record(2))

    with pytest.raises(UnknownPtyError):
        registry.remove_many([PtyId("pty_0001"), PtyId("pty_none")])

    assert len(registry) == 2


def test_bulk_removal_takes_an_id_given_twice_once() -> None:
    registry = registry_of(record(1))

    assert len(registry.remove_many([PtyId("pty_0001")] * 2)) == 1


@pytest.mark.parametrize("state", LIVE)
def test_capacity_bounds_the_live_ptys(state: str) -> None:
    registry = registry_of(record(1, state=state), record(2, state=state), capacity=2)

    with pytest.raises(LimitReachedError, match="limited to 2"):
        registry.register(record(3))

    assert PtyId("pty_0003") not in registry


@pytest.mark.parametrize("state", ENDED)
def test_ended_ptys_take_no_capacity(state: str) -> None:
    registry = registry_of(record(1), capacity=1)

    registry.register(record(2, state=state))
    registry.update(PtyId("pty_0001"), at=2.0, state=state)
    registry.register(record(3))

    assert (registry.live_count, len(registry)) == (1, 3)


def test_no_update_makes_more_ptys_live_than_the_capacity() -> None:
    registry = registry_of(record(1), record(2, state="stopped"), capacity=1)

    with pytest.raises(LimitReachedError):
        registry.update(PtyId("pty_0002"), at=2.0, state="active")

    assert registry.get(PtyId("pty_0002")).state == "stopped"


def test_three_hundred_ptys_are_the_default_capacity() -> None:
    registry = registry_of(*(record(number) for number in range(1, 301)))

    with pytest.raises(LimitReachedError, match="300"):
        registry.register(record(301))


def test_a_snapshot_is_iterated_so_that_ptys_can_be_removed_meanwhile() -> None:
    registry = registry_of(record(1), record(2))

    for each in registry:
        registry.remove(each.pty_id)

    assert len(registry) == 0


def test_a_reference_is_an_id_a_number_or_a_name() -> None:
    registry = registry_of(record(1, name="web"), record(12, name="db"))

    assert registry.find("pty_0001").number == 1
    assert registry.find("12").number == 12
    assert registry.find("web").number == 1


@pytest.mark.parametrize("reference", ["", "3", "01", "pty_", "we", "²", "9" * 5000])
def test_a_reference_that_fits_nothing_is_unknown(reference: str) -> None:
    registry = registry_of(record(1, name="web"))

    with pytest.raises(UnknownPtyError):
        registry.find(reference)


@pytest.mark.parametrize("state", LIVE)
def test_a_name_of_a_live_pty_is_refused_and_changes_nothing(state: str) -> None:
    registry = registry_of(record(1, name="web", state=state), record(2, name="db"))

    with pytest.raises(NameTakenError, match=r"PTY 1 \(make\) has the name 'web'"):
        registry.register(record(3, name="web"))
    with pytest.raises(NameTakenError):
        registry.update(PtyId("pty_0002"), at=2.0, name="web")

    assert [each.name for each in registry] == ["web", "db"]
    assert registry.live_count == 2


def test_a_pty_may_be_given_the_name_that_it_has() -> None:
    registry = registry_of(record(1, name="web"))

    assert registry.update(PtyId("pty_0001"), at=2.0, name="web").name == "web"


@pytest.mark.parametrize("state", ENDED)
def test_the_name_of_an_ended_pty_is_free(state: str) -> None:
    registry = registry_of(record(1, name="web", state=state))

    registry.register(record(2, name="web"))

    assert registry.holder("web") == record(2, name="web")
    assert registry.holder("db") is None


def test_the_error_of_a_taken_name_shows_a_long_command_shortened_and_cleaned() -> None:
    long = replace(record(1, name="web"), command=("sh", "-c", "\x1b[31m" + "x" * 100))

    with pytest.raises(NameTakenError) as caught:
        registry_of(long).register(record(2, name="web"))

    assert caught.value.command == f"sh -c [31m{'x' * 30}..."


def test_a_name_means_the_newest_of_those_restored_with_it() -> None:
    registry = registry_of(record(1, name="web"), record(2, name="web"), record(3), restored=True)

    assert registry.find("web").number == 2

    registry.update(PtyId("pty_0002"), at=2.0, state="stopped")

    assert registry.find("web").number == 1


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_pty_gives_its_name_up_but_not_its_number(state: str) -> None:
    registry = registry_of(record(1, name="web"))

    registry.update(PtyId("pty_0001"), at=2.0, state=state)

    with pytest.raises(UnknownPtyError):
        registry.find("web")
    assert registry.find("1").name == "web"
    assert registry.find("pty_0001").number == 1


def test_who_only_reads_finds_the_last_one_that_had_a_name_nobody_has_now() -> None:
    registry = registry_of(
        record(1, name="web"), record(2, name="web"), record(3, name="webpack"), restored=True
    )
    for number in (1, 2):
        registry.update(PtyId(f"pty_000{number}"), at=2.0, state=ENDED[0])

    assert registry.find("web", prefixes=True).number == 2

    registry.register(record(4, name="web"))

    assert registry.find("web", prefixes=True).number == 4


def test_a_past_name_is_that_of_the_last_one_when_no_live_one_has_it() -> None:
    registry = registry_of(record(1, name="web"), record(2, name="web"), restored=True)
    for number in (1, 2):
        registry.update(PtyId(f"pty_000{number}"), at=2.0, state=ENDED[0])

    assert registry.find("web", past_names=True).number == 2
    for reference in ("we", "pty_000", ""):
        with pytest.raises(UnknownPtyError):
            registry.find(reference, past_names=True)

    registry.register(record(3, name="web"))

    assert registry.find("web", past_names=True).number == 3


def test_a_renamed_pty_is_found_by_its_new_name_only() -> None:
    registry = registry_of(record(1, name="web"))

    registry.update(PtyId("pty_0001"), at=2.0, name="api")

    assert registry.find("api").number == 1
    with pytest.raises(UnknownPtyError):
        registry.find("web")


def test_a_unique_beginning_of_an_id_or_a_name_is_enough_where_allowed() -> None:
    registry = registry_of(record(1, name="web"), record(12, name="db"))

    assert registry.find("we", prefixes=True).number == 1
    assert registry.find("pty_001", prefixes=True).number == 12
    for reference in ("", "1x", "x"):
        with pytest.raises(UnknownPtyError):
            registry.find(reference, prefixes=True)


def test_an_exact_name_beats_a_longer_one() -> None:
    registry = registry_of(record(1, name="web"), record(2, name="webpack"))

    assert registry.find("web", prefixes=True).number == 1


def test_digits_are_a_number_even_where_a_name_begins_with_them() -> None:
    registry = registry_of(record(1, name="3rd"))

    with pytest.raises(UnknownPtyError):
        registry.find("3", prefixes=True)
    assert registry.find("3r", prefixes=True).number == 1


def test_one_pty_that_fits_by_id_and_by_name_is_not_ambiguous() -> None:
    registry = registry_of(record(1, name="pty_me"), record(2, name="x"))

    assert registry.find("pty_m", prefixes=True).number == 1


def test_an_ambiguous_beginning_lists_the_candidates() -> None:
    registry = registry_of(
        record(1, name="web"),
        record(2, name="webpack"),
        record(3, name="web"),
        record(4),
        restored=True,
    )

    with pytest.raises(AmbiguousPtyError) as caught:
        registry.find("we", prefixes=True)

    assert caught.value.candidates == ("web (3)", "webpack (2)")
    assert "web (3), webpack (2)" in str(caught.value)


def test_an_ambiguous_beginning_shows_ten_of_many_and_how_many_more() -> None:
    registry = registry_of(*(record(number) for number in range(1, 14)))

    with pytest.raises(AmbiguousPtyError, match="and 3 more") as caught:
        registry.find("pty_", prefixes=True)

    assert len(caught.value.candidates) == 13


class AgainstAList(RuleBasedStateMachine):
    """A registry beside a plain list of records and, for the order of entry, a counter."""

    CAPACITY = 4

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(self.CAPACITY)
        self.records: list[PtyRecord] = []
        self.entered: dict[tuple[str, str], int] = {}  # (id, lane or session) -> when
        self.clock = 0

    def enter(self, pty_id: str, group: str) -> None:
        self.clock += 1
        self.entered[(pty_id, group)] = self.clock

    def live(self) -> list[PtyRecord]:
        return [each for each in self.records if each.state in LIVE]

    def is_taken(self, name: str | None) -> bool:
        return name is not None and any(each.name == name for each in self.live())

    @rule(
        number=st.integers(1, 12),
        name=st.sampled_from([None, "web", "db"]),
        state=st.sampled_from(LIVE + ENDED),
        lane=st.sampled_from(LANES),
        session=st.sampled_from(SESSIONS),
    )
    def register(
        self, number: int, name: str | None, state: str, lane: LaneId, session: SessionId
    ) -> None:
        new = record(number, name=name, state=state, lane=lane, session=session)
        if any(each.pty_id == new.pty_id for each in self.records):
            with pytest.raises(DuplicatePtyError):
                self.registry.register(new)
        elif state in LIVE and self.is_taken(name):
            with pytest.raises(NameTakenError):
                self.registry.register(new)
        elif state in LIVE and len(self.live()) >= self.CAPACITY:
            with pytest.raises(LimitReachedError):
                self.registry.register(new)
        else:
            self.registry.register(new)
            self.records.append(new)
            self.enter(new.pty_id, lane)
            self.enter(new.pty_id, session)

    @precondition(lambda self: self.records)
    @rule(
        data=st.data(),
        name=st.sampled_from([None, "web", "db"]),
        state=st.sampled_from(LIVE + ENDED),
        lane=st.sampled_from(LANES),
        session=st.sampled_from(SESSIONS),
    )
    def update(
        self,
        data: st.DataObject,
        name: str | None,
        state: str,
        lane: LaneId,
        session: SessionId,
    ) -> None:
        old = data.draw(st.sampled_from(self.records))
        revives = old.state in ENDED and state in LIVE
        claims = state in LIVE and (old.state in ENDED or name != old.name)
        if claims and self.is_taken(name):
            with pytest.raises(NameTakenError):
                self.registry.update(old.pty_id, at=2.0, state=state, name=name)
            return
        if revives and len(self.live()) >= self.CAPACITY:
            with pytest.raises(LimitReachedError):
                self.registry.update(old.pty_id, at=2.0, state=state, name=name)
            return

        new = self.registry.update(
            old.pty_id, at=2.0, name=name, state=state, lane_id=lane, session_id=session
        )

        self.records[self.records.index(old)] = new
        if lane != old.lane_id:
            self.enter(old.pty_id, lane)
        if session != old.session_id:
            self.enter(old.pty_id, session)

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.records))

        assert self.registry.remove(old.pty_id) == old

        self.records.remove(old)

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def remove_many(self, data: st.DataObject) -> None:
        gone = data.draw(st.lists(st.sampled_from(self.records), unique=True))

        assert self.registry.remove_many(each.pty_id for each in gone) == tuple(gone)

        self.records = [each for each in self.records if each not in gone]

    @invariant()
    def is_the_list(self) -> None:
        assert list(self.registry) == self.records
        assert len(self.registry) == len(self.records)
        assert self.registry.live_count == len(self.live())

    @invariant()
    def has_exact_indexes(self) -> None:
        for lane in LANES:
            inside = [each for each in self.records if each.lane_id == lane]
            inside.sort(key=lambda each: self.entered[(each.pty_id, each.lane_id)])
            assert list(self.registry.by_lane(lane)) == inside
        for session in SESSIONS:
            inside = [each for each in self.records if each.session_id == session]
            inside.sort(key=lambda each: self.entered[(each.pty_id, each.session_id)])
            assert list(self.registry.by_session(session)) == inside
        assert set(self.registry._lanes) == {each.lane_id for each in self.records}
        assert set(self.registry._sessions) == {each.session_id for each in self.records}
        assert set(self.registry._holders) == {each.name for each in self.live()} - {None}

    @invariant()
    def finds_by_number_and_name(self) -> None:
        for each in self.records:
            assert self.registry.find(str(each.number)) == each
        for name in ("web", "db"):
            holders = [each for each in self.live() if each.name == name]
            if holders:
                assert [self.registry.find(name)] == holders
            else:
                with pytest.raises(UnknownPtyError):
                    self.registry.find(name)


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.pytestmark = [pytest.mark.requirement("FR-002")]  # type: ignore[attr-defined]
