"""ptymux: a terminal multiplexer that accounts for every byte.

Three ideas hold it together:

1. Memory is bounded and readers are numbers. Output goes into a ring of bytes, events into a ring
   of events; both are addressed by an offset that only grows. A reader is one integer, and one that
   falls behind learns exactly what it missed.
2. The process that has the terminals does nothing else. The keeper and the server replace each
   other; either may be killed at any moment. What must be exact between them is in shared memory.
3. Decide, then do. Pure functions return values, small methods perform them.

The map; a folder imports only from those below it, which `tests/test_layers.py` enforces:

    cli/       the command: commands/ (a file each), options/, output/, terminal/, waiting/, doctor/
    tui/       the dashboard: what is drawn full-screen; rich, no asyncio
    stress/    `ptymux stress`: scenarios, what they must show, how it is reported
    server/    the server process: connections, requests, attachments
    client/    the other end of a connection, and the library for programs that block
    manager/   PtyManager, the asyncio API: records, readers, events, signals, termination
    link/      a manager's hold on an engine: in its own process, or in a keeper's
    keeper/    the keeper process: has terminals and children, and replaces a dead server
    handover/  what passes from one process to its replacement: wire, snapshots, the state file
    engine/    PTYs behind one epoll: masters, rings, children, input
    protocol/  pure: messages, frames, and each end of a connection without its socket
    posix/     every system call about terminals, processes and memory
    core/      pure: rings, accounts, backpressure, lifecycle, registry, escalation, events
    errors.py  every exception, its code on the wire and its exit code

`DESIGN.md`, beside this file, has the ideas, the processes, a glossary, the requirements, and the
files that a byte, a key, a `kill` and a crash pass through.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true, without the cost of importing typing
if TYPE_CHECKING:
    from ptymux.client.answers import Event as Event
    from ptymux.client.answers import Pty as Pty
    from ptymux.client.blocking import Client as Client
    from ptymux.client.blocking import connect as connect
    from ptymux.core.model import Limits as Limits
    from ptymux.core.model import OnFull as OnFull
    from ptymux.core.model import SpawnOptions as SpawnOptions
    from ptymux.core.model import WindowSize as WindowSize
    from ptymux.core.notifications import BufferStats as BufferStats
    from ptymux.core.reader import ReaderKind as ReaderKind
    from ptymux.core.ring import Part as Part
    from ptymux.core.ring import RingBuffer as RingBuffer
    from ptymux.errors import PtymuxError as PtymuxError
    from ptymux.manager import PtyManager as PtyManager

__version__ = "0.1.0"

# Loaded at first use: a command that needs little must start fast.
_PUBLIC = {
    "BufferStats": "ptymux.core.notifications",
    "Client": "ptymux.client.blocking",
    "Event": "ptymux.client.answers",
    "Limits": "ptymux.core.model",
    "OnFull": "ptymux.core.model",
    "Part": "ptymux.core.ring",
    "Pty": "ptymux.client.answers",
    "PtyManager": "ptymux.manager",
    "PtymuxError": "ptymux.errors",
    "ReaderKind": "ptymux.core.reader",
    "RingBuffer": "ptymux.core.ring",
    "SpawnOptions": "ptymux.core.model",
    "WindowSize": "ptymux.core.model",
    "connect": "ptymux.client.blocking",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
