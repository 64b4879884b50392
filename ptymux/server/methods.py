"""What clients can ask for: one short function per method, from parameters to result.

The methods and their parameters are documented in `protocol/PROTOCOL.md`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ptymux import __version__
from ptymux.core.bus import MissedEvents
from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.model import (
    DEFAULT_BUFFER,
    DEFAULT_GRACE_SECONDS,
    DEFAULT_IDLE_SECONDS,
    DEFAULT_LANE,
    DEFAULT_THRESHOLD,
    ENDED_STATES,
    CorrelationId,
    LaneId,
    Limits,
    OnFull,
    PtyRecord,
    SessionId,
    TerminalId,
    WindowSize,
)
from ptymux.errors import InvalidStateError, InvalidValueError, PtymuxError
from ptymux.handover.wire import PassedOptions
from ptymux.protocol.messages import decode_payload
from ptymux.protocol.params import Params, payload_size
from ptymux.server.attach_method import attach
from ptymux.server.client_connection import ClientConnection
from ptymux.server.reply import Answer

if TYPE_CHECKING:
    from ptymux.server.app import App

__all__ = ["COMMANDS"]

_PAGE_BYTES: Final = 256 * 1024
_LONGEST_REQUEST: Final = 64  # characters of its id


async def spawn(app: App, connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Start a command; its arguments, environment, directory and stdin came with the request."""
    payload_size(params)  # one that is refused was not read
    payload, fds = connection.take_payload(), connection.take_fds()
    try:
        options = _spawn_options(params, payload, fds)
        hangs_up = params.flag("hangup")
        record = await app.manager.spawn_once(_request(params), options, owned=hangs_up)
        told = app.describe(record.pty_id)
        if hangs_up:
            connection.owned.add(record.pty_id)
        if params.flag("remove"):
            # One that ends at once has to be there still when its client attaches.
            until = connection.task if params.flag("attaches") else None
            app.manager.remove_when_gone(record.pty_id, until)
        return {"pty": told}
    finally:
        for fd in fds:
            os.close(fd)


def _request(params: Params) -> CorrelationId | None:
    """Return the id of a request that its client may make again."""
    request = params.optional_text("request", longest=_LONGEST_REQUEST)
    if request is None:
        return None
    if not (request.isascii() and request.isidentifier()):
        raise InvalidValueError("request", request, "letters, digits and underscores")
    return CorrelationId(request)


def _spawn_options(params: Params, payload: bytes, fds: Sequence[int]) -> PassedOptions:
    argv, env = decode_payload(
        payload, params.number("argc", 1, 1 << 20), params.number("envc", 0, 1 << 20)
    )
    has_stdin = params.flag("has_stdin")
    if len(fds) != 1 + has_stdin:
        raise InvalidValueError("fds", len(fds), "a directory, and a stdin if it has one")
    session, terminal = params.optional_text("session"), params.optional_text("terminal")
    return PassedOptions(
        argv=tuple(argv),
        env=env,
        overrides=params.texts("overrides"),
        cwd=os.readlink(f"/proc/self/fd/{fds[0]}"),
        cwd_fd=fds[0],
        umask=params.optional_number("umask", 0, 0o777),
        nofile=params.optional_number("nofile", 0, 1 << 30),
        size=WindowSize(params.number("cols", default=80), params.number("rows", default=24)),
        name=params.optional_text("name"),
        lane=LaneId(params.text("lane", default=DEFAULT_LANE)),
        session=None if session is None else SessionId(session),
        terminal=None if terminal is None else TerminalId(terminal),
        buffer_size=params.number("buffer_size", default=DEFAULT_BUFFER),
        threshold=params.real("threshold", default=DEFAULT_THRESHOLD),
        on_full=OnFull(params.choice("on_full", [o.value for o in OnFull], default="drop")),
        idle_timeout_seconds=params.real("idle_timeout", default=DEFAULT_IDLE_SECONDS),
        grace_seconds=params.real("grace", default=DEFAULT_GRACE_SECONDS),
        plain_output=params.flag("plain_output"),
        keep_term=params.flag("keep_term"),
        stdin_fd=fds[1] if has_stdin else None,
    )


async def list_ptys(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """List PTYs, live ones unless all are asked for, a page at a time."""
    lane, session = params.optional_text("lane"), params.optional_text("session")
    state, everything = params.optional_text("state"), params.flag("all")
    after = params.number("after", default=0)
    chosen: list[dict[str, Any]] = []
    ended = size = 0
    following: int | None = None
    # A server that took over knows them in another order, and a page begins after a number.
    for record in sorted(app.manager.list(), key=lambda record: record.number):
        if (lane and record.lane_id != lane) or (session and record.session_id != session):
            continue
        if record.state in ENDED_STATES and not everything and not state:
            ended += 1
            continue
        if record.number <= after or following is not None:
            continue
        told = app.describe(record.pty_id)
        if state and state not in (record.state, told["shown"]):
            continue
        size += 1200 + 12 * sum(map(len, told["command"]))
        if size > _PAGE_BYTES and chosen:
            following = chosen[-1]["number"]
            continue
        chosen.append(told)
    return {"ptys": chosen, "ended": ended, "next": following}


async def get(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Return one PTY."""
    return {"pty": app.describe(_reading(app, params).pty_id)}


async def stats(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Return one PTY with its history and its signals."""
    return {"pty": app.describe(_reading(app, params).pty_id, full=True)}


async def attach_reader(
    app: App, connection: ClientConnection, params: Params
) -> Mapping[str, Any]:
    """Attach a reader, and a lifeline if input is wanted; frames follow."""
    return await attach(app, connection, _reading(app, params), params)


async def send(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Return a lifeline for input, and where the output stands before it."""
    record = _named(app, params)
    lifeline = await app.manager.open_input(record.pty_id)
    with lifeline:
        told = app.describe(record.pty_id)
        canonical = await app.manager.is_canonical(record.pty_id)
        reply = Answer(pty=told, offset=told["buffer"]["total_written"], canonical=canonical)
        reply.fd = lifeline.detach()
    return reply


async def resize(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Set a terminal's size."""
    size = WindowSize(params.number("cols"), params.number("rows"))
    record = await app.manager.resize(_named(app, params).pty_id, size)
    return {"pty": app.describe(record.pty_id)}


async def signal(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Send a signal; an envelope for each delivery."""
    envelopes = await app.manager.signal(
        _named(app, params).pty_id, params.text("signal"), session=params.flag("session")
    )
    return {"envelopes": [envelope.as_json() for envelope in envelopes]}


async def kill(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """End PTYs; the reply comes when they are gone and their names free."""
    grace = params.optional_real("grace")
    records = _several(app, params, live_only=True)
    describers = [app.manager.describer(record.pty_id) for record in records]
    terminations = (app.manager.terminate(r.pty_id, grace_seconds=grace) for r in records)
    for outcome in await asyncio.gather(*terminations, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    return {"ptys": [publish() for publish in describers]}


async def remove(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Forget ended PTYs; with one that lives among them, nothing is done."""
    records = _several(app, params, live_only=False)
    if params.flag("all"):
        records = [r for r in records if app.manager.is_gone(r.pty_id)]
    for record in records:
        if not app.manager.is_gone(record.pty_id):
            raise InvalidStateError(record.pty_id, record.state, "end it first, with `ptymux kill`")
    for record in records:
        app.manager.remove(record.pty_id)
    return {"removed": [record.pty_id for record in records]}


async def rename(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Give a live PTY another name."""
    record = app.manager.rename(_named(app, params).pty_id, params.text("name"))
    return {"pty": app.describe(record.pty_id)}


async def set_(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Change what happens when a ring is full."""
    on_full = OnFull(params.choice("on_full", [choice.value for choice in OnFull]))
    return {"offset": app.manager.set_on_full(_named(app, params).pty_id, on_full)}


async def clear(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Throw a PTY's retained output away."""
    record = _named(app, params)
    app.manager.clear(record.pty_id)
    return {"pty": app.describe(record.pty_id)}


async def wait(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Return when a PTY has exited, is gone, or is in a state."""
    record = _reading(app, params)
    publish = app.manager.describer(record.pty_id)
    until = params.choice("until", ["exit", "gone", "state"], default="exit")
    if until == "exit":
        await app.manager.wait_exited(record.pty_id)
    elif until == "gone":
        await app.manager.wait_gone(record.pty_id)
    else:
        await _wait_state(app, record, params.text("state"), publish)
    return {"pty": publish()}


async def _wait_state(
    app: App, record: PtyRecord, wanted: str, publish: Callable[[], dict[str, Any]]
) -> None:
    def is_there() -> bool:
        now = publish()
        return wanted in (now["state"], now["shown"])

    with app.manager.subscribe(pty_id=record.pty_id) as stream:
        told = aiter(stream)
        while not is_there():
            if app.manager.is_gone(record.pty_id):
                raise InvalidStateError(record.pty_id, publish()["state"], f"it never was {wanted}")
            await anext(told)


async def events(app: App, connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """Send the events since a seq, then, if asked for, those to come."""
    since = params.optional_number("since", 0, 1 << 62)
    topics = [Topic(t) for t in params.choices("topics", [topic.value for topic in Topic])] or None
    pty = params.optional_text("pty")
    pty_id = None if pty is None else app.manager.find(pty, prefixes=True).pty_id
    follow = params.flag("follow")
    stream = app.manager.subscribe(topics, pty_id=pty_id)
    now = app.manager.last_seq
    missed, _oldest = app.manager.events_since(now if since is None else since, 1)

    async def publish() -> None:
        with stream:
            async for event in _past(app, now if since is None else since + missed, now):
                if isinstance(event, MissedEvents) or stream.wants(event):
                    await _notify(connection, event)
            if follow:
                async for event_or_gap in stream:
                    await _notify(connection, event_or_gap)
        await connection.notify("end", {})

    reply = Answer(missed=missed, epoch=app.manager.epoch, last_seq=now)
    reply.then = publish
    reply.undo = stream.close
    return reply


async def _past(app: App, seq: int, until: int) -> AsyncIterator[EventEnvelope | MissedEvents]:
    """Give the events after `seq` up to `until`, some at a time: who takes them may be slow."""
    while seq < until:
        missed, page = app.manager.events_since(seq, Limits.EVENT_PAGE)
        if missed:  # they went while the client took its time
            yield MissedEvents(min(missed, until - seq))
        for event in page:
            if event.seq is not None and event.seq <= until:
                yield event
        seq += missed + len(page)


async def _notify(connection: ClientConnection, event: EventEnvelope | MissedEvents) -> None:
    if isinstance(event, MissedEvents):
        await connection.notify("missed", {"count": event.count})
    else:
        await connection.notify("event", event.as_json())


async def status(app: App, _connection: ClientConnection, _params: Params) -> Mapping[str, Any]:
    """Return what the server knows of itself."""
    return app.status()


async def shutdown(app: App, _connection: ClientConnection, params: Params) -> Mapping[str, Any]:
    """End the server and its keeper, with all PTYs if `force` says so."""
    live, force = app.manager.live_count, params.flag("force")
    if live and not force:
        raise PtymuxError(
            f"{live} PTY{' is' if live == 1 else 's are'} live; --force ends all of them"
        )
    app.stop_soon()
    return {"live": live}


async def restart(app: App, _connection: ClientConnection, _params: Params) -> Mapping[str, Any]:
    """Put another keeper, then another server in the place of these; the PTYs stay."""
    await app.replace_keeper()
    app.leave_soon()
    return {"server_pid": os.getpid(), "server": __version__}


COMMANDS: Final[
    Mapping[str, Callable[[App, ClientConnection, Params], Awaitable[Mapping[str, Any]]]]
] = {
    "spawn": spawn,
    "list": list_ptys,
    "get": get,
    "stats": stats,
    "attach": attach_reader,
    "send": send,
    "resize": resize,
    "signal": signal,
    "kill": kill,
    "remove": remove,
    "rename": rename,
    "set": set_,
    "clear": clear,
    "wait": wait,
    "events": events,
    "status": status,
    "shutdown": shutdown,
    "restart": restart,
}


def _named(app: App, params: Params) -> PtyRecord:
    return app.manager.find(params.text("pty"))


def _reading(app: App, params: Params) -> PtyRecord:
    return app.manager.find(params.text("pty"), prefixes=True)


def _several(app: App, params: Params, *, live_only: bool) -> list[PtyRecord]:
    """Return the PTYs that are named, or those of a lane, or all."""
    names, lane = params.texts_list("ptys"), params.optional_text("lane")
    if names:
        past = not live_only
        return list(dict.fromkeys(app.manager.find(name, past_names=past) for name in names))
    if not (lane or params.flag("all")):
        raise InvalidValueError("ptys", [], "at least one, or a lane, or all")
    found = app.manager.get_by_lane(LaneId(lane)) if lane else app.manager.list()
    return [r for r in found if not live_only or not app.manager.is_gone(r.pty_id)]
