"""Call a publisher's hooks so that nothing they do reaches further than their own event."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tasker_actors.errors import TaskerError
from tasker_actors.events.async_hooks import AwaitHook
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
    publisher: BasePublisher,
    publisher_name: str,
    context: PublishContext,
    metadata: Mapping[str, Any],
    await_hook: AwaitHook,
) -> tuple[Any, Mapping[str, Any]] | None:
    """Return payload and custom metadata, or None where a hook ended the event.

    Whatever a hook raises becomes a HookError, but for what is neither an Exception nor a SystemExit nor a
    cancellation. `metadata` is the message's, still without the custom part.
    """
    payload = context.payload
    if not _verdict("should_publish", payload, lambda: publisher.should_publish(context), await_hook):
        return None
    payload = _call("transform_payload", payload, lambda: publisher.transform_payload(context), await_hook)
    custom = _call("additional_metadata", payload, lambda: publisher.additional_metadata(context), await_hook)
    if not isinstance(custom, Mapping):
        raise HookError(f"additional_metadata returned {type(custom).__name__}, not a mapping", payload)
    plain = _call("additional_metadata", payload, lambda: dict(custom), await_hook)
    shown = joined_metadata(metadata, plain, publisher_name)
    if not _verdict(
        "before_publish", payload, lambda: publisher.before_publish(context.event_name, payload, shown), await_hook
    ):
        return None
    return payload, plain


def notify_published(outgoing: OutgoingEvent, await_hook: AwaitHook) -> None:
    """Call `after_publish` of the event's own publisher; raises what the hook raises, which costs nothing but itself.

    Payload and metadata are copies. Free where the hook is not overridden.
    """
    publisher = outgoing.publisher
    if type(publisher).after_publish is BasePublisher.after_publish:
        return
    message = outgoing.event.to_dict()
    metadata = message["metadata"]
    shown = joined_metadata(metadata, metadata["custom"], outgoing.publisher_name)
    settled(publisher.after_publish(outgoing.event_name, message["payload"], shown), await_hook)


def notify_refused(refused: RefusedEvent, await_hook: AwaitHook) -> None:
    """Call `on_publish_error` of the event's own publisher; raises what the hook raises, which costs nothing more."""
    publisher = refused.publisher
    if type(publisher).on_publish_error is not BasePublisher.on_publish_error:
        settled(publisher.on_publish_error(refused.event_name, refused.error, refused.payload), await_hook)


def joined_metadata(metadata: Mapping[str, Any], custom: Mapping[str, Any], publisher_name: str) -> dict[str, Any]:
    """Show a hook the metadata of SPEC 2.4, with the keys that tasker-py puts beside them.

    Those are `publisher`, `published_at` and the custom keys, which are in `custom` too; none replaces one of SPEC 2.4.
    """
    beside = {**custom, "publisher": publisher_name, "published_at": metadata["fired_at"]}
    return {**beside, **metadata, "custom": dict(custom)}


def _verdict(hook: str, payload: Any, call: Callable[[], Any], await_hook: AwaitHook) -> bool:
    """Tell what a hook's answer is worth in a condition, as tasker-py does: an id says yes, and None says no."""
    return bool(_call(hook, payload, lambda: bool(settled(call(), await_hook)), await_hook))


def _call(hook: str, payload: Any, call: Callable[[], Any], await_hook: AwaitHook) -> Any:
    try:
        return settled(call(), await_hook)
    except (Exception, SystemExit, CancelledError) as error:  # sys.exit() in a hook must not end the step's thread
        raise HookError(f"{hook} raised {described(error)}", payload) from error


def settled(returned: Any, await_hook: AwaitHook) -> Any:
    """Return what a hook has returned, or what it comes to where it is async."""
    return await_hook(returned) if inspect.isawaitable(returned) else returned
