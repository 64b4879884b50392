"""The library for programs that block: `connect` returns a `Client`, whose methods are requests.

A request that does no harm twice is repeated when the server was replaced meanwhile. Readers and
events go on where they were.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Literal, Unpack, cast

from ptymux.client.answers import Pty, PtyRef
from ptymux.client.attach_request import AttachRequest
from ptymux.client.autostart import start_server
from ptymux.client.closing import Closing
from ptymux.client.control import Control, word_for
from ptymux.client.cut_lines import Lines
from ptymux.client.event_follower import EventFollower
from ptymux.client.matching import Found, Matcher, search
from ptymux.client.pty_reader import PtyReader
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy, ServerReconnect, repeat
from ptymux.client.run_options import RunOptions, spawn_options
from ptymux.client.server_connection import ServerConnection, socket_path
from ptymux.client.spawn_request import new_request
from ptymux.client.stream import Lifeline, open_input, spawn_and_attach, write_all
from ptymux.client.text_decoder import check_encoding
from ptymux.client.watches import InputWatch, PromptWatch, Silence, TimeIsUpError, Watch, observe
from ptymux.core import given_values as given
from ptymux.core import model
from ptymux.core.key_names import key_bytes
from ptymux.core.launch import options_from_launch
from ptymux.core.model import OnFull, WindowSize
from ptymux.core.ring import Part
from ptymux.core.terminal_modes import TerminalModes
from ptymux.core.time_index import Times
from ptymux.core.tty_lines import LONGEST_LINE
from ptymux.errors import (
    NoServerError,
    UnreachableError,
    WaitTimeoutError,
)
from ptymux.posix.runtime import check_is_socket
from ptymux.protocol.framing import Exit

if TYPE_CHECKING:
    from ptymux.client.expect import PtyExpect

__all__ = ["Client", "connect"]


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


class Client(Control):
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
        super().__init__(connection, policy)
        self._made: weakref.WeakSet[Closing | PtyExpect] = weakref.WeakSet()
        self._made_lock = threading.Lock()

    def close(self) -> None:
        """End the connections and all readers, events and dialogues; again is no error."""
        super().close()
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
        timeout_seconds: float | str = 0.0,
        ttl_seconds: float | str | None = None,
        echo: bool = True,
        pass_fds: Mapping[int, int] | Sequence[int] = (),
        remove: bool = False,
    ) -> Pty:
        """Start a command in a new PTY, and return the PTY; the command runs then.

        A command that is a str is a line for /bin/sh. `env` is the whole environment, by default
        ours; `overrides` are variables to set besides, TERM among them. `size` is columns by rows:
        (80, 24) or "80x24"; sizes and times may be text such as "4M" and "5m", too. Without `echo`
        the terminal does not show what is typed. The command gets the fds of `pass_fds` at the same
        numbers, of a dict at its keys; they stay yours. A command that has run for its timeout is
        ended, and its PTY has `timed_out`. With `ttl_seconds` the PTY is forgotten so long after
        its end, with `remove` at once. A server that dies meanwhile does not have the command
        started twice.

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
            timeout_seconds=timeout_seconds,
            ttl_seconds=ttl_seconds,
            echo=echo,
            pass_fds=pass_fds,
        )
        spawn = partial(
            ServerConnection.spawn, options=options, remove=remove, request=new_request()
        )
        return cast(Pty, self._requests.repeating(spawn)["pty"])

    def again(self, pty: PtyRef, **changes: Unpack[RunOptions]) -> Pty:
        """Start what a PTY ran once more, in a new PTY with its name, and return that.

        The command, its environment, its directory, the size and all that `run` was told are the
        same, but for `changes`, which are keyword arguments of `run`. Of a PTY that lives the name
        is taken: end it first, or give another `name`.

        Raises:
            UnknownPtyError: there is no such PTY, or it was forgotten.
            PtymuxError: how it was started is not kept.
            NameTakenError, SpawnError, LimitReachedError, OutOfResourcesError: as `run`.
        """
        launch = self._ask("launch", pty=word_for(pty))["launch"]
        given: dict[str, Any] = {name: v for name, v in changes.items() if v is not None}
        options = options_from_launch(launch, **given)
        spawn = partial(ServerConnection.spawn, options=options, request=new_request())
        return cast(Pty, self._requests.repeating(spawn)["pty"])

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
        request = AttachRequest.to_read(word_for(pty), "one-shot", start)
        with PtyReader(self.path, request, self._policy) as reader:
            return _read_kept(reader)

    def times(self, pty: PtyRef) -> Times:
        """Return when the output of a PTY came, by the second.

        Its `since` gives the offset for `read` and `follow`: `client.times(pty).since(at)`.

        Raises:
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        return Times.from_json(dict(self._requests.ask("times", pty=word_for(pty))))

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
        request = AttachRequest.to_read(word_for(pty), kind, offset)
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
            pty=None if pty is None else word_for(pty),
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

    def wait(self, pty: PtyRef, timeout: float | str | None = None) -> Pty:
        """Return the PTY once its command has exited and its own output is complete.

        Raises:
            WaitTimeoutError: that took more than `timeout` seconds.
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        limit = _seconds(timeout)
        deadline = None if limit is None else time.monotonic() + limit

        def wait(connection: ServerConnection) -> Mapping[str, Any]:
            if deadline is not None:
                connection.patience = max(0.0, deadline - time.monotonic())
            try:
                return connection.call("wait", pty=pty_id, until="exit")
            except UnreachableError:
                raise WaitTimeoutError(f"PTY {word_for(pty)} has not exited", limit or 0) from None
            finally:
                connection.patience = None

        pty_id = self.get(pty)["pty_id"]
        return cast(Pty, self._requests.repeating(wait)["pty"])

    def wait_text(
        self,
        pty: PtyRef,
        regex: str,
        from_offset: int | Literal["oldest", "now"] = "oldest",
        timeout: float | str | None = None,
    ) -> Found | None:
        """Return the first match in the output without escape codes; None if the PTY ends before.

        Raises:
            InvalidValueError: `regex` is no regular expression.
            WaitTimeoutError: there was none within `timeout` seconds.
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        matcher, limit = Matcher(regex), _seconds(timeout)
        with self.follow(pty, from_offset, "observer") as reader:
            return search(reader, matcher, limit)

    def wait_quiet(
        self, pty: PtyRef, seconds: float | str, timeout: float | str | None = None
    ) -> int | None:
        """Return once nothing was written for `seconds`, from now on; None if the PTY ends before.

        What is returned is the offset at which the output ends.

        Raises:
            WaitTimeoutError: it was not quiet within `timeout` seconds.
            InvalidValueError: a time is none.
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        length = given.seconds("seconds", seconds)
        return self._watch(
            pty,
            None,
            timeout,
            "was not quiet",
            lambda offset, _pid, until: Silence(length, offset, until),
        )

    def wait_prompt(
        self, pty: PtyRef, from_offset: int | None = None, timeout: float | str | None = None
    ) -> int | None:
        """Return once the PTY's shell waits at its prompt for a command; None if it ends before.

        With `from_offset` it has to write something from there on first: what `send` returned, so
        that the prompt is the one after what was sent. What is returned is the offset at which the
        output ends. Nothing has to be set up in the shell.

        Raises:
            WaitTimeoutError: it was not back within `timeout` seconds.
            InvalidValueError: the timeout or the offset is none.
            UnknownPtyError, AmbiguousPtyError: as `get`.
        """
        needs = from_offset is not None
        return self._watch(
            pty,
            from_offset,
            timeout,
            "was not at its prompt",
            lambda offset, pid, until: PromptWatch(pid, offset, needs_output=needs, until=until),
        )

    def wait_input(
        self, pty: PtyRef, from_offset: int | None = None, timeout: float | str | None = None
    ) -> int | None:
        """Return once any program reads the terminal and waits, as one that asks a question.

        All else is as with `wait_prompt`, which is for shells.

        Raises:
            WaitTimeoutError, InvalidValueError, UnknownPtyError, AmbiguousPtyError: as there.
        """
        needs = from_offset is not None
        return self._watch(
            pty,
            from_offset,
            timeout,
            "did not wait for input",
            lambda offset, pid, until: InputWatch(pid, offset, needs_output=needs, until=until),
        )

    def _watch(
        self,
        pty: PtyRef,
        start: int | None,
        timeout: float | str | None,
        failure: str,
        begin: Callable[[int, int | None, float | None], Watch],
    ) -> int | None:
        found = self.get(pty)
        seconds = _seconds(timeout)
        until = None if seconds is None else time.monotonic() + seconds
        try:
            watch, sight = observe(
                self.path,
                found["pty_id"],
                "now" if start is None else start,
                lambda offset: begin(offset, found["pid"], until),
                self._policy,
            )
        except TimeIsUpError:
            raise WaitTimeoutError(f"PTY {word_for(pty)} {failure}", seconds or 0) from None
        return None if isinstance(sight, Exit) else watch.offset

    def _keep(self, made: Closing | PtyExpect) -> None:
        """Have `made` closed with this client."""
        with self._made_lock:
            self._made.add(made)


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


def _seconds(timeout: float | str | None) -> float | None:
    return None if timeout is None else given.seconds("timeout", timeout)
