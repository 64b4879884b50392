from __future__ import annotations

import fcntl
import os
import resource
from pathlib import Path

import pytest

from ptymux.errors import InvalidValueError, OutOfResourcesError
from ptymux.posix.memory import (
    available_memory,
    create_ring_memory,
    map_ring_memory,
)
from tests.posix.conftest import soft_limit_of_open_files

MIB = 1 << 20


@pytest.mark.requirement("RING")
def test_two_mappings_show_the_same_bytes() -> None:
    fd, first = create_ring_memory(8192)
    second = map_ring_memory(fd)

    first[5000:5003] = b"abc"

    assert second[5000:5003] == b"abc"
    assert len(second) == 8192
    assert fcntl.fcntl(fd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    first.close()
    second.close()
    os.close(fd)


@pytest.mark.requirement("RING")
def test_ring_memory_cannot_shrink_grow_or_be_unsealed() -> None:
    fd, memory = create_ring_memory(8192)

    for size in (4096, 16384):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)

    memory.close()
    os.close(fd)


@pytest.mark.requirement("RING")
def test_memory_that_could_shrink_is_not_mapped(tmp_path: Path) -> None:
    unsealed = os.memfd_create("test")
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    for fd in (unsealed, file):
        os.ftruncate(fd, 8192)
        with pytest.raises(InvalidValueError, match="sealed"):
            map_ring_memory(fd)
        os.close(fd)


@pytest.mark.requirement("RING")
def test_ring_memory_that_cannot_be_had_leaves_nothing() -> None:
    free = os.dup(0)
    os.close(free)

    for left in range(2):
        with soft_limit_of_open_files(free + left), pytest.raises(OutOfResourcesError):
            create_ring_memory(8192)


@pytest.mark.requirement("RING")
def test_ring_memory_larger_than_the_address_space_is_refused() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    allowed = 4096 * MIB if before[1] < 0 else min(4096 * MIB, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (allowed, before[1]))
    try:
        with pytest.raises(OutOfResourcesError) as caught:
            create_ring_memory(8192 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

    assert caught.value.resource == "memory"


def machine(root: Path, cgroup: str, files: dict[str, str]) -> dict[str, str]:
    """A machine with 1000 MiB available, whose cgroup files are `files`."""
    for name, content in {
        "proc/meminfo": "MemTotal: 9999999 kB\nMemAvailable: 1024000 kB\n",
        "proc/self/cgroup": cgroup,
        **{f"cgroup/{name}": content for name, content in files.items()},
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return {"proc": str(root / "proc"), "cgroups": str(root / "cgroup")}


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {}, 1000),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/b/memory.current": "5"}, 1000),
        (
            "0::/a/b\n",  # the tightest group counts, here the outer one
            {
                "a/b/memory.max": f"{500 * MIB}",
                "a/b/memory.current": f"{100 * MIB}",
                "a/memory.max": f"{400 * MIB}",
                "a/memory.current": f"{350 * MIB}",
                "a/memory.stat": f"anon 1\ninactive_file {20 * MIB}\n",
            },
            70,
        ),
        (
            "4:memory:/the/hosts/path\n0::/\n",  # a container sees its own group as the root
            {
                "memory/memory.limit_in_bytes": f"{300 * MIB}",
                "memory/memory.usage_in_bytes": f"{100 * MIB}",
                "memory/memory.stat": f"total_inactive_file {50 * MIB}\n",
            },
            250,
        ),
        ("0::/a\n", {"unified/a/memory.max": "10", "unified/a/memory.current": "30"}, 0),
        ("0::/a\n", {"a/memory.max": "10"}, 1000),
    ],
)
def test_available_memory_is_the_least_of_machine_and_cgroups(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int
) -> None:
    where = machine(tmp_path, cgroup, files)

    assert available_memory(**where) == expected * MIB


@pytest.mark.requirement("FR-003")
def test_this_machine_has_memory() -> None:
    assert 0 < available_memory() < 1 << 50


@pytest.mark.requirement("FR-003")
def test_a_cgroup_whose_name_is_no_text_limits_too(tmp_path: Path) -> None:
    where = machine(tmp_path, "", {"a/memory.max": f"{9 * MIB}", "a/memory.current": f"{2 * MIB}"})
    (tmp_path / "cgroup/a").rename(tmp_path / "cgroup" / os.fsdecode(b"\xff"))
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\xff\n")

    assert available_memory(**where) == 7 * MIB
