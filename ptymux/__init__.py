"""ptymux: a terminal multiplexer that accounts for every byte.

Three ideas hold it together:

1. Memory is bounded and readers are numbers. Output goes into a ring of bytes, events into a ring
   of events; both are addressed by an offset that only grows. A reader is one integer, and one that
   falls behind learns exactly what it missed.
2. The data plane knows nothing of the control plane. An engine owns PTYs and drains them into rings
   in shared memory; what must be exact between it and a manager are words in that memory
   (`core/header.py` documents each), the rest are messages, asynchronous even within one process.
3. Decide, then do. Pure functions return values, small methods perform them.

The map; each layer imports only from those below it, which `tests/test_layers.py` holds to:

    cli/       the command: click, parsing and printing, one file per group of commands
    view/      pure drawing of the overview, and what it shows; rich, no asyncio
    stress/    `ptymux stress`: scenarios, what they must show, how it is reported
    server/    PTYs that outlive their terminal: connections, commands, attachments
    client/    the other end: requests, streams, starting a server, and the library for programs
               that block (`connect`, with dialogues as pexpect has them); without asyncio
    manager/   PtyManager, the asyncio API: records, readers, events, signals, termination
    protocol/  pure: frames and messages between client and server
    keeper/    the engine: masters, rings, children, input, behind one pollable fd; and its link
    posix/     every system call about terminals, processes and memory
    core/      pure: rings, accounts, backpressure, lifecycle, registry, escalation, events
    errors.py  every exception, its code on the wire and its exit code

Two processes serve a user, and either replaces the other. The keeper (`keeper/process.py`) has
the terminals and does nothing else; the server (`server/app.py`) has everybody else to talk to.
Both hold what a successor needs (`keeper/heritage.py`): per PTY the ring's memory, the master, a
pidfd, the engine's ends of its lifelines and its past (`manager/memory.py`); the event log, the
listening socket and the lock. The keeper has another server forked (`keeper/supervisor.py`) by
the zygote (`server/zygote.py`), which has imported what a server needs and only waits, so that
nobody waits for that; it owns nothing, and is started again when it dies. The server starts
another keeper (`keeper/remote.py`). Accounts and events are written so that what a kill cut at any
point can be completed.

How a byte travels: child, kernel, `keeper/terminal.py` (readv straight into the ring, within the
credit that the manager published), `core/output.py` (who has been handed what, what was lost),
`manager/reader.py`, and whoever reads. How input travels: a lifeline (`keeper/lifeline.py`), which
is a socket from the sender to the engine, whose buffer pushes back and whose last word says how
much the terminal took. What a program answers to a key goes back there too, past the server, ahead
of its way as output; `cli/resuming.py` shows it once.
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
    from ptymux.core.reader import ReaderKind as ReaderKind
    from ptymux.core.ring import Part as Part
    from ptymux.core.ring import RingBuffer as RingBuffer
    from ptymux.core.telling import BufferStats as BufferStats
    from ptymux.errors import PtymuxError as PtymuxError
    from ptymux.manager import PtyManager as PtyManager

__version__ = "0.1.0"

# Loaded at first use: a command that needs little must start fast.
_PUBLIC = {
    "BufferStats": "ptymux.core.telling",
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
