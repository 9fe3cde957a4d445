"""The two ends of a conversation with an actor of another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasker_actors.actors.errors import LinkClosedError, LinkFullError
from tasker_actors.actors.link import ProcessLink
from tasker_actors.actors.packet import write_answer, write_failure
from tasker_actors.actors.relay import refuse
from tasker_actors.actors.sending import send
from tasker_actors.actors.tally import DeliveryTally
from tasker_actors.actors.wire import MessageRegistry
from tasker_actors.errors import ProtocolError
from tasker_actors.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
    from tasker_actors.actors.routes import Routes


class RemoteAddress:
    """Names one actor of another process, whichever incarnation of that process is linked when a message is sent.

    With a link `over`, it is the actor of that incarnation alone.
    """

    __slots__ = ("_routes", "name", "over", "path", "process")

    def __init__(self, routes: Routes, process: str, name: str, over: ProcessLink | None = None) -> None:
        self._routes = routes
        self.over = over
        self.process = process
        self.name = name
        self.path = f"{process}/{name}"

    def __repr__(self) -> str:
        return f"<RemoteAddress {self.path}>"

    def tell(self, message: Any, trace: TraceContext | None = None, correlation_id: str | None = None) -> None:
        """Send a message, as in `ActorAddress`."""
        self._routes.tell(self, message, trace, correlation_id)

    def ask(
        self, message: Any, timeout: float, trace: TraceContext | None = None, correlation_id: str | None = None
    ) -> Any:
        """Send a message and wait for the answer, as in `ActorAddress`.

        An answer arrives as the registered class that it was, or as plain JSON: a tuple that is no field is a list.
        """
        return self._routes.ask(self, message, timeout, trace, correlation_id)


class RemoteReply:
    """Sends the answer to an ask back over the link it came by; see `Reply`."""

    __slots__ = ("_actor", "_link", "_message_id", "_open", "_origin", "_registry", "_tally")

    def __init__(
        self,
        link: ProcessLink,
        origin: str,
        message_id: int,
        actor: str,
        registry: MessageRegistry,
        tally: DeliveryTally,
    ) -> None:
        self._link = link
        self._origin = origin
        self._message_id = message_id
        self._actor = actor
        self._registry = registry
        self._tally = tally
        self._open = [True]

    def answer(self, value: Any) -> None:
        """Send a value; one that cannot travel becomes a failure, so that the asker does not wait in vain."""
        if self._take():
            try:
                packet = write_answer(self._origin, self._message_id, *self._registry.encode(value))
                send(self._link, packet, self._tally, urgent=True)
            except ProtocolError as error:
                self._send_failure(error)
            except (LinkClosedError, LinkFullError) as error:
                self._lost(error)

    def fail(self, error: BaseException) -> None:
        """Send the name and the text of an error."""
        if self._take():
            self._send_failure(error)

    def refuse(self, reason: str) -> None:
        """Send that nobody handled the message; never blocks."""
        if self._take():
            refuse(self._link, self._origin, self._message_id, reason)

    def _send_failure(self, error: BaseException) -> None:
        packet = write_failure(self._origin, self._message_id, self._actor, type(error).__name__, str(error))
        try:
            send(self._link, packet, self._tally, urgent=True)
        except (LinkClosedError, LinkFullError) as lost:
            self._lost(lost)

    def _lost(self, error: LinkClosedError | LinkFullError) -> None:
        self._tally.undeliverable(self._origin, "answer", str(error))

    def _take(self) -> bool:
        try:
            self._open.pop()
        except IndexError:
            return False
        return True
