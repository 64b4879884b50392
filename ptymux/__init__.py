"""ptymux runs commands in terminals of their own, keeps their output, and says what of it was lost.

    import ptymux

    with ptymux.connect() as client:  # starts a server if none runs
        pty = client.run("echo hello; exit 3")
        print(client.wait(pty)["exit_code"])  # 3
        print(client.read(pty).data)  # b'hello\\r\\n'

    with ptymux.connect() as client, client.spawn_expect("cat", hangup=True, echo=False) as child:
        child.sendline("what you type")  # has what pexpect.spawn has
        child.expect("what .*\\r\\n")

`Client` is for programs that block, in any number of threads; `PtyManager` is the same for asyncio,
with PTYs that end with the program. All errors are a `PtymuxError`, and can be imported from here.

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
    from ptymux.errors import (
        AlreadyRunningError as AlreadyRunningError,
    )
    from ptymux.errors import (
        AmbiguousPtyError as AmbiguousPtyError,
    )
    from ptymux.errors import (
        ArgumentsTooLongError as ArgumentsTooLongError,
    )
    from ptymux.errors import (
        BadDirectoryError as BadDirectoryError,
    )
    from ptymux.errors import (
        CircleError as CircleError,
    )
    from ptymux.errors import (
        ClosedOutputError as ClosedOutputError,
    )
    from ptymux.errors import (
        CommandNotFoundError as CommandNotFoundError,
    )
    from ptymux.errors import (
        ConfigError as ConfigError,
    )
    from ptymux.errors import (
        ConnectionClosedError as ConnectionClosedError,
    )
    from ptymux.errors import (
        DuplicatePtyError as DuplicatePtyError,
    )
    from ptymux.errors import (
        InputCutError as InputCutError,
    )
    from ptymux.errors import (
        InvalidDimensionsError as InvalidDimensionsError,
    )
    from ptymux.errors import (
        InvalidStateError as InvalidStateError,
    )
    from ptymux.errors import (
        InvalidTransitionError as InvalidTransitionError,
    )
    from ptymux.errors import (
        InvalidValueError as InvalidValueError,
    )
    from ptymux.errors import (
        LimitReachedError as LimitReachedError,
    )
    from ptymux.errors import (
        LineTooLongError as LineTooLongError,
    )
    from ptymux.errors import (
        LinkClosedError as LinkClosedError,
    )
    from ptymux.errors import (
        NameTakenError as NameTakenError,
    )
    from ptymux.errors import (
        NoServerError as NoServerError,
    )
    from ptymux.errors import (
        NotATerminalError as NotATerminalError,
    )
    from ptymux.errors import (
        NotExecutableError as NotExecutableError,
    )
    from ptymux.errors import (
        OldServerError as OldServerError,
    )
    from ptymux.errors import (
        OutOfResourcesError as OutOfResourcesError,
    )
    from ptymux.errors import (
        ProcessGoneError as ProcessGoneError,
    )
    from ptymux.errors import (
        ProtocolError as ProtocolError,
    )
    from ptymux.errors import (
        PtymuxError as PtymuxError,
    )
    from ptymux.errors import (
        RemoteError as RemoteError,
    )
    from ptymux.errors import (
        ServerStoppingError as ServerStoppingError,
    )
    from ptymux.errors import (
        SignalError as SignalError,
    )
    from ptymux.errors import (
        SignalForbiddenError as SignalForbiddenError,
    )
    from ptymux.errors import (
        SpawnError as SpawnError,
    )
    from ptymux.errors import (
        UnknownMethodError as UnknownMethodError,
    )
    from ptymux.errors import (
        UnknownPtyError as UnknownPtyError,
    )
    from ptymux.errors import (
        UnknownSignalError as UnknownSignalError,
    )
    from ptymux.errors import (
        UnreachableError as UnreachableError,
    )
    from ptymux.errors import (
        UnsafeDirectoryError as UnsafeDirectoryError,
    )
    from ptymux.errors import (
        UnsupportedPlatformError as UnsupportedPlatformError,
    )
    from ptymux.errors import (
        VersionError as VersionError,
    )
    from ptymux.errors import (
        WaitTimeoutError as WaitTimeoutError,
    )
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
    "ReaderKind": "ptymux.core.reader",
    "RingBuffer": "ptymux.core.ring",
    "SpawnOptions": "ptymux.core.model",
    "WindowSize": "ptymux.core.model",
    "connect": "ptymux.client.blocking",
}

_ERRORS = (
    "AlreadyRunningError",
    "AmbiguousPtyError",
    "ArgumentsTooLongError",
    "BadDirectoryError",
    "CircleError",
    "ClosedOutputError",
    "CommandNotFoundError",
    "ConfigError",
    "ConnectionClosedError",
    "DuplicatePtyError",
    "InputCutError",
    "InvalidDimensionsError",
    "InvalidStateError",
    "InvalidTransitionError",
    "InvalidValueError",
    "LimitReachedError",
    "LineTooLongError",
    "LinkClosedError",
    "NameTakenError",
    "NoServerError",
    "NotATerminalError",
    "NotExecutableError",
    "OldServerError",
    "OutOfResourcesError",
    "ProcessGoneError",
    "ProtocolError",
    "PtymuxError",
    "RemoteError",
    "ServerStoppingError",
    "SignalError",
    "SignalForbiddenError",
    "SpawnError",
    "UnknownMethodError",
    "UnknownPtyError",
    "UnknownSignalError",
    "UnreachableError",
    "UnsafeDirectoryError",
    "UnsupportedPlatformError",
    "VersionError",
    "WaitTimeoutError",
)
_PUBLIC |= dict.fromkeys(_ERRORS, "ptymux.errors")

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
