"""Whatever a handler returns or raises costs its own attempt: one storable result, and an executor that goes on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_serializer
from support.effort import examples
from support.executing import Bench
from support.leases import event, leased

from tasker_actors import PermanentError, RetryableError, StepHandlerResult
from tasker_actors.delivery.routing import commit_item
from tasker_actors.steps.finished import FinishedStep

LEAVING = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, MemoryError]
errors = st.sampled_from(LEAVING)


class HostileText:
    """Raises whenever it is written, looked at or compared."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error("no text")

    __repr__ = __str__

    def __ge__(self, other: object) -> bool:
        raise self.error("no comparison")

    def __bool__(self) -> bool:
        raise self.error("no truth")


class HostileMapping(Mapping[str, Any]):
    """A mapping until somebody reads it."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise self.error("no keys")

    def __getitem__(self, key: str) -> Any:
        raise self.error("no value")


class HostileModel(BaseModel):
    """A model whose serializer raises."""

    error: Any

    @field_serializer("error")
    def _raise(self, error: Any) -> Any:
        raise error("no field")


class HostileError(Exception):
    """An exception whose text and attributes raise."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def __str__(self) -> str:
        raise self.error("no text")

    @property
    def retry_after(self) -> float:
        raise self.error("no number")


def with_attributes(kind: type[Exception], **attributes: Any) -> Exception:
    error = kind("attributes")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


texts = st.text(st.characters(exclude_categories=()), max_size=8)
leaves = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=4),
    st.sampled_from([object(), ..., int, {1}, 1j, orjson.Fragment(b"["), math]),
    st.builds(HostileText, errors),
    st.builds(HostileMapping, errors),
    st.builds(HostileModel, error=errors),
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
stated = st.builds(
    StepHandlerResult,
    is_success=st.booleans(),
    result=values,
    error_message=values,
    error_type=values,
    error_code=values,
    retryable=values,
    metadata=st.dictionaries(texts, values, max_size=2) | st.builds(HostileMapping, errors),
    retry_after=values,
)
raised = st.one_of(
    errors.map(lambda error: error("text")),
    st.builds(HostileError, errors),
    st.builds(
        with_attributes,
        st.sampled_from([ValueError, RetryableError, PermanentError]),
        retry_after=values,
        error_code=values,
        metadata=values,
    ),
    st.builds(lambda error: ExceptionGroup("group", [error]), st.builds(HostileError, errors)),
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def attempt(bench: Bench, handler: Any, *, is_async: bool, kind: str = "standard") -> FinishedStep:
    async def later(context: Any) -> Any:
        return handler(context)

    publishes = [event("a.done", condition="success"), event("a.failed", condition="failure")]
    step = leased(handler=later if is_async else handler, is_async=is_async, publishes_events=publishes, type=kind)
    (finished,) = bench.run(step)
    return finished


def check(bench: Bench, handler: Any, *, is_async: bool, kind: str = "standard") -> None:
    finished = attempt(bench, handler, is_async=is_async, kind=kind)
    assert finished.state in ("complete", "waiting_for_retry", "error")
    assert bench.restarts == [], "its executor had to be started anew"
    stored = orjson.loads(orjson.dumps(commit_item(finished).document, default=str))
    assert "\0" not in str(stored)
    assert (stored.get("error") is None) == (finished.state == "complete")
    assert len(finished.derived.events) + len(finished.derived.refused) == 1
    # And the next one is run as if nothing had been.
    assert attempt(bench, lambda _context: {"ok": 1}, is_async=is_async).state == "complete"


@settings(deadline=None, max_examples=examples(150))
@given(value=values | stated, is_async=st.booleans())
def test_anything_that_is_returned(bench: Bench, value: Any, is_async: bool) -> None:
    check(bench, lambda _context: value, is_async=is_async)


@settings(deadline=None, max_examples=examples(100))
@given(error=raised, is_async=st.booleans())
def test_anything_that_is_raised(bench: Bench, error: BaseException, is_async: bool) -> None:
    def handler(_context: Any) -> None:
        raise error

    check(bench, handler, is_async=is_async)


named = ["worker_template_name", "worker_count", "cursor_configs", "total_items", "step_names"]
types = st.sampled_from(["create_batches", "create_steps"])
outcomes = st.fixed_dictionaries({"type": types | values}, optional=dict.fromkeys(named, values))


@settings(deadline=None, max_examples=examples(100))
@given(outcome=outcomes | values, kind=st.sampled_from(["batchable", "decision"]), is_async=st.booleans())
@example(outcome={"type": "create_batches", "worker_template_name": ["work"]}, kind="batchable", is_async=False)
def test_anything_that_is_said_of_other_steps(bench: Bench, outcome: Any, kind: str, is_async: bool) -> None:
    said = {"batch_processing_outcome": outcome, "decision_point_outcome": outcome}
    check(bench, lambda _context: said, is_async=is_async, kind=kind)
