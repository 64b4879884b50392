"""Gets the dashboard its samples and events from a server, without ever waiting for a reply.

Each connection carries one kind of request, as a server answers in order and `kill` may take
long: one for samples, one for events, one for each action.
"""

from __future__ import annotations

import selectors
import shlex
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ptymux.client.listing import Listing
from ptymux.client.server_connection import HELLO_SECONDS, ServerConnection, socket_path
from ptymux.core.windows import Windows
from ptymux.errors import (
    ConnectionClosedError,
    InvalidValueError,
    LimitReachedError,
    NoServerError,
    PtymuxError,
    UnreachableError,
)
from ptymux.protocol.messages import Failure, Notification, Reply
from ptymux.protocol.session import ClientSession
from ptymux.tui.choice import Call
from ptymux.tui.pty_samples import Model
from ptymux.tui.recent_events import TOPICS, News

__all__ = ["NO_PTYS", "Source", "last_events"]

_PATIENCE_SECONDS: Final = 3.0  # for which rows outlive the server that had them
_PAST: Final = 200  # events that were before we came
_READ: Final = 256 * 1024

NO_PTYS: Final = "no PTYs; `ptymux run -d COMMAND` starts one"

_Answer = Reply | Failure | Notification


class Channel:
    """A connection that is never waited for: its answers are taken when they are here."""

    def __init__(self, connection: ServerConnection) -> None:
        self._sock, piece = connection.upgrade()
        self._sock.setblocking(False)
        self._session = ClientSession()
        self._session.feed(piece)

    def fileno(self) -> int:
        """Return the fd to wait for."""
        return self._sock.fileno()

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    def ask(self, method: str, **params: object) -> None:
        """Send a request; raises ConnectionClosedError when nobody takes it."""
        (request,) = self._session.request(method, params)
        try:
            sent = self._sock.send(request.data, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise ConnectionClosedError("the server takes no request") from error
        if sent < len(request.data):
            raise ConnectionClosedError("the server takes no more requests")

    def answers(self) -> list[_Answer]:
        """Return the answers that are here and were not returned before.

        Raises:
            ConnectionClosedError: the server has closed the connection, and all was returned.
            ProtocolError: it sent something that is no answer.
        """
        try:
            piece = self._sock.recv(_READ)
        except BlockingIOError:
            return self._take()
        except OSError:
            piece = b""
        if not piece:
            raise ConnectionClosedError("the server closed the connection")
        self._session.feed(piece)
        return self._take()

    def _take(self) -> list[_Answer]:
        return list(iter(self._session.next_answer, None))


class Source:
    """Keeps a model and the news up to date, also when the server is replaced by another one.

    `on_change` is called when there is something new to draw, `on_message` with how an action
    ended.
    """

    def __init__(
        self,
        path: str,
        selector: selectors.BaseSelector,
        model: Model,
        news: News,
        on_change: Callable[[], None],
        on_message: Callable[[str], None],
        windows: Windows,
    ) -> None:
        self._path = path
        self._windows = windows
        self._selector = selector
        self._model = model
        self._news = news
        self._on_change = on_change
        self._on_message = on_message
        self._samples: Channel | None = None
        self._events: Channel | None = None
        self._actions: dict[Channel, Call] = {}
        self._listing = Listing(all=True)  # the sample on its way
        self._asked_at: float | None = None  # when, if no answer came yet
        self._lost_at = float("-inf")
        self._takes_all = False  # events, as the server is older and has fewer topics
        self._epoch = ""
        self.trouble = "connecting"  # what is wrong with the server; nothing when all is well
        self.samples_taken = 0

    def close(self) -> None:
        """End all connections."""
        for channel in [self._samples, self._events, *self._actions]:
            if channel is not None:
                self._drop(channel)
        self._samples = self._events = None
        self._actions.clear()

    @property
    def hint(self) -> str:
        """What to do when there are no PTYs."""
        if self.trouble == "no server":
            no_ptys = f"no server runs at {self._path}; {NO_PTYS.partition('; ')[2]}"
        else:
            no_ptys = "" if self.trouble else NO_PTYS
        if self._path == socket_path():
            return no_ptys
        return no_ptys.replace("`ptymux ", f"`ptymux --socket {shlex.quote(self._path)} ")

    def tick(self) -> None:
        """Ask for the next sample, of another server if need be."""
        if self._samples is None:
            self._connect()
        if self._samples is None:
            return
        if self._asked_at is None:
            self._begin_sample()
        elif time.monotonic() - self._asked_at > self._windows.no_answer:
            self._say_trouble("no answer")

    def act(self, call: Call) -> None:
        """Ask the server for an action; `on_message` gets how it ended."""
        try:
            channel = Channel(ServerConnection(self._path, self._windows.hello))
        except PtymuxError as error:
            self._on_message(str(error))
            return
        self._actions[channel] = call
        self._watch(channel, self._read_action)
        self._on_message(call.doing)
        try:
            channel.ask(call.method, **call.params)
        except PtymuxError as error:
            self._end_action(channel, str(error))

    # Connections -----------------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            connection = ServerConnection(self._path, self._windows.hello)
            epoch = connection.server.get("epoch", "")
            self._samples = Channel(connection)
            self._watch(self._samples, self._read_sample)
            try:
                self._follow(str(epoch))
            except LimitReachedError as error:
                self._do_without_events(error)
        except (NoServerError, ConnectionClosedError):
            self._lose("no server")
        except UnreachableError:
            self._lose("no answer")
        except LimitReachedError as error:
            self._lose(str(error))

    def _do_without_events(self, error: PtymuxError) -> None:
        """Go on with samples alone: as many listen to events as may."""
        self._on_message(f"no events: {error}")

    def _follow(self, epoch: str) -> None:
        if epoch != self._epoch:
            if self._epoch:
                self._news.forget()
            self._epoch = epoch
            last = last_events(self._path, 0, self._news, self._windows.hello)
            self._news.last_seq = max(0, last - _PAST)
        self._events = Channel(ServerConnection(self._path, self._windows.hello))
        self._watch(self._events, self._read_events)
        self._takes_all = False
        self._events.ask("events", since=self._news.last_seq, topics=TOPICS, follow=True)

    def _lose(self, trouble: str) -> None:
        """Go on without a server; rows stay for a while, as another one may have them soon."""
        for channel in (self._samples, self._events):
            if channel is not None:
                self._drop(channel)
        if self._samples is not None or self._lost_at == float("-inf"):
            self._lost_at = time.monotonic()
        self._samples = self._events = None
        self._asked_at = None
        if time.monotonic() - self._lost_at > _PATIENCE_SECONDS and self._model.rows:
            self._model.clear()
            self._on_change()
        self._say_trouble(trouble)

    def _say_trouble(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_change()

    def _watch(self, channel: Channel, on_readable: Callable[[Channel], None]) -> None:
        self._selector.register(channel, selectors.EVENT_READ, lambda: on_readable(channel))

    def _drop(self, channel: Channel) -> None:
        with suppress(KeyError):
            self._selector.unregister(channel)
        channel.close()

    # Answers ---------------------------------------------------------------------------------

    def _begin_sample(self) -> None:
        self._listing = Listing(all=True)
        self._asked_at = time.monotonic()
        self._ask_for_page()

    def _ask_for_page(self) -> None:
        assert self._samples is not None
        assert self._listing.request is not None
        try:
            self._samples.ask("list", **self._listing.request)
        except ConnectionClosedError:
            self._lose("no server")

    def _read_sample(self, channel: Channel) -> None:
        try:
            for answer in channel.answers():
                if isinstance(answer, Failure):
                    raise answer.error
                if isinstance(answer, Reply):
                    self._take_page(answer.result)
        except ConnectionClosedError:
            self._lose("no server")

    def _take_page(self, result: dict[str, Any]) -> None:
        self._listing.take(result)
        if self._listing.request is not None:
            self._ask_for_page()
            return
        self._asked_at = None
        self._model.take(self._listing.ptys, time.monotonic())
        self.trouble = ""
        self.samples_taken += 1
        self._on_change()

    def _read_events(self, channel: Channel) -> None:
        try:
            for answer in channel.answers():
                if isinstance(answer, Notification):
                    _take_news(answer, self._news)
                elif isinstance(answer, Failure):
                    self._ask_again(channel, answer.error)
            self._on_change()
        except ConnectionClosedError:  # the other one says so, too, and then both begin again
            self._lose("no server")

    def _ask_again(self, channel: Channel, error: PtymuxError) -> None:
        """Ask a server for all its events if it does not know some that we asked for."""
        if isinstance(error, InvalidValueError) and not self._takes_all:
            self._takes_all = True
            channel.ask("events", since=self._news.last_seq, follow=True)
        else:
            self._do_without_events(error)

    def _read_action(self, channel: Channel) -> None:
        try:
            for answer in channel.answers():
                if isinstance(answer, Failure):
                    self._end_action(channel, str(answer.error))
                elif isinstance(answer, Reply):
                    self._end_action(channel, _outcome(self._actions[channel], answer.result))
        except PtymuxError as error:
            self._end_action(channel, str(error))

    def _end_action(self, channel: Channel, message: str) -> None:
        self._drop(channel)
        self._actions.pop(channel, None)
        self._on_message(message)
        self.tick()  # what was done is to be seen


def _outcome(call: Call, result: dict[str, Any]) -> str:
    for envelope in result.get("envelopes") or ():
        if envelope.get("outcome") == "failed":
            return f"{call.doing} failed: {envelope.get('error')}"
    return call.done


def _take_news(notification: Notification, news: News) -> None:
    if notification.method == "event":
        news.take(notification.params)
    elif notification.method == "missed":
        news.take_missed(notification.params.get("count", 0))


def last_events(path: str, count: int, news: News, timeout: float = HELLO_SECONDS) -> int:
    """Add the last `count` events to `news`; return the number of the very last one.

    Raises:
        PtymuxError: as `ServerConnection`.
    """
    with ServerConnection(path, timeout, reply_timeout=timeout) as connection:
        last = int(_ask_for_events(connection).get("last_seq", 0))
    if count:
        with ServerConnection(path, timeout, reply_timeout=timeout) as connection:
            _ask_for_events(connection, since=max(0, last - count))
            for notification in connection.notifications():
                _take_news(notification, news)
    return last


def _ask_for_events(connection: ServerConnection, **params: object) -> dict[str, Any]:
    """Return the answer to a request for past events; of an older server for all that it has."""
    try:
        return connection.call("events", topics=TOPICS, follow=False, **params)
    except InvalidValueError:
        return connection.call("events", follow=False, **params)
