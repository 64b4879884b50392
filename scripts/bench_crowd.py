"""What a keeper with its server costs: idle, watched by the overview, among clients that hurt."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from bench_figures import Figure, Goal, Plan, interleave, median_of, ratio_of
from bench_peers import PTYMUX, Clock, Ours, Terminal, cpu_of, peers

from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import attach, send

__all__ = ["measure_hostile", "measure_idle", "measure_overview"]

HOSTILE_BYTES = 20_000_000
SILENT = 200
HELLO = b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[1,1]}}\n'
LIST = b'{"jsonrpc":"2.0","id":2,"method":"list","params":{"all":true}}\n'


def crowd(plan: Plan, ours: Ours, count: int) -> None:
    for _ in range(count):
        ours.start("sleep", "100000")


def measure_idle(plan: Plan) -> list[Figure]:
    """Nothing happens in many PTYs."""
    with peers() as (ours, _there, _missing):
        crowd(plan, ours, plan.rings)
        memory = sum(proportional(pid) for pid in (ours.keeper, ours.zygote, ours.server))
        rounds = []
        for _ in range(plan.rounds):
            before = ours.cpu_seconds()
            time.sleep(plan.watched_seconds)
            rounds.append(100 * (ours.cpu_seconds() - before) / plan.watched_seconds)
    name = f"keeper and server, {plan.rings} PTYs"
    return [
        median_of(f"{name}, CPU", "% of a core", rounds, Goal(1)),
        Figure(f"{name}, memory", "MB", memory, [memory], Goal(40)),
    ]


def proportional(pid: int) -> float:
    """Return the proportional share of memory of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def measure_overview(plan: Plan) -> list[Figure]:
    """The dashboard, live, of many PTYs of which one floods."""
    with peers() as (ours, _there, _missing):
        crowd(plan, ours, plan.rings - 1)
        ours.start(plan.needed_program, "flood")
        command = [PTYMUX, "dashboard"]
        with Terminal(command, ours.env, size=(50, 160)) as terminal:
            terminal.wait_for(b"flood")
            watch(terminal, plan.watched_seconds)
            rounds = [overview_cpu(plan, ours, terminal) for _ in range(plan.rounds)]
    both, client, server = zip(*rounds, strict=True)
    return [
        median_of("dashboard and server, CPU", "% of a core", both, Goal(25)),
        median_of("dashboard, CPU", "% of a core", client),
        median_of("server, CPU", "% of a core", server),
    ]


def overview_cpu(plan: Plan, ours: Ours, terminal: Terminal) -> tuple[float, float, float]:
    pids = terminal.process.pid, ours.server
    before = [cpu_of(pid) for pid in pids]
    watch(terminal, plan.watched_seconds)
    client, server = (
        100 * (cpu_of(pid) - then) / plan.watched_seconds
        for pid, then in zip(pids, before, strict=True)
    )
    return client + server, client, server


def watch(terminal: Terminal, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        terminal.read(left)


# Clients that hurt -------------------------------------------------------------------------------


def measure_hostile(plan: Plan) -> list[Figure]:
    """A command that never waits for its readers, with bad clients at it and without."""
    size = min(plan.size, HOSTILE_BYTES)
    with peers() as (ours, _there, _missing), Clock(os.path.dirname(ours.path)) as clock:
        works = {
            "alone": partial(write, plan, ours, clock, size, hurt=False),
            "among bad clients": partial(write, plan, ours, clock, size, hurt=True),
        }
        rounds = interleave(plan.rounds, works)
    hurt, alone = rounds["among bad clients"], rounds["alone"]
    return [
        ratio_of("time among bad clients to alone", hurt, alone, Goal(1.2)),
        *[median_of(f"{size / 1e6:g} MB, {name}", "s", each) for name, each in rounds.items()],
    ]


def write(plan: Plan, ours: Ours, clock: Clock, size: int, *, hurt: bool) -> float:
    ours.start(plan.needed_program, "timed", str(size), clock.path, "go")
    with ExitStack() as stack:
        if hurt:
            stack.enter_context(bad_clients(ours))
        send(ours.connection, ours.last["pty_id"], b"\n")
        began, ended = clock.take()
    ours.end()
    return ended - began


@contextmanager
def bad_clients(ours: Ours) -> Iterator[None]:
    """Have some that stopped, never read, sent half a frame or line, asked too much, or nothing."""
    pty = ours.last["pty_id"]
    with ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(ServerConnection(ours.path))
            stalled = stack.enter_context(attach(connection, AttachRequest(pty, wants_input=False)))
        os.write(stalled.fileno(), b"\2\0\0")
        stack.enter_context(stopped(ours.path, pty))
        for data in (b"x" * 1_000_000, LIST * 1000):
            sock = stack.enter_context(greeted(ours.path))
            sock.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(100 if data.endswith(b"\n") else 1):
                    sock.send(data)
        for _ in range(SILENT):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(ours.path)
        yield


def greeted(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(HELLO)
    sock.recv(4096)
    return sock


@contextmanager
def stopped(path: str, pty: str) -> Iterator[None]:
    """Have a process that is attached and stopped."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException), ServerConnection(path) as connection:
            attach(connection, AttachRequest(pty, wants_input=False))
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.waitpid(child, os.WUNTRACED)
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
