"""What sessions use of processors and memory, measured on real processes."""

from __future__ import annotations

import os
import subprocess
import sys

from ptymux.posix.usage import session_usage
from tests.timing import wait_until

MIB = 1 << 20


def test_a_session_counts_all_its_processes_and_none_of_others() -> None:
    script = "x = bytearray(b'x' * 50_000_000); print(1, flush=True); input()"
    command = ["sh", "-c", 'exec 2>&1; "$0" -c "$1"; read line', sys.executable, script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        usage = session_usage([child.pid, 2**22 + 1])
        child.stdin.close()

    assert list(usage) == [child.pid]
    assert 50 * 10**6 < usage[child.pid].memory_bytes < 150 * MIB
    assert session_usage([child.pid]) == {}


def test_processor_time_outlives_the_process_that_spent_it() -> None:
    burn = "import time; end = time.process_time() + 0.05\nwhile time.process_time() < end: pass"
    command = ["sh", "-c", '"$0" -c "$1"; echo done; read line', sys.executable, burn]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        spent = session_usage([child.pid])[child.pid].cpu_seconds
        child.stdin.close()

    assert spent >= 0.05


def test_what_is_shared_counts_once() -> None:
    def forked(count: int) -> int:
        script = "for i in $(seq $0); do sleep 1000 & done; echo; wait"
        command = ["sh", "-c", script, str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            wait_until(lambda: _members(child.pid) == count + 1, "all sleep")
            memory = session_usage([child.pid])[child.pid].memory_bytes
            os.killpg(child.pid, 9)
        return memory

    assert forked(20) < 6 * forked(1)


def _members(sid: int) -> int:
    found = subprocess.run(["ps", "-s", str(sid), "-o", "comm="], capture_output=True, text=True)
    names = found.stdout.split()
    return len(names) if names.count("sh") == 1 else 0
