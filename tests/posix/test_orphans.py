from __future__ import annotations

import os
import signal
import sys
import uuid
from pathlib import Path

import pytest

from ptymux.errors import OutOfResourcesError
from ptymux.handover.state_file import ChildProof, SpawnIntent
from ptymux.posix.orphans import Findings, Orphan, _first, find, identify
from ptymux.posix.process import boot_id, send, session_members, start_time
from ptymux.posix.procfs import Stat, read_stat
from tests.posix.conftest import Child, Start, not_root, soft_limit_of_open_files
from tests.timing import wait_until

SOCKET = f"/tmp/of-a-test-of-orphans-{uuid.uuid4().hex}/s.sock"  # of no other test run
MARKED = {"PATH": os.environ["PATH"], "PTYMUX_ID": "pty_secret", "PTYMUX_SOCKET": SOCKET}


def proof(child: Child, *, later: int = 0, number: int = 7, boot: str | None = None) -> ChildProof:
    started = start_time(child.pid)
    assert started is not None
    return ChildProof(child.pid, started + later, number, boot_id() if boot is None else boot)


def pids(orphans: tuple[Orphan, ...]) -> list[int]:
    return [orphan.pid for orphan in orphans]


def grandchildren(child: Child) -> set[int]:
    return {member.pid for member in session_members(child.pid)} - {child.pid}


# What is proven


def test_child_with_pid_start_time_and_boot_is_proven(start: Start) -> None:
    child = start("sleep", "60")
    known = proof(child)

    found = find([known])

    assert found.proven == (Orphan(child.pid, known.start_time, 7, "sleep"),)
    assert found.proven[0].is_proven
    send(found.proven[0], signal.SIGKILL)
    assert child.wait().signal == signal.SIGKILL


def test_grandchildren_in_the_session_of_the_leader_are_proven(start: Start) -> None:
    child = start("sh", "-c", "(sleep 60 & sleep 60 & wait) & wait")
    wait_until(lambda: len(grandchildren(child)) == 3)

    found = find([proof(child)])

    assert pids(found.proven) == sorted({child.pid} | grandchildren(child))
    assert {orphan.number for orphan in found.proven} == {7}


def test_each_process_is_found_under_the_number_of_its_pty(start: Start) -> None:
    one, other = start("sleep", "60"), start("sleep", "60")

    found = find([proof(one, number=9), proof(other, number=8)])

    assert [(orphan.pid, orphan.number) for orphan in found.proven] == [
        (other.pid, 8),
        (one.pid, 9),
    ]


def test_zombie_leader_vouches_for_its_session_and_is_not_found_itself(start: Start) -> None:
    child = start("sh", "-c", "trap '' HUP; sleep 60 & echo up; exit 0")
    child.read_until(b"up")
    wait_until(lambda: (stat := read_stat(child.pid)) and stat.is_zombie)

    found = find([proof(child)])

    assert set(pids(found.proven)) == grandchildren(child)
    assert len(found.proven) == 1


# What is not


def test_of_a_proven_process_it_is_known_whether_it_ignores_term(start: Start) -> None:
    child = start("sh", "-c", "trap '' TERM; sleep 60 & sleep 60 & wait")
    other = start("sleep", "60")
    wait_until(lambda: len(grandchildren(child)) == 2)

    found = find([proof(child), proof(other)])

    ignoring = {orphan.pid for orphan in found.proven if orphan.ignores_term}
    assert ignoring == {child.pid} | grandchildren(child)


def test_marker_in_the_environment_alone_is_no_proof(start: Start) -> None:
    child = start("sleep", "60", env=MARKED)

    found = find([], socket=SOCKET)

    assert found.proven == ()
    assert pids(found.unproven) == [child.pid]
    assert not found.unproven[0].is_proven
    assert child.pid in pids(find([]).unproven)
    assert "secret" not in repr(found)
    assert SOCKET not in repr(found)


def test_marker_of_another_server_is_not_told_when_one_is_asked_for(start: Start) -> None:
    child = start("sleep", "60", env=MARKED)

    assert find([], socket=SOCKET + "2") == Findings((), ())
    assert child.pid in pids(find([]).unproven)


def test_process_that_was_only_told_of_a_socket_is_nothing(start: Start) -> None:
    start("sleep", "60", env={"PATH": os.environ["PATH"], "PTYMUX_SOCKET": SOCKET})

    assert find([], socket=SOCKET) == Findings((), ())


def test_process_without_a_marker_is_nothing(start: Start) -> None:
    child = start("sleep", "60")

    assert child.pid not in pids(find([]).unproven)


def test_reused_pid_is_nothing(start: Start) -> None:
    child = start("sh", "-c", "sleep 60 & wait")
    wait_until(lambda: len(grandchildren(child)) == 1)

    assert find([proof(child, later=-1)], socket=SOCKET) == Findings((), ())
    assert find([proof(child, later=1)], socket=SOCKET) == Findings((), ())


def test_another_boot_is_nothing(start: Start) -> None:
    child = start("sh", "-c", "sleep 60 & wait")

    assert find([proof(child, boot="")], socket=SOCKET) == Findings((), ())
    assert find([proof(child, boot="0" * 36)], socket=SOCKET) == Findings((), ())


def test_session_whose_leader_was_reaped_proves_nothing(start: Start) -> None:
    child = start("sh", "-c", "trap '' HUP; sleep 60 & echo up; exit 0", env=MARKED)
    child.read_until(b"up")
    known = proof(child)
    child.wait()

    found = find([known], socket=SOCKET)

    assert found.proven == ()
    assert set(pids(found.unproven)) == grandchildren(child)


def test_process_that_left_the_session_is_unproven(start: Start) -> None:
    child = start("sh", "-c", "setsid sleep 60 & echo up; wait", env=MARKED)
    child.read_until(b"up")
    wait_until(lambda: any(o.name == "sleep" for o in find([proof(child)], socket=SOCKET).unproven))

    found = find([proof(child)], socket=SOCKET)

    assert pids(found.proven) == [child.pid]
    (left,) = found.unproven
    send(left, signal.SIGKILL)
    wait_until(lambda: read_stat(left.pid) is None)


def test_slot_that_was_never_filled_in_proves_nothing(start: Start) -> None:
    child = start("sleep", "60")

    assert find([ChildProof(child.pid, 0, 7, boot_id())], socket=SOCKET) == Findings((), ())
    assert find([ChildProof(1, start_time(1) or 0, 7, boot_id())], socket=SOCKET) == Findings(
        (), ()
    )


# Children that were not written down


def began(child: Child, *, later: int = 0, mark: bytes = b"secret") -> SpawnIntent:
    """What a keeper wrote before it started this child, or so many clock ticks later."""
    return SpawnIntent(proof(child).start_time + later, 7, mark)


def test_child_is_identified_by_its_mark_and_when_it_began(start: Start) -> None:
    child = start("sleep", "60", env=MARKED)
    other = start("sleep", "60", env=MARKED | {"PTYMUX_ID": "pty_other"})

    found = identify([began(child), began(other, mark=b"nobody")])

    assert {(number, process.pid) for number, process in found.items()} == {(7, child.pid)}
    assert proof(child).start_time == found[7].start_time
    assert identify([]) == {}


def test_what_has_left_the_session_is_not_taken_for_the_child(start: Start) -> None:
    child = start("sh", "-c", "setsid sleep 60 & echo up; wait", env=MARKED)
    child.read_until(b"up")
    wait_until(lambda: any(o.name == "sleep" for o in find([], socket=SOCKET).unproven))

    assert identify([began(child)])[7].pid == child.pid
    (left,) = (o for o in find([], socket=SOCKET).unproven if o.name == "sleep")
    send(left, signal.SIGKILL)
    wait_until(lambda: read_stat(left.pid) is None)


def test_what_leads_no_session_is_not_taken_for_the_child(start: Start) -> None:
    child = start("sh", "-c", "PTYMUX_ID=pty_job sleep 60 & echo up; wait", env=MARKED)
    child.read_until(b"up")

    assert identify([began(child, mark=b"job")]) == {}


def test_what_began_before_the_spawn_or_long_after_is_not_its_child(start: Start) -> None:
    child = start("sleep", "60", env=MARKED)

    assert identify([began(child, later=1)]) == {}
    assert identify([began(child, later=-os.sysconf("SC_CLK_TCK") - 1)]) == {}
    assert identify([began(child, mark=b"")]) == {}


def test_of_two_that_began_at_once_it_is_the_first_unless_pids_began_anew() -> None:
    def stat(pid: int) -> Stat:
        return Stat(pid, "S", 1, pid, pid, 500, is_zombie=False)

    assert _first([stat(302), stat(301)]) == stat(301)
    assert _first([stat(302), stat(32_700)]) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what others' processes were given")
def test_child_of_another_user_is_not_identified(start: Start) -> None:
    child = start("sleep", "60", env=MARKED)
    intent = began(child)

    with not_root():
        assert identify([intent]) == {}


def test_whoever_asks_is_not_found(start: Start, tmp_path: Path) -> None:
    script = (
        "from ptymux.posix.orphans import find; import os\n"
        "print('asked', os.getpid() in [o.pid for o in find([]).unproven], flush=True)\n"
    )
    child = start(sys.executable, "-c", script, env=MARKED)

    assert b"asked False" in child.read_to_end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what others' processes were given")
def test_process_of_another_user_is_nothing(start: Start) -> None:
    start("sleep", "60", env=MARKED)

    with not_root():
        assert find([], socket=SOCKET) == Findings((), ())


def test_large_environment_is_read_to_its_end(start: Start) -> None:
    padding = {f"PADDING_{number}": "x" * 100_000 for number in range(5)}
    child = start("sleep", "60", env=padding | MARKED)

    assert pids(find([], socket=SOCKET).unproven) == [child.pid]


def test_lack_of_fds_is_not_taken_for_an_end(start: Start) -> None:
    child = start("sleep", "60")
    known = proof(child)
    free = os.dup(0)
    os.close(free)

    with soft_limit_of_open_files(free), pytest.raises(OutOfResourcesError):
        find([known])
