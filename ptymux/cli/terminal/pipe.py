"""A command in a pipe: passes on all bytes that it writes, however slow their reader is.

Its output is received only while stdout has taken all that came before, so that a slow reader makes
the command wait. Whoever asks us to end by a signal gets it: the signal goes to the command, and
once that is gone, output that nobody takes is given up after the grace.
"""

from __future__ import annotations

import contextlib
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from ptymux.cli.output.exit_summary import exit_code
from ptymux.cli.output.gaps import PipeGaps, uncertain_text
from ptymux.cli.output.outlet import Outlet
from ptymux.cli.output.printing import print_message
from ptymux.client.attachment import Attachment
from ptymux.client.reconnect import RETRY_SECONDS, ServerReconnect
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ClosedOutputError, ConnectionClosedError, PtymuxError
from ptymux.posix.signals import SignalInbox, stop_ourselves
from ptymux.protocol.framing import Exit, Frame, Gap, Out

__all__ = ["PipePassage"]

_CLOSED_PIPE: Final = 141
_FAILED: Final = 125
_SHORTEST_PATIENCE: Final = 0.5  # seconds, for a reader of our output to take some
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _NobodyReadsError(Exception):
    """The command was ended by a signal, and nobody takes what it wrote."""


class PipePassage:
    """Passes the output of one attachment on to stdout, and our signals to the command.

    It owns the attachment. Output that is missing is reported on stderr; that is so only on
    request (`--on-full drop`), or when it is read long after the end.
    """

    def __init__(self, attachment: Attachment, grace_seconds: float) -> None:
        self.end: Mapping[str, Any] | None = None  # the PTY, once it ended
        self._attachment = attachment
        self._output: bytes | memoryview = b""  # received, and not taken by stdout
        self._gaps = PipeGaps()
        self._steps: deque[Callable[[], bool]] = deque()  # in order; each returns if it was done
        self._server = ServerReconnect(attachment.path)  # for steps that need one
        self._ended_by: int | None = None
        self._reader_seconds = max(_SHORTEST_PATIENCE, grace_seconds)
        self._reader_deadline: float | None = None  # for stdout to take some

    def run(self) -> int:
        """Pass everything on; return the exit code to end with.

        Raises:
            PtymuxError: the server went away, and no other one has the PTY.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._attachment.close, detach=False)
            self._outlet = Outlet(1)
            stack.callback(self._outlet.close)
            self._inbox = stack.enter_context(SignalInbox((*_FORWARDED, signal.SIGTSTP)))
            status = self._pass()
        self._gaps.print_rest()
        if self.end is not None and (count := self.end.get("uncertain", 0)):
            print_message(uncertain_text(count))
        return status

    def _pass(self) -> int:
        try:
            self._take(self._attachment.pending())
            while self._output or not self._attachment.is_over:
                self._turn()
        except BrokenPipeError:
            return _CLOSED_PIPE
        except ClosedOutputError as error:
            print_message(str(error))
            return _FAILED
        except _NobodyReadsError:
            assert self._ended_by is not None
            size = self._unwritten()
            print_message(f"nobody reads stdout; {size:,} bytes of output were not written")
            return 128 + self._ended_by
        if self.end is None:
            raise ConnectionClosedError("the server left this command without telling its end")
        return exit_code(self.end)

    def _turn(self) -> None:
        """Wait until something can be done, and do it."""
        ready = self._wait()
        for signum in self._inbox.take() if self._inbox.fileno() in ready else ():
            self._on_signal(signum)
        self._do_steps()
        stream = self._attachment.stream
        if stream is None:
            if self._attachment.look_for_server():
                self._take(self._attachment.pending())
        elif not self._output and stream.fileno() in ready:
            self._take(self._attachment.receive())
        if self._output:
            self._write()

    def _wait(self) -> set[int]:
        """Return the fds at which something can be done."""
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        if self._output:
            poll.register(self._outlet, select.POLLOUT)
        elif self._attachment.stream is not None:
            poll.register(self._attachment.stream, select.POLLIN)
        seconds = RETRY_SECONDS if self._steps or self._attachment.stream is None else None
        if self._reader_deadline is not None:
            left = max(0.0, self._reader_deadline - time.monotonic())
            seconds = left if seconds is None else min(left, seconds)
        return {
            fd for fd, _events in poll.poll(None if seconds is None else min(1000 * seconds, 1e9))
        }

    # Output ----------------------------------------------------------------------------------

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, Gap):
                self._gaps.add(frame.start, frame.end)
            elif isinstance(frame, Exit):
                self.end = frame.pty
        pieces = [frame.data for frame in frames if isinstance(frame, Out)]
        self._output = b"".join((self._output, *pieces))

    def _write(self) -> None:
        """Write what stdout takes.

        Raises:
            _NobodyReadsError: a signal ended the command, and it took nothing for the grace.
        """
        taken = self._outlet.offer(self._output)
        self._output = memoryview(self._output)[taken:]
        now = time.monotonic()
        if self._ended_by is None or not self._output:
            self._reader_deadline = None
        elif taken or self._reader_deadline is None:
            self._reader_deadline = now + self._reader_seconds
        elif now >= self._reader_deadline:
            if not self._runs():
                raise _NobodyReadsError
            self._reader_deadline = now + self._reader_seconds

    def _runs(self) -> bool:
        """Whether the command runs; a PTY that is held says so only once it was read."""
        from ptymux.posix.process import session_members

        pid = self._attachment.pty.get("pid")
        return pid is not None and any(member.pid == pid for member in session_members(int(pid)))

    def _unwritten(self) -> int:
        """Return how many bytes were written by the command and not by us."""
        received = self._attachment.offset
        total = received
        with (
            contextlib.suppress(PtymuxError),
            ServerConnection(self._attachment.path) as connection,
        ):
            pty = connection.call("get", pty=self._attachment.pty_id)["pty"]
            total = int(pty["buffer"]["total_written"])
        return total - received + len(self._output)

    # Signals ---------------------------------------------------------------------------------

    def _on_signal(self, signum: int) -> None:
        if signum == signal.SIGTSTP:
            self._stop()
            return
        if signum != signal.SIGINT:  # at ^C who reads our output got it too, and may be a pager
            self._ended_by = signum
        self._steps.append(lambda: self._send(signum))

    def _stop(self) -> None:
        """Stop, and the command with us: it may read our terminal, which is the shell's now.

        By STOP, as the kernel lets TSTP stop nobody whose parents are all in other sessions.
        """
        self._steps.append(lambda: self._send(signal.SIGSTOP, session=True))
        self._steps.append(_stop_ourselves)
        self._steps.append(lambda: self._send(signal.SIGCONT, session=True))

    def _do_steps(self) -> None:
        """Do what is to be done, up to a step for which there is no server just now."""
        while self._steps and self._steps[0]():
            self._steps.popleft()

    def _send(self, signum: int, *, session: bool = False) -> bool:
        """Have the server send a signal to the command, unless that has ended meanwhile.

        False: there is no server just now.
        """
        if self._server.try_once() is None:
            return False
        name = signal.Signals(signum).name
        with self._server.until_lost() as connection:
            try:
                connection.call("signal", pty=self._attachment.pty_id, signal=name, session=session)
            except ConnectionClosedError:
                raise
            except PtymuxError:
                pass  # it has ended
            self._server.close()
            return True
        return False


def _stop_ourselves() -> bool:
    stop_ourselves()
    return True
