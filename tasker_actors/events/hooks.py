"""Call a publisher's hooks so that nothing they do reaches further than their own event."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tasker_actors.errors import TaskerError
from tasker_actors.events.publisher import BasePublisher, PublishContext
from tasker_actors.events.text import described

if TYPE_CHECKING:
    from tasker_actors.events.outgoing import OutgoingEvent, RefusedEvent


class HookError(TaskerError):
    """A publisher's hook raised or returned nonsense; `payload` is the event's payload as far as it was made."""

    def __init__(self, message: str, payload: Any) -> None:
        self.message = message
        self.payload = payload
        super().__init__(message)


def run_hooks(
    publisher: BasePublisher, publisher_name: str, context: PublishContext, metadata: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]] | None:
    """Return payload and custom metadata, or None where a hook ended the event; raises HookError, nothing else.

    `metadata` is the message's, still without the custom part.
    """
    payload = context.payload
    if not _verdict("should_publish", payload, lambda: publisher.should_publish(context)):
        return None
    payload = _call("transform_payload", payload, lambda: publisher.transform_payload(context))
    custom = _call("additional_metadata", payload, lambda: publisher.additional_metadata(context))
    if not isinstance(custom, Mapping):
        raise HookError(f"additional_metadata returned {type(custom).__name__}, not a mapping", payload)
    plain = _call("additional_metadata", payload, lambda: dict(custom))
    shown = joined_metadata(metadata, plain, publisher_name)
    if not _verdict("before_publish", payload, lambda: publisher.before_publish(context.event_name, payload, shown)):
        return None
    return payload, plain


def notify_published(outgoing: OutgoingEvent) -> None:
    """Call `after_publish` of the event's own publisher; raises what the hook raises, which costs nothing but itself.

    Payload and metadata are copies. Free where the hook is not overridden.
    """
    publisher = outgoing.publisher
    if type(publisher).after_publish is BasePublisher.after_publish:
        return
    message = outgoing.event.to_dict()
    metadata = message["metadata"]
    shown = joined_metadata(metadata, metadata["custom"], outgoing.publisher_name)
    publisher.after_publish(outgoing.event_name, message["payload"], shown)


def notify_refused(refused: RefusedEvent) -> None:
    """Call `on_publish_error` of the event's own publisher; raises what the hook raises, which costs nothing more."""
    publisher = refused.publisher
    if type(publisher).on_publish_error is not BasePublisher.on_publish_error:
        publisher.on_publish_error(refused.event_name, refused.error, refused.payload)


def joined_metadata(metadata: Mapping[str, Any], custom: Mapping[str, Any], publisher_name: str) -> dict[str, Any]:
    """Show a hook the metadata of SPEC 2.4, with the keys that tasker-py puts beside them.

    Those are `publisher`, `published_at` and the custom keys, which are in `custom` too; none replaces one of SPEC 2.4.
    """
    beside = {**custom, "publisher": publisher_name, "published_at": metadata["fired_at"]}
    return {**beside, **metadata, "custom": dict(custom)}


def _verdict(hook: str, payload: Any, call: Callable[[], Any]) -> bool:
    verdict = _call(hook, payload, call)
    if not isinstance(verdict, bool):
        raise HookError(f"{hook} returned {type(verdict).__name__}, not True or False", payload)
    return verdict


def _call(hook: str, payload: Any, call: Callable[[], Any]) -> Any:
    try:
        returned = call()
    except (Exception, SystemExit) as error:  # sys.exit() in a hook must not end the step's thread
        raise HookError(f"{hook} raised {described(error)}", payload) from error
    if inspect.iscoroutine(returned):
        returned.close()
        raise HookError(f"{hook} is async; hooks of publishers are plain functions", payload)
    return returned
