from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ptymux.posix.caller import CallerWorld, differences, free_ourselves, take_on, world_of


def own_world() -> CallerWorld:
    world = world_of()
    assert world is not None
    return world


@pytest.fixture
def other() -> Iterator[int]:
    """A process that is limited in many ways."""
    limits = "ulimit -S -t 77; ulimit -S -f 1234; ulimit -S -c 0; ulimit -S -s 4096"
    command = f"{limits}; echo; exec sleep 60"
    with subprocess.Popen(["nice", "-n", "5", "sh", "-c", command], stdout=subprocess.PIPE) as done:
        assert done.stdout is not None
        done.stdout.readline()
        yield done.pid
        done.kill()


def in_child(act: Callable[[], object]) -> str:
    """Return what `act` returns in a forked process, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, str(act()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.requirement("FR-003")
def test_what_another_process_has_is_read_and_survives_the_wire(other: int) -> None:
    world = world_of(other)

    assert world is not None
    assert world.limits["CPU"][0] == 77
    assert world.limits["STACK"][0] == 4096 * 1024
    assert world.nice == os.getpriority(os.PRIO_PROCESS, 0) + 5
    assert CallerWorld.from_json(world.as_json()) == world
    assert world != own_world()


@pytest.mark.requirement("FR-003")
def test_a_child_takes_on_what_its_caller_has(other: int) -> None:
    world = world_of(other)
    assert world is not None
    world = replace(world, cpus=frozenset([min(world.cpus)]), oom_score=world.oom_score + 3)

    def become() -> bool:
        take_on(world)
        return world_of() == world

    assert in_child(become) == "True"


@pytest.mark.requirement("FR-003")
def test_what_it_may_not_have_is_as_near_as_it_may() -> None:
    own = own_world()
    wanted = replace(own, limits={**own.limits, "CORE": (500, 500)})
    above = replace(own, limits={**own.limits, "CORE": (600, 700)})

    def become() -> tuple[int, int]:
        take_on(wanted)
        take_on(above)
        return resource.getrlimit(resource.RLIMIT_CORE)

    assert in_child(become) in ("(500, 500)", "(600, 700)")


@pytest.mark.requirement("NFR-003")
def test_our_own_limits_are_raised_as_far_as_allowed() -> None:
    def free() -> list[bool]:
        for limit, least in (("CPU", 99), ("FSIZE", 1 << 20), ("NOFILE", 256)):
            _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{limit}"))
            resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (least, hard))
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        free_ourselves()
        raised = []
        for limit in ("CPU", "FSIZE"):
            soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{limit}"))
            raised.append(soft == hard)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        raised.append(soft == max(256, min(hard, 65536)))
        return raised

    assert in_child(free) == "[True, True, True]"


def test_a_process_like_ours_differs_in_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as done:
        assert differences(done.pid) == []
        done.send_signal(signal.SIGKILL)


@pytest.mark.requirement("FR-003")
def test_another_namespace_and_other_groups_are_told() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make them")
    script = "import os; os.setgroups([7, 8]); os.write(1, b'x'); os.read(0, 1)"
    command = ["unshare", "-n", sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        if not other.stdout.read(1):
            pytest.skip("no namespaces here")
        told = differences(other.pid)
        other.kill()

    assert told[0] == "network namespace"
    assert told[1].startswith("groups (")


def test_nothing_is_told_of_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as done:
        pass

    assert world_of(done.pid) is None
    assert differences(done.pid) == []
