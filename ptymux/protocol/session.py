"""One connection as a machine without I/O: bytes and fds in, messages out, and the other way.

Both ends of a connection keep one, a `ClientSession` or a `ServerSession`. It cuts what arrives
into messages, gives each message the payload and the fds that came with it, and pairs requests with
their answers. Its driver has the socket. It feeds every piece as it was received, takes messages
until there is none, and sends what the session encodes.

An fd is a number here; nothing is closed. The fds of a message that is taken are its taker's, fds
to be sent stay their sender's. Of the others, which nobody asked for, `take_unasked_fds` returns
those that are known by now and `end` all: the driver closes them.

To which message do fds belong? They are sent with the first byte of a message or of its payload,
and the kernel never reads on behind the bytes that they were sent with. The piece that brings them
may begin with the end of earlier messages, but its last byte is one of their own message.
Source: unix(7), SCM_RIGHTS: "ancillary data forms a kind of barrier".
"""

from __future__ import annotations

from ptymux.errors import InvalidValueError, OutOfResourcesError, ProtocolError
from ptymux.protocol.lines import LineDecoder
from ptymux.protocol.messages import (
    MOST_PASSED_FDS,
    Failure,
    Notification,
    Reply,
    Request,
    decode_answer,
    decode_request,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)
from ptymux.protocol.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import ClassVar, Final

    from ptymux.errors import PtymuxError

__all__ = ["Outgoing", "ClientSession", "ServerSession"]

_MOST_BATCHES: Final = 8  # of fds, each received with one piece, that wait for their messages
_WITH_PAYLOAD: Final = "spawn"  # the method whose requests bring a payload and fds


class Outgoing(Value):
    """Bytes to send, and the fds to pass with the first of them, which stay the sender's."""

    __slots__ = ("data", "fds")

    def __init__(self, data: bytes, fds: Sequence[int] = ()) -> None:
        self.data = data
        self.fds = fds


class _Session:
    """The receiving half of either end: bytes and fds, held until a message is whole."""

    MOST_FDS: ClassVar[int]  # that one message may bring

    def __init__(self) -> None:
        self.ahead = 0  # bytes that were fed since the last time that more were needed
        self._lines = LineDecoder()
        self._fed = 0  # bytes in all
        # Fds, and the value of `_fed` behind the piece that brought them; None: some were lost.
        self._batches: list[tuple[int, tuple[int, ...] | None]] = []
        self._unasked: list[int] = []
        self._is_upgraded = False

    def feed(self, piece: bytes, fds: Sequence[int] = (), *, fds_lost: bool = False) -> None:
        """Add what one receive returned; `fds_lost`: the kernel could not pass all the fds.

        Raises:
            OutOfResourcesError: fds were lost; only a client's session raises it.
            ProtocolError: far more was fed than was taken.
        """
        self._fed += len(piece)
        self.ahead += len(piece)
        if fds or fds_lost:
            self._hold(fds, fds_lost=fds_lost)
        self._lines.feed(piece)

    def take_rest(self) -> bytes:
        """Return all bytes that were fed and not taken: the connection carries no more messages.

        Bytes that are fed later are returned by the next call; fds that come later are unasked.
        """
        self.ahead = 0
        if not self._is_upgraded:
            self._is_upgraded = True
            self._drop_fds(self._fed)
        return self._lines.take_rest()

    def take_unasked_fds(self) -> list[int]:
        """Return the fds that belong to no message, for the driver to close."""
        unasked, self._unasked = self._unasked, []
        return unasked

    def end(self) -> list[int]:
        """Return all fds that nobody has taken, for the driver to close: the connection is over."""
        self._drop_fds(self._fed)
        return self.take_unasked_fds()

    @property
    def _taken(self) -> int:
        """How many of all bytes were taken: where the message that was taken last has its end."""
        return self._fed - self._lines.held

    def _hold(self, fds: Sequence[int], *, fds_lost: bool) -> None:
        if self._is_upgraded:
            self._unasked += fds
            return
        if fds_lost:
            self._unasked += fds
        self._batches.append((self._fed, None if fds_lost else tuple(fds)))
        if len(self._batches) > _MOST_BATCHES:
            self._unasked += self._batches.pop()[1] or ()

    def _take_fds(self, end: int) -> list[int]:
        """Return the fds that came with the first `end` bytes of the connection."""
        fds: list[int] = []
        while self._batches and self._batches[0][0] <= end:
            fds += self._batches.pop(0)[1] or ()
        return fds

    def _drop_fds(self, end: int) -> None:
        self._unasked += self._take_fds(end)


class ClientSession(_Session):
    """A client's end of a connection; `server` names the other end in errors about its answers."""

    MOST_FDS = 8

    def __init__(self, server: str = "") -> None:
        super().__init__()
        self._server = server
        self._last_id = 0
        self._awaited: set[int | str | None] = set()  # ids of requests that were not answered

    def request(
        self,
        method: str,
        params: Mapping[str, object],
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> list[Outgoing]:
        """Return what to send, in this order, to ask for `method`; the fds go with the payload.

        Raises:
            ProtocolError: the request is longer than a line may be; nothing is to be sent.
        """
        self._last_id += 1
        line = encode_request(self._last_id, method, params)
        if not self._awaited:  # what is here came before this request, so not to answer it
            self._drop_fds(self._fed)
        self._awaited.add(self._last_id)
        return [Outgoing(line), Outgoing(payload, fds)] if payload else [Outgoing(line)]

    def next_answer(self) -> Reply | Failure | Notification | None:
        """Return the next answer or notification; None when none is whole yet.

        Answers to requests that were not made are skipped. A failure without an id is about the
        connection, which the server ends.

        Raises:
            ProtocolError: the server sent something else, or a line that is too long.
        """
        while (line := self._lines.next_line()) is not None:
            answer = self._decode(line)
            is_ours = self._is_ours(answer)
            if is_ours and not isinstance(answer, Notification):
                self._settle(answer)
            self._drop_fds(self._taken)
            if is_ours:
                return answer
        self.ahead = 0
        return None

    def _hold(self, fds: Sequence[int], *, fds_lost: bool) -> None:
        super()._hold(fds, fds_lost=fds_lost)
        if fds_lost:
            raise OutOfResourcesError("open files", "raise the limit with `ulimit -n`")

    def _is_ours(self, answer: Reply | Failure | Notification) -> bool:
        if isinstance(answer, Notification) or answer.id in self._awaited:
            return True
        return isinstance(answer, Failure) and answer.id is None

    def _settle(self, answer: Reply | Failure) -> None:
        """Note that a request was answered, and give a reply its fds."""
        self._awaited.discard(answer.id)
        if isinstance(answer, Reply):
            # While no other request is under way, all fds can only be those of this reply.
            end = self._taken if self._awaited else self._fed
            answer.fds = tuple(self._take_fds(end))

    def _decode(self, line: bytes) -> Reply | Failure | Notification:
        try:
            return decode_answer(line)
        except ProtocolError as error:
            if not self._server:
                raise
            reason = f"{self._server} does not speak as a ptymux server does: {error}"
            raise ProtocolError(reason, error.number) from None


class ServerSession(_Session):
    """A server's end of a connection: requests are answered in the order in which they came.

    It holds at most a line or a payload, and what is `ahead`, which its driver keeps small: it
    reads no more from a client that sends faster than it is answered.
    """

    MOST_FDS = 2 + MOST_PASSED_FDS  # of a spawn: a directory, a stdin, and what it passes
    MOST_HELD = 2 * MOST_FDS  # at a time: of a request, and of some that were sent ahead

    def __init__(self) -> None:
        super().__init__()
        self.version = 0  # of the protocol, once it is agreed on
        self._begun: Request | None = None  # its payload is not all here yet
        self._unanswered: list[int | str | None] = []  # ids of the requests that were taken

    def next_request(self) -> Request | None:
        """Return the next request with its payload and its fds; None when it is not all here yet.

        A spawn whose `payload_bytes` are wrong, or that comes before hello, has no payload. It has
        None for its fds when some of them were lost: it can be refused, the connection goes on.

        Raises:
            ProtocolError: a line is too long, or not a request. The connection is of no more use,
                and what was fed is forgotten.
        """
        try:
            request = self._begun or self._next_call()
        except ProtocolError:
            self.take_rest()
            raise
        if request is None or not self._add_payload(request):
            self._begun, self.ahead = request, 0
            return None
        self._begun = None
        self._unanswered.append(request.id)
        self._drop_fds(self._taken)
        return request

    def _hold(self, fds: Sequence[int], *, fds_lost: bool) -> None:
        held = sum(len(batch or ()) for _end, batch in self._batches)
        is_too_much = held + len(fds) > self.MOST_HELD
        # More than a request may bring do not fit into what the driver receives: no loss.
        is_lost = fds_lost and len(fds) < self.MOST_FDS
        super()._hold(fds, fds_lost=is_too_much or is_lost)

    def _next_call(self) -> Request | None:
        line = self._lines.next_line()
        return None if line is None else decode_request(line)

    def _add_payload(self, request: Request) -> bool:
        """Give a request its payload and its fds; False: they are not all here yet."""
        size = self._payload_size(request)
        if size is not None:
            payload = self._lines.take_payload(size)
            if payload is None:
                return False
            request.payload = payload
            # The first that are here: what came for earlier requests was dropped with these.
            request.fds = self._batches.pop(0)[1] if self._batches else ()
        return True

    def _payload_size(self, request: Request) -> int | None:
        if request.method != _WITH_PAYLOAD or not self.version:
            return None
        from ptymux.protocol.params import Params, payload_size  # late: no client needs them

        try:
            return payload_size(Params(request.params))
        except InvalidValueError:
            return None

    def result(self, result: Mapping[str, object], fds: Sequence[int] = ()) -> Outgoing:
        """Return the reply to the first request that was taken and not answered.

        Raises:
            ProtocolError: the result is too long, or cannot be expressed in JSON. The request is
                not answered yet, and can be refused.
        """
        line = encode_result(self._unanswered[0], result)
        del self._unanswered[0]
        return Outgoing(line, fds)

    def failure(self, error: PtymuxError) -> Outgoing:
        """Return the refusal of the first request that was taken and not answered.

        A ProtocolError is about the connection, which is to be ended once that is sent.
        """
        is_about_request = self._unanswered and not isinstance(error, ProtocolError)
        return Outgoing(encode_error(self._unanswered.pop(0) if is_about_request else None, error))

    def notification(self, method: str, params: Mapping[str, object]) -> Outgoing:
        """Return a message that answers no request; raises ProtocolError as `result` does."""
        return Outgoing(encode_notification(method, params))
