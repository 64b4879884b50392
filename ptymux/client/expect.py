"""A dialogue with a PTY, with the interface of `pexpect.spawn`; the PTY outlives it.

It reads as a consumer does, types through a lifeline, and goes on when the server is replaced.
"""

from __future__ import annotations

import codecs
import logging
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO, Any, Final, Protocol

from pexpect import EOF, TIMEOUT, ExceptionPexpect  # type: ignore[import-untyped]
from pexpect.spawnbase import SpawnBase  # type: ignore[import-untyped]

from ptymux.client.answers import Pty, SignalDelivery
from ptymux.client.cut_lines import Lines
from ptymux.client.input_channel import InputChannel
from ptymux.client.interaction import CONTROLS, pass_through, write_fully
from ptymux.client.pty_reader import PtyReader
from ptymux.client.stream import Lifeline
from ptymux.core.model import ENDED_STATES
from ptymux.core.ring import Part
from ptymux.errors import PtymuxError, UnknownPtyError, WaitTimeoutError
from ptymux.posix.tty import process_has_echo, set_process_echo

__all__ = ["PtyControl", "PtyExpect"]

_log: Final = logging.getLogger(__name__)

_EOF: Final = b"\x04"
_INTERRUPT: Final = b"\x03"
_PAST: Final = 0.0  # a deadline
_LOOK_SECONDS: Final = 0.02  # between two looks at whether the terminal echoes
_SHOWN: Final = 100  # characters of what was read, in the text of an exception


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
    """A dialogue to be used as a `pexpect.spawn`; `Client.expect` makes it.

    These things differ:

    - `close`, and the end of a `with` block, leave the PTY running unless `force` is given.
    - `skipped` counts bytes that were missed, because we fell behind or because they were no
      longer kept when we came. A warning is logged, and `before` has what was around them joined.
    - The exit status is there from EOF on.
    - `kill` reaches the process group, `terminate(force=True)` ends the whole session.
    - Input that the terminal would cut, or that comes after the end, raises a PtymuxError.
    - `async_` does not work; `ptymux.PtyManager` is for programs with an event loop.
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
        codec_errors: str = "strict",
    ) -> None:
        """Take over `reader`, which wants input."""
        super().__init__(timeout, maxread, searchwindowsize, logfile, encoding, codec_errors)
        self.delaybeforesend: float | None = None
        self.delayafterread: float | None = None
        self.skipped = 0
        self.pty_id = pty_id = reader.pty["pty_id"]
        self._control = control
        self._reader = reader
        self._input = InputChannel(pty_id, reader.lifeline, lambda: control.open_input(pty_id))
        self._rest = bytearray()  # received, and not read
        self._behind_gap: Part | None = None  # received, to be read after the rest
        self._may_be_cut = self._reader.offset > 0  # what comes next may begin within a letter
        self._is_utf8 = encoding is not None and codecs.lookup(encoding).name == "utf-8"
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
    def offset(self) -> int:
        """The offset of the next byte to be read."""
        start = self._reader.offset if self._behind_gap is None else self._behind_gap.offset
        return start - len(self._rest)

    def fileno(self) -> int:
        """Return an fd that is readable when output may have come; -1 when there is none.

        What can be read from it are frames of the protocol, not the output itself.
        """
        return self._reader.fileno()

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> Any:
        """Return at least 1 and at most `size` bytes, or the text that they are.

        Raises:
            TIMEOUT: none came within `timeout` seconds; -1 stands for those of this object.
            EOF: the PTY has ended, and all was read.
        """
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        data = self._take(size, self.timeout if timeout == -1 else timeout)
        if data:
            text = self._decoder.decode(data, final=False)
            self._log(text, "read")
            return text
        if not self._reader.is_over:
            raise TIMEOUT("Timeout exceeded.")
        self.flag_eof = True
        self._note_end(self._reader.end)
        raise EOF("End Of File (EOF). The PTY has ended.")

    def expect_list(
        self,
        pattern_list: Any,
        timeout: float | None = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
        **kw: Any,
    ) -> Any:
        """Do as pexpect does; `async_` is refused, as what comes on our fd are frames."""
        _refuse_async(async_, kw)
        return super().expect_list(pattern_list, timeout, searchwindowsize)

    def expect_exact(
        self,
        pattern_list: Any,
        timeout: float | None = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
        **kw: Any,
    ) -> Any:
        """Do as pexpect does; `async_` is refused, as by `expect_list`."""
        _refuse_async(async_, kw)
        return super().expect_exact(pattern_list, timeout, searchwindowsize)

    def eof(self) -> bool:
        """Whether EOF was ever raised."""
        return bool(self.flag_eof)

    def _take(self, size: int, timeout: float | None) -> bytes:
        """Return what is there of the next `size` bytes, nothing at the end or after the timeout.

        A piece ends where bytes were missed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._rest and self._fetch(deadline):
            pass
        while 0 < len(self._rest) < size and self._fetch(_PAST):
            pass
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data

    def _fetch(self, deadline: float | None) -> bool:
        """Receive more; False when none came in time, or it does not follow directly."""
        part, self._behind_gap = self._behind_gap, None
        if part is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            part = self._reader.read(left)
        if part is None:
            return False
        if part.skipped and self._rest:
            self._behind_gap = part
            return False
        self._rest += self._whole(part)
        return True

    def _whole(self, part: Part) -> bytes:
        """Return the data of a part without the rest of a letter whose beginning was missed."""
        cut = 0
        if part.skipped or self._may_be_cut:
            self._may_be_cut = False
            if self.encoding is not None:
                self._decoder.reset()
            if self._is_utf8:
                head = part.data[:3]
                cut = len(head) - len(head.lstrip(bytes(range(0x80, 0xC0))))
        if part.skipped or cut:
            self.skipped += part.skipped + cut
            facts = (self.pty_id, part.skipped + cut, part.offset + cut)
            _log.warning("PTY %s: %d bytes of output before offset %d were missed", *facts)
        return part.data[cut:]

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
            while data := self._take(self.maxread, 0):
                self._log(self._decoder.decode(data, final=False), "read")
                write_fully(self.STDOUT_FILENO, output_filter(data) if output_filter else data)
            return not self._reader.is_over

        def type_(keys: bytes) -> bool:
            keys = input_filter(keys) if input_filter else keys
            end = -1 if escape is None else keys.rfind(escape)
            keys = keys if end < 0 else keys[:end]
            self._log(keys if self.encoding is None else keys.decode(errors="replace"), "send")
            with suppress(PtymuxError):  # it ended, as the next look at the output shows
                self._input.send(keys)
            return end < 0

        pass_through(self.STDIN_FILENO, self._reader, show, type_)

    def isalive(self) -> bool:
        """Whether the command runs; if not, `exitstatus` and `signalstatus` say how it ended."""
        if self.terminated:
            return False
        try:
            pty = self._control.get(self.pty_id)
        except UnknownPtyError:  # it has ended and was forgotten
            self._note_end(self._reader.end)
            self.terminated = True
            return False
        if pty["state"] in ENDED_STATES:
            self._note_end(pty)
        return not self.terminated

    def wait(self) -> int | None:
        """Return the exit status once the command has exited; None if a signal ended it."""
        if self.isalive():
            self._note_end(self._control.wait(self.pty_id))
        status: int | None = self.exitstatus
        return status

    def kill(self, sig: int) -> None:
        """Send a signal to the processes that `Client.signal` chooses."""
        if self.isalive():
            self._control.signal(self.pty_id, sig)

    def terminate(self, force: bool = False) -> bool:
        """Send HUP, CONT, INT and with `force` KILL until it has ended; return whether it has."""
        for sig in (signal.SIGHUP, signal.SIGCONT, signal.SIGINT):
            self.kill(sig)
            if self._ends_soon():
                return True
        if force:
            self._note_end(self._control.kill(self.pty_id, grace_seconds=0))
        return bool(self.terminated)

    def close(self, force: bool = False) -> None:
        """End the dialogue, and with `force` the PTY before; again is no error."""
        if self.closed:
            return
        if force and not self.terminate(force=True):
            raise ExceptionPexpect("Could not terminate the child.")
        with suppress(PtymuxError):
            self.isalive()
        self._input.close()
        self._reader.close()
        self.closed = True

    def isatty(self) -> bool:
        """Whether this is open: it is a terminal as long as that."""
        return not self.closed

    def getwinsize(self) -> tuple[int, int]:
        """Return the terminal's rows and columns."""
        pty = self._control.get(self.pty_id)
        return pty["rows"], pty["cols"]

    def setwinsize(self, rows: int, cols: int) -> None:
        """Give the terminal another size."""
        self._control.resize(self.pty_id, cols, rows)

    def getecho(self) -> bool:
        """Whether the terminal shows what is typed; raises NotATerminalError after the end."""
        return process_has_echo(self.pid or 0)

    def setecho(self, state: bool) -> None:
        """Have the terminal show what is typed, or not; raises NotATerminalError after the end."""
        set_process_echo(self.pid or 0, state)
        self.echo = state

    def waitnoecho(self, timeout: float | None = -1) -> bool:
        """Return True once nothing typed is shown, as for a password; False after `timeout`."""
        timeout = self.timeout if timeout == -1 else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.getecho():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)  # polls the condition above
        return True

    def _ends_soon(self) -> bool:
        with suppress(WaitTimeoutError):
            if not self.terminated:
                self._note_end(self._control.wait(self.pty_id, self.delayafterterminate))
        return bool(self.terminated)

    def _note_end(self, pty: Pty | None) -> None:
        if pty is None:
            return
        self.terminated = True
        self.exitstatus, self.signalstatus = pty["exit_code"], pty["signal"]
        if self.signalstatus is not None:
            self.exitstatus, self.status = None, self.signalstatus
        elif self.exitstatus is not None:
            self.status = self.exitstatus << 8


def _refuse_async(async_: bool, options: dict[str, Any]) -> None:
    if async_ or options.pop("async", False):
        raise NotImplementedError("async_ does not work on a managed PTY; see ptymux.PtyManager")
    if options:
        raise TypeError(f"Unknown keyword arguments: {options}")
