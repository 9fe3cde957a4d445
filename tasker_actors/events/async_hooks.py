"""Async hooks of publishers: run to their end while the thread that called them waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

AwaitHook = Callable[[Awaitable[Any]], Any]
"""Returns what an async hook returns and raises what it raises; blocks until then."""


@dataclass(frozen=True, slots=True)
class HookEnd:
    """How a hook ended: what it returned or raised, or that its time was over."""

    returned: Any = None
    raised: BaseException | None = None
    timed_out: bool = False


def within(
    hook: Awaitable[Any],
    run: Callable[[Coroutine[Any, Any, HookEnd]], HookEnd],
    timeout_s: float | None,
    late: type[BaseException],
) -> Any:
    """Return what a hook returns, and raise what it raises; past its time it is cancelled, and `late` raised.

    `run` runs a coroutine on some event loop and blocks until it has ended. None is no limit.
    """
    end = run(_contained(hook, timeout_s))
    if end.timed_out:
        raise late
    if end.raised is not None:
        raise end.raised
    return end.returned


def in_own_loop(hook: Awaitable[Any]) -> Any:
    """Await a hook on an event loop that ends with it, without a limit: for a thread that has none to share."""
    return within(hook, asyncio.run, None, TimeoutError)


async def _contained(hook: Awaitable[Any], timeout_s: float | None) -> HookEnd:
    """Await a hook; what it raises is a value here, because a SystemExit would end the loop for all others."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return HookEnd(returned=await hook)
    except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits
        return HookEnd(timed_out=True) if limit.expired() else HookEnd(raised=error)
