"""The library for programs that block: `connect` returns a `Client`, whose methods are requests.

A request that does no harm twice is repeated when the server was replaced meanwhile. Readers and
events go on where they were.
"""

from __future__ import annotations

import builtins
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final, Literal, Unpack, cast

from ptymux.client.answers import Pty, PtyRef, PtyStats, SignalDelivery, Status
from ptymux.client.attach_request import AttachRequest
from ptymux.client.autostart import start_server
from ptymux.client.closing import Closing
from ptymux.client.cut_lines import Lines
from ptymux.client.event_follower import EventFollower
from ptymux.client.listing import list_ptys
from ptymux.client.matching import Found, Matcher, search
from ptymux.client.pty_reader import PtyReader
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy, ServerReconnect, repeat
from ptymux.client.requests import Requests
from ptymux.client.run_options import RunOptions, spawn_options
from ptymux.client.server_connection import ServerConnection, socket_path
from ptymux.client.spawn_request import new_request
from ptymux.client.stream import Lifeline, open_input, spawn_and_attach, write_all
from ptymux.client.text_decoder import check_encoding
from ptymux.core import given_values as given
from ptymux.core import model
from ptymux.core.key_names import key_bytes
from ptymux.core.model import OnFull, WindowSize
from ptymux.core.ring import Part
from ptymux.core.terminal_modes import TerminalModes
from ptymux.core.tty_lines import LONGEST_LINE
from ptymux.errors import (
    InvalidValueError,
    NoServerError,
    UnknownPtyError,
    UnreachableError,
    WaitTimeoutError,
)
from ptymux.posix.runtime import check_is_socket

if TYPE_CHECKING:
    from ptymux.client.expect import PtyExpect

__all__ = ["Client", "connect"]

_log: Final = logging.getLogger(__name__)


def connect(path: str | os.PathLike[str] | None = None, *, start: bool = True) -> Client:
    """Return a client of the server whose socket is at `path`, by default where commands look.

    Without a server there, one is started, unless `start` is false.

    Raises:
        NoServerError: none runs, or it did not start.
        UnreachableError: what is there does not answer, or belongs to somebody else.
        VersionError, ProtocolError: it does not speak as we do.
        ConnectionClosedError: it ends.
        UnsafeDirectoryError: others could change the directory of the socket.
        InvalidValueError: no socket can have such a path.
        OutOfResourcesError: no more open files or processes.
    """
    chosen = socket_path(None if path is None else os.fspath(path))
    try:
        return Client(ServerConnection(chosen))
    except NoServerError:
        check_is_socket(chosen)
        if not start:
            raise
    start_server(chosen)
    return Client(ServerReconnect(chosen).wait())


class Client(Closing):
    """A connection to a server, with a method for each of its requests; made by `connect`.

    A PTY is named by its id, its number, its name, or the dict that another method returned for it.
    All values are the JSON that the commands print with `--json`. Any number of threads may use it
    at a time: each has a connection of its own while it asks. Closing it ends the readers, events
    and dialogues that it made and what other threads wait for, and no PTY.

    Raises, in every method, besides what it says:
        ConnectionClosedError: this was closed, or the server went away and none came in its place.
        UnreachableError: the server does not answer.
        NoServerError, VersionError, ProtocolError: what came in its place cannot be used.
        OutOfResourcesError: this process has no more open files.
        InvalidValueError: what is given for a PTY is no name, number, id or dict.
    """

    def __init__(self, connection: ServerConnection, policy: RetryPolicy = RETRY_POLICY) -> None:
        """Take over `connection`; `policy`: for how long a server may be away."""
        self.path = connection.path
        self._policy = policy
        self._requests = Requests(connection, policy)
        self._ask = self._requests.ask
        self._made: weakref.WeakSet[Closing | PtyExpect] = weakref.WeakSet()
        self._made_lock = threading.Lock()

    def close(self) -> None:
        """End the connection and all readers, events and dialogues; again is no error."""
        self._requests.close()
        with self._made_lock:
            made = tuple(self._made)
        for each in made:
            each.close()

    def run(
        self,
        command: Sequence[str] | str,
        *,
        name: str | None = None,
        lane: str = model.DEFAULT_LANE,
        session: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
        size: WindowSize | tuple[int, int] | str = (80, 24),
        buffer_size: int | str = model.DEFAULT_BUFFER,
        threshold: float = model.DEFAULT_THRESHOLD,
        on_full: OnFull | Literal["drop", "block"] = OnFull.DROP,
        idle_timeout_seconds: float | str = model.DEFAULT_IDLE_SECONDS,
        grace_seconds: float | str = model.DEFAULT_GRACE_SECONDS,
        echo: bool = True,
        remove: bool = False,
    ) -> Pty:
        """Start a command in a new PTY, and return the PTY; the command runs then.

        A command that is a str is a line for /bin/sh. `env` is the whole environment, by default
        ours; `overrides` are variables to set besides, TERM among them. `size` is columns by rows:
        (80, 24) or "80x24"; sizes and times may be text such as "4M" and "5m", too. Without `echo`
        the terminal does not show what is typed. With `remove` the PTY is forgotten once it has
        ended. A server that dies meanwhile does not have the command started twice.

        Raises:
            SpawnError: it cannot be started: CommandNotFoundError, NotExecutableError,
                BadDirectoryError, ArgumentsTooLongError.
            InvalidValueError, InvalidDimensionsError: a value that can never work.
            LimitReachedError, OutOfResourcesError: too many PTYs, or not enough memory or files.
            NameTakenError: another live PTY has the name.
        """
        options = spawn_options(
            command,
            name=name,
            lane=lane,
            session=session,
            cwd=cwd,
            env=env,
            overrides=overrides,
            size=size,
            buffer_size=buffer_size,
            threshold=threshold,
            on_full=on_full,
            idle_timeout_seconds=idle_timeout_seconds,
            grace_seconds=grace_seconds,
            echo=echo,
        )
        spawn = partial(
            ServerConnection.spawn, options=options, remove=remove, request=new_request()
        )
        return cast(Pty, self._requests.repeating(spawn)["pty"])

    def list(
        self, *, lane: str | None = None, session: str | None = None, all: bool = False
    ) -> builtins.list[Pty]:
        """Return the live PTYs, with `all` also those that have ended, oldest first."""
        listing = list_ptys(self._ask, lane=lane, session=session, all=all)
        return cast("builtins.list[Pty]", listing.ptys)

    def get(self, pty: PtyRef) -> Pty:
        """Return a PTY as it is now.

        The beginning of its id or name will do if no other PTY's begins so.

        Raises:
            UnknownPtyError: there is none, or it was forgotten.
            AmbiguousPtyError: several begin so.
        """
        return cast(Pty, self._ask("get", pty=_word(pty))["pty"])

    def stats(self, pty: PtyRef) -> PtyStats:
        """Return a PTY as `get` does, with its history and the signals that it got.

        Raises:
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        return cast(PtyStats, self._ask("stats", pty=_word(pty))["pty"])

    def status(self) -> Status:
        """Return the server's version, processes, age, limits and memory."""
        return cast(Status, self._ask("status"))

    def read(self, pty: PtyRef, from_offset: int | None = None) -> Part:
        """Return the output that is kept, at once, from an offset on if one is given.

        It is one piece: if bytes are lost while it is read, it ends before them, and the next read,
        from its `end` on, has their number in `skipped`.

        Raises:
            UnknownPtyError, AmbiguousPtyError: as `get`.
            InvalidValueError: the offset is below 0.
            LimitReachedError: the PTY has as many readers as may be.
        """
        start = "oldest" if from_offset is None else from_offset
        request = AttachRequest.to_read(_word(pty), "one-shot", start)
        with PtyReader(self.path, request, self._policy) as reader:
            return _read_kept(reader)

    def follow(
        self,
        pty: PtyRef,
        offset: int | Literal["oldest", "now"] = "oldest",
        kind: Literal["consumer", "lossless", "observer"] = "consumer",
    ) -> PtyReader:
        """Return an iterator of the output from `offset` on, as it comes, until the PTY ends.

        Each part says how many bytes were missed before it. In block mode the command waits for a
        reader that is "lossless"; an "observer" does not count as attached.

        Raises:
            UnknownPtyError, AmbiguousPtyError: as `get`.
            InvalidValueError: there is no such offset or kind.
            LimitReachedError: the PTY has as many readers as may be.
        """
        request = AttachRequest.to_read(_word(pty), kind, offset)
        reader = PtyReader(self.path, request, self._policy)
        self._keep(reader)
        return reader

    def events(
        self,
        since: int | None = None,
        topics: Sequence[str] | None = None,
        follow: bool = True,
        *,
        pty: PtyRef | None = None,
    ) -> EventFollower:
        """Return an iterator of the events from now on, or of all after the one numbered `since`.

        Without `follow` it ends with the last event that there is. A dict with `missed` alone
        stands in the place of so many events that were lost.

        Raises:
            UnknownPtyError, AmbiguousPtyError: as `get`.
            InvalidValueError: there is no such topic.
            LimitReachedError: as many listen as may.
        """
        events = EventFollower(
            self.path,
            since=since,
            topics=topics,
            pty=None if pty is None else _word(pty),
            follow=follow,
            policy=self._policy,
        )
        self._keep(events)
        return events

    def send(self, pty: PtyRef, data: bytes | str = b"", *, keys: Sequence[str] | str = ()) -> int:
        """Type `data`, then `keys`; once the terminal took all, return where the next output was.

        That is the offset of the PTY's output before the first key. Text is sent as UTF-8, as it
        is. Keys go by name, one or several: `keys="Enter"`, `keys=["C-c", "Up", "M-x", "F5"]`; the
        program gets what a terminal sends for them in the modes that it switched on.

        Raises:
            UnknownPtyError: there is no such PTY.
            InvalidValueError: there is no such key, or `data` is no text; nothing was sent.
            InvalidStateError: the PTY has ended; nothing was sent.
            LineTooLongError: the terminal would cut a line; nothing was sent.
            LimitReachedError: as many type into this PTY as may.
            InputCutError: the PTY ended and took less; `taken` says how much.
            ConnectionClosedError: the keeper died, so that nobody knows how much it took.
        """
        names = given.texts("keys", keys)
        typed = b"".join(map(key_bytes, names))  # first: a mistake sends nothing
        given.instance_of("data", data, bytes | str, "'make'")
        piece = data.encode() if isinstance(data, str) else data
        pty_id = self._id_of(pty)
        if len(piece) + len(typed) > LONGEST_LINE:
            Lines(self.get(pty_id)["pid"]).check(piece + typed)
        lifeline, offset = self._requests.repeating(
            lambda connection: open_input(connection, pty_id)
        )
        modes = TerminalModes()
        modes.see(lifeline.modes)
        write_all(lifeline, pty_id, piece + b"".join(key_bytes(name, modes) for name in names))
        return offset

    def open_input(self, pty: PtyRef) -> Lifeline:
        """Return a socket whose input is typed into a PTY, for much of it; you close it.

        Raises:
            UnknownPtyError, InvalidStateError, LimitReachedError: as `send`.
        """
        pty_id = self._id_of(pty)
        return self._requests.repeating(lambda connection: open_input(connection, pty_id))[0]

    def expect(
        self,
        pty: PtyRef,
        timeout: float | None = 30,
        maxread: int = 2000,
        searchwindowsize: int | None = None,
        logfile: IO[Any] | None = None,
        encoding: str | None = None,
        codec_errors: str = "replace",
        from_offset: int | Literal["oldest", "now"] = "oldest",
        echo: bool | None = None,
    ) -> PtyExpect:
        """Return a dialogue with a PTY, to be used as a `pexpect.spawn`.

        Closing it leaves the PTY running. It reads from an offset on: by default all that is kept,
        "now" for what comes. `echo` switches on or off that the terminal shows what is typed.

        Raises:
            UnknownPtyError: there is no such PTY, or it was forgotten.
            LimitReachedError: the PTY has as many readers as may be.
            InvalidValueError: there is no such offset.
            LookupError: there is no such encoding.
        """
        request = AttachRequest.to_read(self._id_of(pty), offset=from_offset, wants_input=True)
        reader = PtyReader(self.path, request, self._policy)
        dialogue = self._dialogue(
            reader,
            timeout=timeout,
            maxread=maxread,
            searchwindowsize=searchwindowsize,
            logfile=logfile,
            encoding=encoding,
            codec_errors=codec_errors,
        )
        if echo is not None:
            dialogue.start_echo(echo)
        return dialogue

    def spawn_expect(
        self,
        command: Sequence[str] | str,
        timeout: float | None = 30,
        maxread: int = 2000,
        searchwindowsize: int | None = None,
        logfile: IO[Any] | None = None,
        encoding: str | None = None,
        codec_errors: str = "replace",
        *,
        hangup: bool = False,
        remove: bool = False,
        **options: Unpack[RunOptions],
    ) -> PtyExpect:
        """Start a command in a new PTY, and return a dialogue with it from its first byte on.

        It takes what `run` and `expect` take, `echo=False` among it. However soon the command ends,
        the dialogue gets all its output and its end, also with `remove`. With `hangup` the PTY ends
        with the dialogue: `close` and the end of a `with` block end it as they end a
        `pexpect.spawn`, and the death of this program hangs it up.

        Raises:
            SpawnError, InvalidValueError, LimitReachedError, NameTakenError: as `run`.
            LookupError: there is no such encoding.
        """
        spawn = partial(
            spawn_and_attach,
            options=spawn_options(command, **options),
            remove=remove,
            hangup=hangup,
            request=new_request(),
        )
        check_encoding(encoding, codec_errors)
        stream, request = repeat(lambda: ServerConnection(self.path), spawn, self._policy)
        reader = PtyReader(self.path, request, self._policy, stream)
        dialogue = self._dialogue(
            reader,
            timeout=timeout,
            maxread=maxread,
            searchwindowsize=searchwindowsize,
            logfile=logfile,
            encoding=encoding,
            codec_errors=codec_errors,
            hangup=hangup,
        )
        if options.get("echo") is False:
            dialogue.start_echo(False)  # a server of an older version does not know the option
        return dialogue

    def _dialogue(self, reader: PtyReader, **options: Any) -> PtyExpect:
        from ptymux.client.expect import PtyExpect

        try:
            dialogue = PtyExpect(self, reader, **options)
        except BaseException:
            reader.close()
            raise
        self._keep(dialogue)
        return dialogue

    def wait(self, pty: PtyRef, timeout: float | None = None) -> Pty:
        """Return the PTY once its command has exited and its own output is complete.

        Raises:
            WaitTimeoutError: that took more than `timeout` seconds.
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def wait(connection: ServerConnection) -> Mapping[str, Any]:
            if deadline is not None:
                connection.patience = max(0.0, deadline - time.monotonic())
            try:
                return connection.call("wait", pty=pty_id, until="exit")
            except UnreachableError:
                raise WaitTimeoutError(f"PTY {_word(pty)} has not exited", timeout or 0) from None
            finally:
                connection.patience = None

        pty_id = self.get(pty)["pty_id"]
        return cast(Pty, self._requests.repeating(wait)["pty"])

    def wait_text(
        self,
        pty: PtyRef,
        regex: str,
        from_offset: int | Literal["oldest", "now"] = "oldest",
        timeout: float | None = None,
    ) -> Found | None:
        """Return the first match in the output without escape codes; None if the PTY ends before.

        Raises:
            InvalidValueError: `regex` is no regular expression.
            WaitTimeoutError: there was none within `timeout` seconds.
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        matcher = Matcher(regex)
        with self.follow(pty, from_offset, "observer") as reader:
            return search(reader, matcher, timeout)

    def kill(self, pty: PtyRef, grace_seconds: float | None = None) -> Pty:
        """End a PTY with all its session; return it once it is gone and its name is free.

        Its processes get TERM, and KILL after the grace, by default the PTY's own. Those that could
        not be ended, as they run as another user, are logged as a warning.

        Raises:
            UnknownPtyError: there is no such PTY; the beginning of a name is not enough.
            InvalidValueError: the grace is no time of 0 or more.
        """
        grace = None if grace_seconds is None else given.seconds("grace", grace_seconds)
        answer = self._ask("kill", ptys=[self._id_of(pty)], grace=grace)
        for survivor in answer.get("survivors", ()):
            for left in survivor["left"]:
                facts = (left["pid"], survivor["number"], left["error"])
                _log.warning("process %d of PTY %d lives on: %s", *facts)
        return cast(Pty, answer["ptys"][0])

    def signal(
        self, pty: PtyRef, signal: int | str, *, session: bool = False
    ) -> builtins.list[SignalDelivery]:
        """Send a signal, by name or number, to a PTY's processes; return what became of it.

        INT, QUIT and TSTP go to what is in the foreground, others to the first process's group,
        with `session` to the whole session.

        Raises:
            UnknownPtyError: as `kill`.
            UnknownSignalError: there is no such signal.
            ConnectionClosedError: the server died meanwhile, so that nobody knows if it was sent.
        """
        name = signal if isinstance(signal, str) else str(int(signal))
        answer = self._requests.once(
            lambda connection: connection.call(
                "signal", pty=_word(pty), signal=name, session=session
            )
        )
        return cast("builtins.list[SignalDelivery]", answer["envelopes"])

    def remove(self, pty: PtyRef) -> None:
        """Forget a PTY that has ended, with its output.

        Raises:
            InvalidStateError: it has not ended.
            UnknownPtyError: as `kill`.
        """
        pty_id = self.get(self._id_of(pty))["pty_id"]
        with suppress(UnknownPtyError):  # the server died after it had done it
            self._ask("remove", ptys=[pty_id])

    def rename(self, pty: PtyRef, name: str) -> Pty:
        """Give a live PTY another name.

        Raises:
            UnknownPtyError: as `kill`.
            InvalidStateError: it has ended.
            InvalidValueError: no PTY can have that name.
            NameTakenError: another live PTY has it.
        """
        given.a_text("name", name)
        return cast(Pty, self._ask("rename", pty=self._id_of(pty), name=name)["pty"])

    def resize(self, pty: PtyRef, cols: int, rows: int) -> Pty:
        """Give a PTY's terminal another size.

        Raises:
            InvalidValueError, InvalidDimensionsError: both must be whole numbers, 1 to 10000.
            UnknownPtyError: as `kill`.
            InvalidStateError: it has ended.
        """
        WindowSize(cols, rows)
        answer = self._ask("resize", pty=self._id_of(pty), cols=cols, rows=rows)
        return cast(Pty, answer["pty"])

    def set_on_full(self, pty: PtyRef, on_full: OnFull | Literal["drop", "block"]) -> int:
        """Change what happens when the buffer is full; return the output's offset at the change.

        Raises:
            InvalidValueError: it is neither "drop" nor "block", or the PTY has no buffer.
            UnknownPtyError: as `kill`.
        """
        chosen = OnFull.of(on_full).value
        return int(self._ask("set", pty=self._id_of(pty), on_full=chosen)["offset"])

    def clear(self, pty: PtyRef) -> Pty:
        """Throw away the output that is kept; bytes that nobody had read count as dropped.

        Raises:
            UnknownPtyError: as `kill`.
        """
        return cast(Pty, self._ask("clear", pty=self._id_of(pty))["pty"])

    def _keep(self, made: Closing | PtyExpect) -> None:
        """Have `made` closed with this client."""
        with self._made_lock:
            self._made.add(made)

    def _id_of(self, pty: PtyRef) -> str:
        """Return a PTY's id; its name may be another's by the time that a request is repeated.

        Raises:
            UnknownPtyError: none has this name; its beginning is not enough to change something.
        """
        word = _word(pty)
        if not isinstance(pty, str | int):
            return word
        found = self.get(pty)
        if word not in (found["pty_id"], found["name"], str(found["number"])):
            raise UnknownPtyError(word)
        return found["pty_id"]


def _read_kept(reader: PtyReader) -> Part:
    """Return what was there when `reader` came, up to a place where bytes were missed."""
    last = reader.pty["buffer"]["total_written"]
    offset, skipped = reader.offset, 0
    pieces: list[bytes] = []
    while reader.offset < last and (part := reader.read()) is not None:
        if part.skipped and pieces:
            break
        if not pieces:
            offset, skipped = part.offset, part.skipped
        pieces.append(part.data)
    return Part(offset, skipped, b"".join(pieces)[: max(0, last - offset)])


def _word(pty: PtyRef) -> str:
    """Return what a request calls a PTY."""
    if isinstance(pty, str | int) and not isinstance(pty, bool):
        return str(pty)
    if isinstance(pty, Mapping) and isinstance(pty.get("pty_id"), str):
        return pty["pty_id"]
    raise InvalidValueError("the PTY", pty, "a name, a number, an id, or what `run` returned")
