"""A keeper with its server beside tmux and dtach: floods, echo, spawning, ^C, idling.

What a command did is told by its own clock, through a FIFO. Its output is 80-column text.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench_figures import (
    BenchError,
    Figure,
    Goal,
    Plan,
    interleave,
    median_of,
    quantile_of,
    ratio_of,
)
from bench_peers import DEADLINE_SECONDS, PTYMUX, Clock, Ours, Peer, Terminal, peers

from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import attach
from ptymux.protocol.framing import Gap, Out

__all__ = [
    "measure_attached",
    "measure_echo",
    "measure_interrupt",
    "measure_nobody",
    "measure_start",
    "measure_stats",
]

TYPED = b"#%&=@~"  # in no escape code that is shown meanwhile
PROMPT = b"@%#@ "
DEAF_SECONDS = 10.0  # after which one that is compared is taken to have lost the ^C


@dataclass(frozen=True, slots=True)
class Run:
    """What one flood took, and how much of it came."""

    seconds: float
    cpu_seconds: float = 0.0
    delivered: int = 0


def without(missing: Sequence[str], what: str) -> list[Figure]:
    """Return a figure for each that is missing, which says so."""
    remedy = "is missing; apt-get install it to compare"
    return [Figure(f"{what}, {name}", "", None, note=f"{name} {remedy}") for name in missing]


def to_peer(
    name: str, peer: str, values: dict[str, list[float]], goal: Goal | None = None
) -> list[Figure]:
    """Return the ratio of ours to a peer's, if that is there."""
    if peer not in values:
        return []
    return [ratio_of(f"{name} to {peer}", values["ptymux"], values[peer], goal)]


@contextmanager
def compared() -> Iterator[tuple[Ours, dict[str, Peer], list[str], Clock]]:
    """Give what `peers` gives, and a clock for their commands."""
    with ExitStack() as stack:
        ours, there, missing = stack.enter_context(peers("tmux", "dtach"))
        clock = stack.enter_context(Clock(os.path.dirname(ours.path)))
        yield ours, there, missing, clock


# Floods ------------------------------------------------------------------------------------------


def measure_nobody(plan: Plan) -> list[Figure]:
    """Nobody is attached; how fast may the command write, and what does that cost."""
    with compared() as (_ours, there, missing, clock):
        works: dict[str, Callable[[], Run]] = {
            "C": partial(drain_by_c, plan, clock),
            **{name: partial(flood_nobody, plan, peer, clock) for name, peer in there.items()},
        }
        runs = interleave(plan.rounds, works)
    rates = {name: [plan.size / run.seconds / 1e6 for run in each] for name, each in runs.items()}
    cpu = {name: [run.cpu_seconds for run in each] for name, each in runs.items()}
    return [
        ratio_of("speed to C", rates["ptymux"], rates["C"], Goal(0.95, at_least=True)),
        *to_peer("CPU", "tmux", cpu, Goal(0.5)),
        *[median_of(f"{name}, speed", "MB/s", each) for name, each in rates.items()],
        *[median_of(f"{name}, CPU", "s", each) for name, each in cpu.items()],
        *without(missing, "speed"),
    ]


def drain_by_c(plan: Plan, clock: Clock) -> Run:
    program = plan.needed_program
    command = [program, "drain", "1", program, "timed", str(plan.size), clock.path]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    began, ended = clock.take()
    return Run(ended - began, float(done.stdout.split()[2]))


def flood_nobody(plan: Plan, peer: Peer, clock: Clock) -> Run:
    before = peer.cpu_seconds()
    peer.start(plan.needed_program, "timed", str(plan.size), clock.path, "stay")
    began, ended = clock.take()
    cpu = peer.cpu_seconds() - before
    if isinstance(peer, Ours):
        settle(lambda: peer.written() == plan.size)
    peer.end()
    return Run(ended - began, cpu)


def settle(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_done():
        if time.monotonic() > deadline:
            raise BenchError("bytes were lost")
        time.sleep(0.001)


def measure_attached(plan: Plan) -> list[Figure]:
    """Somebody reads everything: a client of ours, and clients at a terminal."""
    with compared() as (ours, there, missing, clock):
        works: dict[str, Callable[[], Run]] = {
            "C relay": partial(relay_by_c, plan, clock),
            "client": partial(flood_client, plan, ours, clock),
            **{name: partial(flood_terminal, plan, peer, clock) for name, peer in there.items()},
        }
        runs = interleave(plan.rounds, works)
    rates = {name: [plan.size / run.seconds / 1e6 for run in each] for name, each in runs.items()}
    shares = {
        name: [100 * run.delivered / plan.size for run in each] for name, each in runs.items()
    }
    good = Goal(0.95, at_least=True)
    return [
        ratio_of("client's speed to C relay", rates["client"], rates["C relay"], good),
        *to_peer("speed at a terminal", "dtach", rates, good),
        *[median_of(f"{name}, speed", "MB/s", each) for name, each in rates.items()],
        *[median_of(f"{name}, delivered", "%", each) for name, each in shares.items()],
        *without(missing, "speed"),
    ]


def relay_by_c(plan: Plan, clock: Clock) -> Run:
    program, size = plan.needed_program, str(plan.size)
    command = [program, "relay", size, program, "timed", size, clock.path, "go"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    delivered, ended = done.stdout.split()
    return Run(float(ended) - clock.take()[0], delivered=int(delivered))


def flood_client(plan: Plan, ours: Ours, clock: Clock) -> Run:
    """Count every byte of a stream; none may be missing."""
    command = (plan.needed_program, "timed", str(plan.size), clock.path, "go")
    ours.start(*command, plain_output=True)
    delivered = missed = 0
    with (
        ServerConnection(ours.path) as connection,
        attach(connection, AttachRequest(ours.last["pty_id"])) as stream,
    ):
        assert stream.lifeline is not None
        stream.lifeline.send_all(b"\n")
        for frame in stream:
            delivered += len(frame.data) if isinstance(frame, Out) else 0
            missed += frame.end - frame.start if isinstance(frame, Gap) else 0
            if delivered + missed >= plan.size:
                break
        ended = time.monotonic()
    began = clock.take()[0]
    ours.end()
    return Run(ended - began, delivered=delivered)


def flood_terminal(plan: Plan, peer: Peer, clock: Clock) -> Run:
    """Read what a client shows until nothing more comes; the last byte is the end."""
    peer.start(plan.needed_program, "timed", str(plan.size), clock.path, "go")
    with peer.attach() as terminal:
        terminal.be_quiet(plan.quiet_seconds)
        terminal.type(b"\r")
        delivered, ended = 0, time.monotonic()
        deadline = ended + DEADLINE_SECONDS
        while not clock.is_ready(0) or time.monotonic() < ended + plan.quiet_seconds:
            if time.monotonic() > deadline:
                raise BenchError(f"the flood at {terminal.process.args!r} has no end")
            piece = terminal.read(0.05)
            if piece:
                delivered, ended = delivered + len(piece), time.monotonic()
    began, done = clock.take()
    peer.end()
    return Run(max(ended, done) - began, delivered=min(delivered, plan.size))


# Echo --------------------------------------------------------------------------------------------


def measure_echo(plan: Plan) -> list[Figure]:
    """A byte typed at a terminal, through client and server, to a program and back."""
    figures = []
    for beside, most in (("", 1.5), (" beside a flood", 1.0)):
        with compared() as (_ours, there, missing, clock):
            works = {
                name: partial(echo, plan, peer, clock, beside=bool(beside))
                for name, peer in there.items()
            }
            rounds = interleave(plan.rounds, works)
        medians = {
            name: [quantile_of("", "", [each], 0.5).value or 0.0 for each in samples]
            for name, samples in rounds.items()
        }
        figures += to_peer(f"echo{beside}, p50", "tmux", medians, Goal(most))
        for name, samples in rounds.items():
            goal = Goal(1000) if name == "ptymux" and not beside else None
            figures.append(quantile_of(f"{name}{beside}, p50", "µs", samples, 0.50))
            figures.append(quantile_of(f"{name}{beside}, p99", "µs", samples, 0.99, goal))
    return figures + without(missing, "echo")


def echo(plan: Plan, peer: Peer, clock: Clock, *, beside: bool) -> list[float]:
    """Return the microseconds of each echo."""
    if beside:
        peer.start(plan.needed_program, "flood")
    peer.start(plan.needed_program, "echo", clock.path)
    clock.take()
    times = []
    with peer.attach() as terminal:
        terminal.be_quiet(plan.quiet_seconds)
        for number in range(plan.echoes):
            key = TYPED[number % len(TYPED) :][:1]
            before = time.perf_counter()
            terminal.type(key)
            terminal.wait_for(key)
            times.append(1e6 * (time.perf_counter() - before))
    peer.end()
    return times


# Starting, stats, ^C -----------------------------------------------------------------------------


def measure_start(plan: Plan) -> list[Figure]:
    """From the request, of a client that is connected if there is such a thing, to the child."""
    with compared() as (_ours, there, missing, clock):
        works = {name: partial(start, plan, peer, clock) for name, peer in there.items()}
        rounds = interleave(plan.rounds, works)
    figures = []
    for name, samples in rounds.items():
        goal = Goal(2) if name == "ptymux" else None
        figures.append(quantile_of(f"{name}, child runs, p50", "ms", samples, 0.50, goal))
        figures.append(quantile_of(f"{name}, child runs, p95", "ms", samples, 0.95))
    return figures + without(missing, "child runs")


def start(plan: Plan, peer: Peer, clock: Clock) -> list[float]:
    times = []
    for _ in range(max(1, plan.spawns // 10)):
        before = time.monotonic()
        peer.start(plan.needed_program, "stamp", clock.path)
        times.append(1000 * (clock.take()[0] - before))
    peer.end()
    return times


def measure_stats(plan: Plan) -> list[Figure]:
    """A command that asks the server, beside an interpreter that does nothing."""
    with peers() as (ours, _there, _missing):
        ours.start("sleep", "1000")
        works = {
            "ptymux": partial(run_command, [PTYMUX, "stats", "1", "--json"], ours),
            "python": partial(run_command, [sys.executable, "-c", "pass"], ours),
        }
        rounds = interleave(3 * plan.rounds, works)
    return [
        ratio_of("stats --json to python -c pass", rounds["ptymux"], rounds["python"], Goal(4.5)),
        *[median_of(name, "ms", times) for name, times in rounds.items()],
    ]


def run_command(command: Sequence[str], ours: Ours) -> float:
    before = time.perf_counter()
    subprocess.run(command, env=ours.env, check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - before)


def measure_interrupt(plan: Plan) -> list[Figure]:
    """^C while a terminal is flooded, to the shell's prompt."""
    with compared() as (ours, there, missing, _clock):
        settings = Path(os.path.dirname(ours.path), "bashrc")
        settings.write_text(f"PS1='{PROMPT.decode()}'\n")
        works = {name: partial(interrupt, plan, peer, settings) for name, peer in there.items()}
        rounds = interleave(plan.rounds, works)
    figures = []
    for name, samples in rounds.items():
        goal = Goal(50) if name == "ptymux" else None
        figures.append(quantile_of(f"{name}, ^C to prompt, p50", "ms", samples, 0.50))
        figures.append(quantile_of(f"{name}, ^C to prompt, p95", "ms", samples, 0.95, goal))
    return figures + without(missing, "^C to prompt")


def interrupt(plan: Plan, peer: Peer, settings: Path) -> list[float]:
    peer.start("bash", "--rcfile", str(settings), "-i")
    times = []
    with peer.attach() as terminal:
        terminal.be_quiet(plan.quiet_seconds)
        for _ in range(plan.interrupts):
            terminal.type(f"{plan.needed_program} flood\r".encode())
            flood_for(terminal, 0.1)
            before = time.monotonic()
            terminal.type(b"\x03")
            try:
                times.append(1000 * (terminal.wait_for(PROMPT, DEAF_SECONDS) - before))
            except BenchError:
                if isinstance(peer, Ours):
                    raise
                times.append(1000 * DEAF_SECONDS)  # and for ever, as it seems
                break
            terminal.be_quiet(plan.quiet_seconds)
    peer.end()
    return times


def flood_for(terminal: Terminal, seconds: float) -> None:
    """Read what is shown for so long, from when it is a flood."""
    terminal.wait_for(b"abcdefghijklmnop")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        terminal.read(0.05)
