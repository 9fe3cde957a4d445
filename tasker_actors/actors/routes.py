"""Messages between this process and others: sent over the right link, delivered, relayed, or refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, assert_never

from tasker_actors.actors.address import LocalAddress, make_envelope
from tasker_actors.actors.envelope import Envelope
from tasker_actors.actors.errors import ActorUnavailableError, LinkClosedError, LinkFullError
from tasker_actors.actors.link import ProcessLink
from tasker_actors.actors.packet import Delivery, Kind, Response, read_packet, rewrite, write_ask, write_tell
from tasker_actors.actors.relay import RelayedAsks, refuse
from tasker_actors.actors.remote import RemoteAddress, RemoteReply
from tasker_actors.actors.reply import Answer, waitable
from tasker_actors.actors.sending import CLOSED, TOO_MANY, send
from tasker_actors.actors.tally import DeliveryTally
from tasker_actors.actors.wire import MessageRegistry
from tasker_actors.errors import ProtocolError
from tasker_actors.telemetry.trace_context import TraceContext


class Routes:
    """The links of one process. Sending runs in the sender's thread, receiving in each link's reader thread.

    A packet for another process is passed on only over a link of that very process, never over a default link, so no
    packet can travel in a circle.
    """

    def __init__(
        self,
        process: str,
        registry: MessageRegistry,
        tally: DeliveryTally,
        next_id: Callable[[], int],
        find: Callable[[str], LocalAddress | None],
        max_relayed_asks: int,
    ) -> None:
        self._process = process
        self._registry = registry
        self._tally = tally
        self._next_id = next_id
        self._find = find
        self._lock = threading.Lock()
        self._links: dict[str, ProcessLink] = {}
        self._default: ProcessLink | None = None
        self._pending: dict[int, tuple[Answer, ProcessLink]] = {}
        self._relayed_asks = RelayedAsks(max_relayed_asks)

    def open(self, peer: str, link: ProcessLink) -> None:
        """Start a link, and take what comes over it."""
        link.start(self, peer)

    def lead(self, peer: str, link: ProcessLink, *, default: bool) -> None:
        """Send over this link from now on, unless it was closed before."""
        with self._lock:
            if not link.is_open:
                return
            self._links[peer] = link
            if default:
                self._default = link

    def tell(
        self, address: RemoteAddress, message: Any, trace: TraceContext | None, correlation_id: str | None
    ) -> None:
        """Send a message; one that no link can take is counted and reported."""
        envelope = make_envelope(message, trace, correlation_id, self._next_id(), None)
        link = address.over or self._link_to(address.process)
        if link is None:
            self._tally.dropped(1, CLOSED)
            self._undeliverable(address.path, type(message).__name__, f"no link leads to {address.process}")
            return
        packet = write_tell(address.path, envelope, *self._encode(message))
        try:
            send(link, packet, self._tally)
        except LinkClosedError as error:
            self._undeliverable(address.path, type(message).__name__, str(error))

    def ask(
        self,
        address: RemoteAddress,
        message: Any,
        timeout: float,
        trace: TraceContext | None,
        correlation_id: str | None,
    ) -> Any:
        """Send a message and wait for the answer."""
        link = address.over or self._link_to(address.process)
        if link is None:
            text = f"actor {address.path} is unavailable: no link leads to {address.process}"
            raise ActorUnavailableError(text)
        answer = Answer(address.path, self._tally.late)
        envelope = make_envelope(message, trace, correlation_id, self._next_id(), None)
        packet = write_ask(address.path, envelope, *self._encode(message), self._process, int(waitable(timeout) * 1000))
        self._pending[envelope.message_id] = answer, link
        try:
            send(link, packet, self._tally, urgent=True)
            return answer.wait(timeout)
        except LinkClosedError as error:
            text = f"actor {address.path} is unavailable: {error}"
            raise ActorUnavailableError(text) from error
        finally:
            self._pending.pop(envelope.message_id, None)

    # What links call

    def received(self, link: ProcessLink, packets: list[Any]) -> None:
        """Deliver, relay or settle the packets of one frame, in order."""
        for packet in packets:
            match read_packet(packet):
                case Delivery() as delivery:
                    process, _, actor = delivery.to.partition("/")
                    if process == self._process:
                        self._deliver(link, delivery, actor)
                    else:
                        self._relay(link, delivery, process, packet)
                case Response() as response if response.origin == self._process:
                    self._settle(response)
                case Response() as response:
                    self._relay_response(response, packet)
                case never:
                    assert_never(never)

    def closed(self, link: ProcessLink, reason: str, unsent: int) -> None:
        """Stop using a link, and fail at once what waits for an answer over it."""
        with self._lock:
            self._links = {peer: other for peer, other in self._links.items() if other is not link}
            if self._default is link:
                self._default = None
        if unsent:
            self._tally.lost(unsent)
            self._tally.dropped(unsent, CLOSED)
        for answer, way in list(self._pending.values()):
            if way is link:
                answer.refuse(reason)
        self._relayed_asks.closed(link, reason)

    # For this process

    def _deliver(self, link: ProcessLink, delivery: Delivery, actor: str) -> None:
        address = self._find(actor)
        if address is None:
            self._refuse(link, delivery, "no actor has that name")
            return
        reply = None
        if delivery.origin is not None:
            reply = RemoteReply(link, delivery.origin, delivery.message_id, address.path, self._registry, self._tally)
        message = self._registry.decode(delivery.type_name, delivery.body)
        address.deliver(
            Envelope(message, delivery.trace, delivery.correlation_id, delivery.sender, delivery.message_id, reply)
        )

    def _settle(self, response: Response) -> None:
        pending = self._pending.pop(response.message_id, None)
        if pending is None:
            self._tally.late()
            return
        answer, _ = pending
        match response.kind, response.arguments:
            case Kind.ANSWER, [type_name, body]:
                try:
                    answer.answer(self._registry.decode(type_name, body))
                except ProtocolError as error:
                    answer.refuse(f"its answer could not be read: {error}")
                    raise
            case Kind.FAILURE, [actor, error_type, text]:
                answer.fail_remotely(actor, error_type, text)
            case Kind.REFUSAL, [reason]:
                answer.refuse(reason)

    # For others

    def _relay(self, link: ProcessLink, delivery: Delivery, process: str, packet: list[Any]) -> None:
        onward = self._links.get(process)
        if onward is None or onward is link:
            self._tally.dropped(1, CLOSED)
            self._refuse(link, delivery, f"no link leads from {self._process} to {process}")
            return
        origin, message_id = delivery.origin, delivery.message_id
        if origin is not None and not self._relayed_asks.add(origin, message_id, link, onward, delivery.timeout_ms):
            self._tally.dropped(1, TOO_MANY)
            self._refuse(link, delivery, f"{self._process} relays too many asks")
            return
        try:
            # A reader thread must not wait for another process: it would hold up everything behind this packet.
            send(onward, rewrite(packet), self._tally, urgent=origin is not None, timeout=0)
        except (LinkClosedError, LinkFullError, ProtocolError) as error:
            if origin is not None:
                self._relayed_asks.settle(origin, message_id)
            self._refuse(link, delivery, str(error))
            return
        self._tally.relayed()

    def _relay_response(self, response: Response, packet: list[Any]) -> None:
        # Back over the link of the asker itself: its name may stand for its successor by now.
        onward = self._relayed_asks.settle(response.origin, response.message_id)
        if onward is None:
            self._tally.late()
            return
        try:
            send(onward, rewrite(packet), self._tally, urgent=True, timeout=0)
            self._tally.relayed()
        except (LinkClosedError, LinkFullError) as error:
            self._undeliverable(response.origin, "answer", str(error))
        except ProtocolError as error:
            refuse(onward, response.origin, response.message_id, f"its answer could not be passed on: {error}")

    def _refuse(self, link: ProcessLink, delivery: Delivery, reason: str) -> None:
        if delivery.origin is not None:
            refuse(link, delivery.origin, delivery.message_id, f"{delivery.to}: {reason}")
        else:
            self._undeliverable(delivery.to, delivery.type_name, reason)

    def _undeliverable(self, address: str, message_type: str, reason: str) -> None:
        self._tally.undeliverable(address, message_type, reason)

    def _encode(self, message: Any) -> tuple[str, Any]:
        name, body = self._registry.encode(message)
        if name is None:
            text = f"{message!r:.100} is no registered message: only registered frozen dataclasses travel"
            raise ProtocolError(text)
        return name, body

    def _link_to(self, process: str) -> ProcessLink | None:
        return self._links.get(process, self._default)
