"""A dialogue with a PTY, with the interface of `pexpect.spawn`; the PTY outlives it.

It reads as a consumer does, types through a lifeline, and goes on when the server is replaced.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, Protocol, TypeVar, cast

from pexpect import EOF, TIMEOUT, ExceptionPexpect  # type: ignore[import-untyped]
from pexpect.expect import (  # type: ignore[import-untyped]
    Expecter,
    searcher_re,
    searcher_string,
)
from pexpect.spawnbase import SpawnBase  # type: ignore[import-untyped]

from ptymux.client.answers import Pty, SignalDelivery
from ptymux.client.cut_lines import Lines
from ptymux.client.dialogue_output import DialogueOutput
from ptymux.client.input_channel import InputChannel
from ptymux.client.interaction import CONTROLS, pass_through, write_fully
from ptymux.client.pty_reader import PtyReader
from ptymux.client.stream import Lifeline
from ptymux.core.model import ENDED_STATES
from ptymux.errors import (
    InvalidStateError,
    NotATerminalError,
    PtymuxError,
    UnknownPtyError,
    WaitTimeoutError,
)
from ptymux.posix.tty import process_has_echo, set_process_echo

__all__ = ["PtyControl", "PtyExpect"]

_EOF: Final = b"\x04"
_INTERRUPT: Final = b"\x03"
_LOOK_SECONDS: Final = 0.02  # between two looks at whether the terminal echoes
_SHOWN: Final = 100  # characters of what was read, in the text of an exception
_T = TypeVar("_T")


class PtyControl(Protocol):
    """What a dialogue asks for besides output: the methods of `Client` that have these names."""

    def open_input(self, pty: str) -> Lifeline:
        """Return a way of input to a PTY."""
        ...

    def get(self, pty: str) -> Pty:
        """Return a PTY as it is now."""
        ...

    def wait(self, pty: str, timeout: float | None = None) -> Pty:
        """Return the PTY once it has exited; raises WaitTimeoutError."""
        ...

    def kill(self, pty: str, grace_seconds: float | None = None) -> Pty:
        """End a PTY with all its session."""
        ...

    def signal(self, pty: str, signal: int) -> list[SignalDelivery]:
        """Send a signal to a PTY's processes."""
        ...

    def resize(self, pty: str, cols: int, rows: int) -> Pty:
        """Give a PTY's terminal another size."""
        ...


class PtyExpect(SpawnBase):  # type: ignore[misc]  # pexpect has no types
    """A dialogue to be used as a `pexpect.spawn`; `Client.expect` and `spawn_expect` make it.

    These things differ:

    - `close`, and the end of a `with` block, leave the PTY running, unless `force` is given or it
      was made with `hangup`.
    - `skipped` counts bytes that were missed, because we fell behind or because they were no
      longer kept when we came. A warning is logged, and `before` has what was around them joined.
    - `codec_errors` is "replace" by default. With "strict" an error is raised where its bytes are,
      and has them; nothing before and behind them is lost.
    - The exit status is there from EOF on, also of a PTY that was forgotten meanwhile.
    - `kill` reaches the process group, `terminate(force=True)` ends the whole session.
    - Input that the terminal would cut, or that comes after the end, raises a PtymuxError.
    - `fileno` is to be polled, not to be read from.

    One thread may expect while others send and ask. All methods but those that say so raise
    ConnectionClosedError when the server went away and none came in its place.
    """

    STDIN_FILENO = 0
    STDOUT_FILENO = 1
    STDERR_FILENO = 2

    def __init__(
        self,
        control: PtyControl,
        reader: PtyReader,
        *,
        timeout: float | None = 30,
        maxread: int = 2000,
        searchwindowsize: int | None = None,
        logfile: IO[Any] | None = None,
        encoding: str | None = None,
        codec_errors: str = "replace",
        hangup: bool = False,
    ) -> None:
        """Take over `reader`, which has a lifeline; with `hangup` that is not for input.

        Raises:
            LookupError: there is no such encoding.
        """
        super().__init__(timeout, maxread, searchwindowsize, logfile, encoding, codec_errors)
        self.delaybeforesend: float | None = None
        self.delayafterread: float | None = None
        self.pty_id = pty_id = reader.pty["pty_id"]
        self._control = control
        self._reader = reader
        self._output = DialogueOutput(reader, encoding, codec_errors)
        self._hangup = hangup
        lifeline = None if hangup else reader.lifeline
        self._input = InputChannel(pty_id, lifeline, lambda: control.open_input(pty_id))
        self._is_used = threading.Lock()
        self.wake: Callable[[], object] | None = None  # who waits for output in an event loop
        self.pid = self._reader.pty["pid"]
        self._lines = Lines(self.pid)
        self.args = list(self._reader.pty["command"])
        self.command = self.args[0]
        self.name = f"<{' '.join(self.args)}>"
        self.terminated = self.closed = False
        self.echo = True  # for those who ask before they call `setecho`

    def __str__(self) -> str:
        facts = {
            "PTY": f"{self.pty_id} {self.name}",
            f"buffer (last {_SHOWN} characters)": self.buffer[-_SHOWN:],
            f"before (last {_SHOWN} characters)": (self.before or self.string_type())[-_SHOWN:],
            "after": self.after,
            "match": self.match,
            "offset": self.offset,
            "skipped": self.skipped,
            "pid": self.pid,
            "exitstatus": self.exitstatus,
            "signalstatus": self.signalstatus,
            "flag_eof": self.flag_eof,
            "closed": self.closed,
        }
        return "\n".join([repr(self), *(f"{name}: {value!s}" for name, value in facts.items())])

    @property
    def child_fd(self) -> int:
        """The same as `fileno()`; pexpect's users poll it by this name."""
        return -1 if self.closed else self.fileno()

    @child_fd.setter
    def child_fd(self, _fd: int) -> None:
        pass  # what pexpect's base class sets it to

    @property
    def offset(self) -> int:
        """The offset of the next byte to be read."""
        return self._output.offset

    @property
    def skipped(self) -> int:
        """The number of bytes that were missed so far."""
        return self._output.skipped

    def fileno(self) -> int:
        """Return an fd that is readable when `read_nonblocking` has something; -1 once closed.

        It stays the same when the server is replaced. What pexpect has in `buffer` does not count,
        as with pexpect.
        """
        return self._output.fileno()

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> Any:
        """Return at least 1 and at most `size` bytes, or the text that they are.

        Raises:
            TIMEOUT: none came within `timeout` seconds; -1 stands for those of this object.
            EOF: the PTY has ended, and all was read.
            UnicodeDecodeError: with `codec_errors="strict"` the next bytes are no text. They are in
                the error alone, and the next call goes on behind them.
        """
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        data = self._output.take(size, self.timeout if timeout == -1 else timeout)
        if data is not None:
            self._log(data, "read")
            return data
        if not self._output.is_over:
            raise TIMEOUT("Timeout exceeded.")
        self.flag_eof = True
        self._note_end(self._output.end)
        raise EOF("End Of File (EOF). The PTY has ended.")

    def expect_list(
        self,
        pattern_list: Any,
        timeout: float | None = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
        **kw: Any,
    ) -> Any:
        """Do as pexpect does; with `async_` return what an asyncio program awaits.

        Raises:
            RuntimeError: another thread or task expects something of this dialogue.
        """
        searcher = searcher_re(pattern_list)
        return self._expect(Expecter(self, searcher, searchwindowsize), timeout, async_, kw)

    def expect_exact(
        self,
        pattern_list: Any,
        timeout: float | None = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
        **kw: Any,
    ) -> Any:
        """Do as pexpect does; `async_` and errors as with `expect_list`."""
        if isinstance(pattern_list, self.allowed_string_types) or pattern_list in (TIMEOUT, EOF):
            pattern_list = [pattern_list]
        try:
            patterns = list(pattern_list)
        except TypeError:
            self._pattern_type_err(pattern_list)
        for pattern in patterns:
            if pattern not in (TIMEOUT, EOF) and not isinstance(pattern, self.allowed_string_types):
                self._pattern_type_err(pattern)
        texts = [p if p in (TIMEOUT, EOF) else self._coerce_expect_string(p) for p in patterns]
        searcher = searcher_string(texts)
        return self._expect(Expecter(self, searcher, searchwindowsize), timeout, async_, kw)

    def _expect(
        self, expecter: Any, timeout: float | None, async_: bool, options: dict[str, Any]
    ) -> int | Awaitable[int]:
        timeout = self.timeout if timeout == -1 else timeout
        async_ = async_ or options.pop("async", False)
        if options:
            raise TypeError(f"Unknown keyword arguments: {options}")
        if not async_:
            with self.used():
                return cast(int, expecter.expect_loop(timeout))
        from ptymux.client.expect_async import expect_async  # late: it needs asyncio

        return expect_async(self, expecter, timeout)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Hold others off for a `with` block in which something is expected.

        Raises:
            RuntimeError: another thread or task is in such a block.
        """
        if not self._is_used.acquire(blocking=False):
            raise RuntimeError("another thread or task expects something of this dialogue already")
        try:
            yield
        finally:
            self._is_used.release()

    @property
    def has_server(self) -> bool:
        """Whether there is a connection; else `read_nonblocking` looks for one, up to 0.3 s."""
        return self.closed or self._output.has_server

    def look_for_server(self) -> None:
        """Try to connect again, for up to 0.3 s."""
        self._output.look_for_server()

    def eof(self) -> bool:
        """Whether EOF was ever raised."""
        return bool(self.flag_eof)

    def send(self, s: str | bytes) -> int:
        """Type a text; return the number of its bytes once they are on their way to the terminal.

        Raises:
            InvalidStateError: the PTY has ended; nothing was sent.
            LineTooLongError: the terminal would cut a line; nothing was sent.
            InputCutError, ConnectionClosedError: as `InputChannel.send`.
        """
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if self.delaybeforesend is not None:
            time.sleep(self.delaybeforesend)
        text = self._coerce_send_string(s)
        self._log(text, "send")
        data: bytes = self._encoder.encode(text, final=False)
        self._input.send(data, self._lines)
        return len(data)

    def sendline(self, s: str | bytes = "") -> int:
        """Type a text and Enter; else as `send`."""
        return self.send(self._coerce_send_string(s) + self.linesep)

    def write(self, s: str | bytes) -> None:
        """Do as `send` does."""
        self.send(s)

    def writelines(self, sequence: Iterable[str | bytes]) -> None:
        """Type each text; no line ends are added."""
        for s in sequence:
            self.send(s)

    def sendcontrol(self, char: str) -> int:
        """Type a control character by its letter or sign, such as `c`; return 1, or 0 if none."""
        code = CONTROLS.get(char.lower())
        return 0 if code is None else self._send_control(bytes([code]))

    def sendeof(self) -> None:
        """Type ^D; at the beginning of a line a program takes it for the end of its input."""
        self._send_control(_EOF)

    def sendintr(self) -> None:
        """Type ^C."""
        self._send_control(_INTERRUPT)

    def _send_control(self, data: bytes) -> int:
        self._log(data if self.encoding is None else data.decode("ascii"), "send")
        self._input.send(data, self._lines)
        return len(data)

    def interact(
        self,
        escape_character: str | None = chr(29),
        input_filter: Callable[[bytes], bytes] | None = None,
        output_filter: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Connect our terminal with the PTY until that ends or the escape character is typed.

        Raises:
            NotATerminalError: our stdin is none.
        """
        self.write_to_stdout(self.buffer)
        self.stdout.flush()
        self._buffer, self._before = self.buffer_type(), self.buffer_type()
        escape = None if escape_character is None else escape_character.encode("latin-1")

        def show() -> bool:
            while data := self._output.take_bytes(self.maxread):
                self._log(self._logged(data), "read")
                write_fully(self.STDOUT_FILENO, output_filter(data) if output_filter else data)
            return not self._output.is_over

        def type_(keys: bytes) -> bool:
            keys = input_filter(keys) if input_filter else keys
            end = -1 if escape is None else keys.rfind(escape)
            keys = keys if end < 0 else keys[:end]
            self._log(self._logged(keys), "send")
            with suppress(PtymuxError):  # it ended, as the next look at the output shows
                self._input.send(keys)
            return end < 0

        with self.used():
            pass_through(self.STDIN_FILENO, self._reader, show, type_)

    def _logged(self, data: bytes) -> str | bytes:
        """Return what was read or typed as a log has it; it may be cut within a letter."""
        return data if self.encoding is None else data.decode(self.encoding, "replace")

    def isalive(self) -> bool:
        """Whether the command runs; if not, `exitstatus` and `signalstatus` say how it ended."""
        if not self.terminated:
            pty = self._output.end or self._known(lambda: self._control.get(self.pty_id))
            if pty is not None and pty["state"] in ENDED_STATES:
                self._note_end(pty)
        return not self.terminated

    def wait(self) -> int | None:
        """Return the exit status once the command has exited; None if a signal ended it."""
        if self.isalive():
            self._note_end(self._known(lambda: self._control.wait(self.pty_id)))
        status: int | None = self.exitstatus
        return status

    def kill(self, sig: int) -> None:
        """Send a signal to the processes that `Client.signal` chooses; nothing after the end.

        Raises:
            UnknownSignalError: there is no such signal.
        """
        if self.isalive():
            with suppress(InvalidStateError):  # it ended meanwhile
                self._known(lambda: self._control.signal(self.pty_id, sig))

    def terminate(self, force: bool = False) -> bool:
        """Send HUP, CONT, INT and with `force` KILL until it has ended; return whether it has."""
        for sig in (signal.SIGHUP, signal.SIGCONT, signal.SIGINT):
            if not self.isalive():
                return True
            self.kill(sig)
            if self._ends_soon():
                return True
        if force:
            with suppress(InvalidStateError):
                self._note_end(self._known(lambda: self._control.kill(self.pty_id, 0)))
        return not self.isalive()

    def close(self, force: bool = False) -> None:
        """End the dialogue, and with `force` or `hangup` the PTY before; again is no error.

        Raises:
            ExceptionPexpect: the PTY could not be ended.
        """
        if self.closed:
            return
        if force and not self.terminate(force=True):
            raise ExceptionPexpect("Could not terminate the child.")
        with suppress(PtymuxError):
            if self._hangup and not force:
                self.terminate(force=True)
            self.isalive()
        self._input.close()
        self._reader.close()
        self.closed = True
        if self.wake is not None:
            self.wake()

    def isatty(self) -> bool:
        """Whether this is open: it is a terminal as long as that."""
        return not self.closed

    def getwinsize(self) -> tuple[int, int]:
        """Return the terminal's rows and columns, after the end those that it had last."""
        pty = self._known(lambda: self._control.get(self.pty_id)) or self._output.end
        pty = self._reader.pty if pty is None else pty
        return pty["rows"], pty["cols"]

    def setwinsize(self, rows: int, cols: int) -> None:
        """Give the terminal another size; nothing after the end.

        Raises:
            InvalidDimensionsError: one of both is not from 1 to 10000.
        """
        with suppress(InvalidStateError):
            self._known(lambda: self._control.resize(self.pty_id, cols, rows))

    def getecho(self) -> bool:
        """Whether the terminal shows what is typed; raises NotATerminalError after the end."""
        return process_has_echo(self._living())

    def setecho(self, state: bool) -> None:
        """Have the terminal show what is typed, or not; raises NotATerminalError after the end."""
        set_process_echo(self._living(), state)
        self.echo = state

    def start_echo(self, state: bool) -> None:
        """Do as `setecho` does; after the end do nothing."""
        with suppress(NotATerminalError):
            if self.getecho() is not state:
                self.setecho(state)
        self.echo = state

    def waitnoecho(self, timeout: float | None = -1) -> bool:
        """Return True once nothing typed is shown, as for a password.

        False after `timeout` seconds, and when the PTY has ended.
        """
        timeout = self.timeout if timeout == -1 else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        with suppress(NotATerminalError):
            while self.getecho():
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                time.sleep(_LOOK_SECONDS)  # polls the condition above
            return True
        return False

    def _ends_soon(self) -> bool:
        with suppress(WaitTimeoutError):
            if not self.terminated:
                seconds = self.delayafterterminate
                self._note_end(self._known(lambda: self._control.wait(self.pty_id, seconds)))
        return bool(self.terminated)

    def _known(self, ask: Callable[[], _T]) -> _T | None:
        """Return what `ask` returns; None if the PTY was forgotten, which means that it ended."""
        try:
            return ask()
        except UnknownPtyError:
            self._note_end(self._output.receive_end())
            self.terminated = True
            return None

    def _living(self) -> int:
        """Return the pid of the command while it runs; another's may be the same later."""
        if self.pid is None or not self.isalive():
            raise NotATerminalError(f"PTY {self.pty_id}, which has ended,")
        pid: int = self.pid
        return pid

    def _note_end(self, pty: Pty | None) -> None:
        if pty is None:
            return
        self.terminated = True
        self.exitstatus, self.signalstatus = pty["exit_code"], pty["signal"]
        if self.signalstatus is not None:
            self.exitstatus, self.status = None, self.signalstatus
        elif self.exitstatus is not None:
            self.status = self.exitstatus << 8
