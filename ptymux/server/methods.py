"""The methods that clients can call: one short function for each, from parameters to result.

`protocol/PROTOCOL.md` documents the methods and their parameters.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from ptymux import __version__
from ptymux.core.bus import MissedEvents
from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.lifecycle import check_state, is_in_state
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
from ptymux.link.launch import Installation
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.caller import own_limits, world_of
from ptymux.protocol.messages import MOST_PASSED_FDS, decode_payload
from ptymux.protocol.params import Params, payload_size
from ptymux.server.attach_method import attach
from ptymux.server.client_connection import ClientConnection
from ptymux.server.method_call import Method, MethodCall, MethodReply

__all__ = ["METHODS"]

_PAGE_BYTES: Final = 256 * 1024
_LONGEST_REQUEST: Final = 64  # characters of its id


async def spawn(call: MethodCall) -> Mapping[str, Any]:
    """Start a command; its arguments, environment, directory and stdin came with the request."""
    payload_size(call.params)  # a payload that is refused was not read
    payload, fds = call.connection.take_payload(), call.connection.take_fds()
    with ExitStack() as held:
        for fd in fds:
            held.callback(os.close, fd)
        options = _spawn_options(call, payload, fds)
        removes = call.params.flag("remove") or options.ttl_seconds == 0
        if removes:
            options = replace(options, ttl_seconds=None)
        hangs_up, attaches = call.params.flag("hangup"), call.params.flag("attaches")
        record = await call.manager.spawn_once(
            _request(call.params),
            options,
            owned=hangs_up,
            watched=attaches,
            replaces=call.params.flag("replace"),
            removes=removes,
            held=held,
        )
        pty = call.manager.describe(record.pty_id)
        if hangs_up:
            call.connection.owned.add(record.pty_id)
        if attaches:
            call.manager.keep_for(record.pty_id, call.connection.task)
        if removes:
            # A PTY that ends at once must still be there when its client attaches.
            until = call.connection.task if attaches else None
            call.manager.remove_when_gone(record.pty_id, until)
        if not call.params.flag("wants_differences"):
            return {"pty": pty}
        return {"pty": pty, "differences": call.differences()}


def _request(params: Params) -> CorrelationId | None:
    """Return the id of a request that its client may repeat; None if it has none."""
    request = params.optional_text("request", longest=_LONGEST_REQUEST)
    if request is None:
        return None
    if not (request.isascii() and request.isidentifier()):
        raise InvalidValueError("request", request, "letters, digits and underscores")
    return CorrelationId(request)


def _spawn_options(call: MethodCall, payload: bytes, fds: Sequence[int]) -> PassedOptions:
    params = call.params
    world = world_of(call.connection.pid) if call.connection.pid else None
    argv, env = decode_payload(
        payload, params.number("argc", 1, 1 << 20), params.number("envc", 0, 1 << 20)
    )
    has_stdin = params.flag("has_stdin")
    first = 1 + has_stdin
    passed = params.numbers("pass_fds", 3, (1 << 31) - 1, MOST_PASSED_FDS)
    if len(fds) != first + len(passed):
        expected = "a directory, a stdin if it has one, and those of pass_fds"
        raise InvalidValueError("fds", len(fds), expected)
    session, terminal = params.optional_text("session"), params.optional_text("terminal")
    return PassedOptions(
        argv=tuple(argv),
        env=env,
        overrides=params.texts("overrides"),
        cwd=os.readlink(f"/proc/self/fd/{fds[0]}"),
        cwd_fd=fds[0],
        caller=None if world is None else world.as_json(),
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
        timeout_seconds=params.real("timeout", default=0.0),
        ttl_seconds=params.optional_real("ttl"),
        plain_output=params.flag("plain_output"),
        echo=params.flag("echo", default=True),
        keep_term=params.flag("keep_term"),
        stdin_fd=fds[1] if has_stdin else None,
        pass_fds=dict(zip(passed, fds[first:], strict=True)),
    )


async def list_ptys(call: MethodCall) -> Mapping[str, Any]:
    """Return PTYs a page at a time: the live ones, with `unseen` also failures, or all."""
    lane, session = call.params.optional_text("lane"), call.params.optional_text("session")
    state, everything = call.params.optional_text("state"), call.params.flag("all")
    if state:
        check_state(state)
    after, unseen = call.params.number("after", default=0), call.params.flag("unseen")
    chosen: list[dict[str, Any]] = []
    ended = size = 0
    following: int | None = None
    # A replacement server has them in another order, and the next page begins after a number.
    for record in sorted(call.manager.list(), key=lambda record: record.number):
        await call.pause()
        if not call.manager.knows(record.pty_id):
            continue  # it was removed meanwhile
        if (lane and record.lane_id != lane) or (session and record.session_id != session):
            continue
        is_wanted = everything or state or record.state not in ENDED_STATES
        if not is_wanted and not (unseen and call.manager.is_unseen_failure(record.pty_id)):
            ended += 1
            continue
        if record.number <= after or following is not None:
            continue
        pty = call.manager.describe(record.pty_id)
        if state and not is_in_state(state, record.state, pty["shown"]):
            continue
        size += 1200 + 12 * sum(map(len, pty["command"]))
        if size > _PAGE_BYTES and chosen:
            following = chosen[-1]["number"]
            continue
        chosen.append(pty)
    return {"ptys": chosen, "ended": ended, "next": following}


async def get(call: MethodCall) -> Mapping[str, Any]:
    """Return one PTY; with `look` somebody looks at it, so that a failure is not news any more."""
    record = _reading(call)
    if call.params.flag("look"):
        call.manager.note_looked_at(record.pty_id)
    return {"pty": call.manager.describe(record.pty_id)}


async def stats(call: MethodCall) -> Mapping[str, Any]:
    """Return one PTY with its history and its signals."""
    record = _reading(call)
    call.manager.note_looked_at(record.pty_id)
    return {"pty": call.manager.describe(record.pty_id, full=True)}


async def launch(call: MethodCall) -> Mapping[str, Any]:
    """Return how a PTY was started, with its environment, to start the same again."""
    record = call.manager.find(call.params.text("pty"), past_names=True)
    return {
        "pty": call.manager.describe(record.pty_id),
        "launch": call.manager.launch(record.pty_id),
    }


async def attach_reader(call: MethodCall) -> MethodReply:
    """Attach a reader, with a lifeline if asked for; then the connection carries frames."""
    record = _reading(call)
    reply = await attach(call, record)
    call.manager.note_looked_at(record.pty_id)
    return reply


async def send(call: MethodCall) -> MethodReply:
    """Return a lifeline for input, and the offset of the output before it."""
    record = _named(call)
    lifeline = await call.manager.open_input(record.pty_id)
    with lifeline:
        pty = call.manager.describe(record.pty_id)
        canonical = await call.manager.is_canonical(record.pty_id)
        offset, modes = call.manager.modes(record.pty_id)
        result = {"pty": pty, "offset": offset, "canonical": canonical, "modes": modes}
        return MethodReply(result, fd=lifeline.detach())


async def resize(call: MethodCall) -> Mapping[str, Any]:
    """Set a terminal's size."""
    size = WindowSize(call.params.number("cols"), call.params.number("rows"))
    record = await call.manager.resize(_named(call).pty_id, size)
    return {"pty": call.manager.describe(record.pty_id)}


async def signal(call: MethodCall) -> Mapping[str, Any]:
    """Send a signal; return an envelope for each delivery."""
    envelopes = await call.manager.signal(
        _named(call).pty_id, call.params.text("signal"), session=call.params.flag("session")
    )
    return {"envelopes": [envelope.as_json() for envelope in envelopes]}


async def kill(call: MethodCall) -> Mapping[str, Any]:
    """End PTYs; return once they are gone and their names are free."""
    grace = call.params.optional_real("grace")
    records = await _several(call, live_only=True)
    describers = [call.manager.describer(record.pty_id) for record in records]
    enders = [call.manager.ender(record.pty_id) for record in records]
    terminations = (call.manager.terminate(r.pty_id, grace_seconds=grace) for r in records)
    for outcome in await asyncio.gather(*terminations, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    told = (ender() for ender in enders)
    survivors = [each for each in told if each["left"] or each["escaped"]]
    ended = []
    for describe in describers:
        ended.append(describe())
        await call.pause()
    return {"ptys": ended, "survivors": survivors}


async def remove(call: MethodCall) -> Mapping[str, Any]:
    """Remove ended PTYs; none of them if one of them lives."""
    records = await _several(call, live_only=False)
    if call.params.flag("all"):
        records = [r for r in records if call.manager.is_gone(r.pty_id)]
    for record in records:
        call.manager.check_ended(record.pty_id)
    for record in records:
        await call.pause()
        if call.manager.knows(record.pty_id):  # else somebody removed it meanwhile
            await call.manager.wait_gone(record.pty_id)  # its terminal may be open for a moment
            call.manager.remove(record.pty_id)
    return {"removed": [record.pty_id for record in records]}


async def detach(call: MethodCall) -> Mapping[str, Any]:
    """Have the terminals of PTYs detach; return how many they are."""
    records = await _several(call, live_only=True)
    send_away, by = call.manager.send_away, call.connection.pid
    return {"detached": sum(send_away(record.pty_id, by=by) for record in records)}


async def rename(call: MethodCall) -> Mapping[str, Any]:
    """Give a live PTY another name."""
    record = call.manager.rename(_named(call).pty_id, call.params.text("name"))
    return {"pty": call.manager.describe(record.pty_id)}


async def set_(call: MethodCall) -> Mapping[str, Any]:
    """Change what happens when a ring is full."""
    on_full = OnFull(call.params.choice("on_full", [choice.value for choice in OnFull]))
    return {"offset": call.manager.set_on_full(_named(call).pty_id, on_full)}


async def clear(call: MethodCall) -> Mapping[str, Any]:
    """Discard a PTY's retained output."""
    record = _named(call)
    call.manager.clear(record.pty_id)
    return {"pty": call.manager.describe(record.pty_id)}


async def times(call: MethodCall) -> Mapping[str, Any]:
    """Return when a PTY's output came."""
    return call.manager.times(_reading(call).pty_id).as_json()


async def wait(call: MethodCall) -> Mapping[str, Any]:
    """Return once a PTY has exited, is gone, or is in a state."""
    record = _reading(call)
    describe = call.manager.describer(record.pty_id)
    until = call.params.choice("until", ["exit", "gone", "state"], default="exit")
    if until == "exit":
        await call.manager.wait_exited(record.pty_id)
    elif until == "gone":
        await call.manager.wait_gone(record.pty_id)
    else:
        await _wait_state(call, record, check_state(call.params.text("state")), describe)
    call.manager.note_looked_at(record.pty_id)
    return {"pty": describe()}


async def _wait_state(
    call: MethodCall, record: PtyRecord, wanted: str, describe: Callable[[], dict[str, Any]]
) -> None:
    def is_there() -> bool:
        now = describe()
        return is_in_state(wanted, now["state"], now["shown"])

    with call.manager.subscribe(pty_id=record.pty_id) as stream:
        events = aiter(stream)
        while not is_there():
            if call.manager.is_gone(record.pty_id):
                never = f"it never was {wanted}"
                shown, called = describe()["shown"], record.called
                state = describe()["state"]
                raise InvalidStateError(record.pty_id, state, never, called=called, shown=shown)
            await anext(events)


async def events(call: MethodCall) -> MethodReply:
    """Send the events after a seq; with `follow` those to come as well."""
    since = call.params.optional_number("since", 0, 1 << 62)
    chosen = call.params.choices("topics", [topic.value for topic in Topic])
    topics = [Topic(name) for name in chosen] or None
    pty = call.params.optional_text("pty")
    pty_id = None if pty is None else call.manager.find(pty, prefixes=True).pty_id
    follow = call.params.flag("follow")
    stream = call.manager.subscribe(topics, pty_id=pty_id)
    now = call.manager.last_seq
    missed, _oldest = call.manager.events_since(now if since is None else since, 1)

    async def send_all() -> None:
        with stream:
            async for event in _past(call.manager, now if since is None else since + missed, now):
                await call.pause()
                if isinstance(event, MissedEvents) or stream.wants(event):
                    await _notify(call.connection, event)
            if follow:
                async for event_or_gap in stream:
                    await call.pause()
                    await _notify(call.connection, event_or_gap)
        await call.connection.notify("end", {})

    result = {"missed": missed, "epoch": call.manager.epoch, "last_seq": now}
    return MethodReply(result, upgrade=send_all, undo=stream.close)


async def _past(
    manager: ServerManager, seq: int, until: int
) -> AsyncIterator[EventEnvelope | MissedEvents]:
    """Yield the kept events after `seq` up to `until`, read in pages: the client may be slow."""
    while seq < until:
        missed, page = manager.events_since(seq, Limits.EVENT_PAGE)
        if missed:  # the log dropped them while the client read
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


async def status(call: MethodCall) -> Mapping[str, Any]:
    """Return the numbers of the server itself, and how it differs from who asks."""
    return {
        **call.server.status(),
        "differences": call.differences(),
        "limited": own_limits(),
        "unended": call.manager.unended(),
    }


async def shutdown(call: MethodCall) -> Mapping[str, Any]:
    """End the server and its keeper; with `force` all live PTYs, too."""
    live, force = call.manager.live_count, call.params.flag("force")
    if live and not force:
        raise PtymuxError(
            f"{live} PTY{' is' if live == 1 else 's are'} live; --force ends all of them"
        )
    call.server.stop_soon()
    return {"live": live}


async def restart(call: MethodCall) -> Mapping[str, Any]:
    """Replace the keeper, then the server; the PTYs stay."""
    python = call.params.optional_text("python")
    folder = call.params.optional_text("folder")
    installation = Installation(python, folder) if python and folder else None
    await call.server.restart(installation)
    return {"server_pid": os.getpid(), "server": __version__}


METHODS: Final[Mapping[str, Method]] = {
    "spawn": spawn,
    "list": list_ptys,
    "get": get,
    "stats": stats,
    "launch": launch,
    "attach": attach_reader,
    "send": send,
    "resize": resize,
    "signal": signal,
    "kill": kill,
    "remove": remove,
    "detach": detach,
    "rename": rename,
    "set": set_,
    "clear": clear,
    "times": times,
    "wait": wait,
    "events": events,
    "status": status,
    "shutdown": shutdown,
    "restart": restart,
}


def _named(call: MethodCall) -> PtyRecord:
    return call.manager.find(call.params.text("pty"))


def _reading(call: MethodCall) -> PtyRecord:
    return call.manager.find(call.params.text("pty"), prefixes=True)


async def _several(call: MethodCall, *, live_only: bool) -> list[PtyRecord]:
    """Return the PTYs that are named, or those of a lane, or all."""
    names, lane = call.params.texts_list("ptys"), call.params.optional_text("lane")
    if names:
        found: dict[PtyRecord, None] = {}
        for name in dict.fromkeys(names):
            found[call.manager.find(name, past_names=not live_only)] = None
            await call.pause()
        return [record for record in found if call.manager.knows(record.pty_id)]
    if not (lane or call.params.flag("all")):
        raise InvalidValueError("ptys", [], "at least one, or a lane, or all")
    records = call.manager.get_by_lane(LaneId(lane)) if lane else call.manager.list()
    return [r for r in records if not live_only or not call.manager.is_gone(r.pty_id)]
