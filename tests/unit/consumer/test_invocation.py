"""Calling handlers, whatever kind of function they are."""

from __future__ import annotations

import asyncio
import functools
from contextvars import ContextVar

import pytest

from tasker_actors.consumer.invocation import HandlerCancelledError, Invocation

PLACE: ContextVar[str] = ContextVar("PLACE", default="nowhere")


def test_a_plain_handler_is_called_here_and_its_answer_does_not_matter():
    seen = []
    with Invocation(seen.append) as invoke:
        invoke("event")
    assert seen == ["event"]


def test_async_handlers_keep_one_loop_and_see_the_context_of_each_call():
    loops, places = [], []

    async def handle(place: str) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        places.append(PLACE.get())

    with Invocation(handle) as invoke:
        for place in ("first", "second"):
            token = PLACE.set(place)
            invoke(place)
            PLACE.reset(token)

    assert places == ["first", "second"]
    assert loops[0] is loops[1]
    assert loops[0].is_closed()


def test_a_callable_object_and_a_partial_may_be_async():
    seen = []

    class Handler:
        async def __call__(self, event):
            seen.append(event)

    async def handle(extra, event):
        seen.append((extra, event))

    for handler in (Handler(), functools.partial(handle, "x")):
        with Invocation(handler) as invoke:
            invoke("event")
    assert seen == ["event", ("x", "event")]


def test_what_a_handler_raises_goes_through():
    async def fails(event):
        raise ValueError(event)

    with Invocation(fails) as invoke, pytest.raises(ValueError, match="no"):
        invoke("no")


def test_a_cancelled_handler_has_failed():
    async def cancelled(event):
        raise asyncio.CancelledError

    with Invocation(cancelled) as invoke, pytest.raises(HandlerCancelledError):
        invoke("event")
