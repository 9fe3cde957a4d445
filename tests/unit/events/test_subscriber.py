"""Subscribers: marked functions, classes with hooks, and how they are found."""

from __future__ import annotations

import abc
import asyncio
import inspect
from types import ModuleType
from typing import Any

import pytest

from tasker_actors.events.discovery import SubscriberError, subscribers_in
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.subscriber import BaseSubscriber, subscriber

EVENT = DomainEvent("an id", "flight.delayed", b"{}")


def module_with(**values: Any) -> ModuleType:
    module = ModuleType("user_handlers")
    vars(module).update(values)
    return module


def only_subscriber(value: Any):
    (spec,) = subscribers_in([module_with(value=value)])
    return spec


class Recording(BaseSubscriber):
    def __init__(self):
        self.calls = []

    @classmethod
    def subscribes_to(cls):
        return ["flight.*", "weather.#", "flight.*"]

    def before_handle(self, event):
        self.calls.append("before")
        return True

    def handle(self, event):
        self.calls.append("handle")

    def after_handle(self, event):
        self.calls.append("after")

    def on_handle_error(self, event, error):
        self.calls.append(error)


def test_a_marked_function_stays_what_it_was():
    @subscriber("flight.*")
    def on_flight(event):
        return f"got {event}"

    assert on_flight("it") == "got it"
    assert inspect.isfunction(on_flight)
    assert on_flight.__name__ == "on_flight"


def test_a_marked_function_is_found_with_its_patterns():
    @subscriber("weather.#")
    @subscriber("flight.*", "flight.*")
    def on_flight(event):
        return event.event_name

    spec = only_subscriber(on_flight)
    assert spec.patterns == ("weather.#", "flight.*")
    assert spec.name.endswith("on_flight")
    assert not spec.is_async
    assert spec.call(EVENT) == "flight.delayed"


def test_an_async_function_is_found_as_one_to_await():
    @subscriber("*")
    async def on_any(event):
        return event.event_name

    spec = only_subscriber(on_any)
    assert spec.is_async
    assert asyncio.run(spec.call(EVENT)) == "flight.delayed"


@pytest.mark.parametrize("patterns", [(), (1,), ("a.b", None)])
def test_a_mark_without_text_patterns_is_refused(patterns):
    with pytest.raises(TypeError, match="patterns"):
        subscriber(*patterns)


def test_a_mark_without_parentheses_or_on_a_class_is_refused():
    with pytest.raises(TypeError, match="patterns"):
        subscriber(lambda event: None)
    with pytest.raises(TypeError, match="class"):
        subscriber("a.b")(Recording)


def test_the_hooks_of_a_class_run_around_handle():
    spec = only_subscriber(Recording)
    assert spec.patterns == ("flight.*", "weather.#")
    assert spec.name.endswith("Recording")
    spec.call(EVENT)
    assert inspect.getclosurevars(spec.call).nonlocals["instance"].calls == ["before", "handle", "after"]


def test_before_handle_that_says_no_skips_the_event():
    seen = []

    class Skipping(Recording):
        def before_handle(self, event):
            return False

        def handle(self, event):
            seen.append(event)

        def after_handle(self, event):
            seen.append(event)

    only_subscriber(Skipping).call(EVENT)
    assert seen == []


@pytest.mark.parametrize("hook", ["before_handle", "handle", "after_handle"])
def test_an_error_is_shown_to_the_hook_and_still_fails_the_delivery(hook):
    seen = []

    def fail(self, event):
        raise ValueError("broken")

    cls = type(
        "Failing", (Recording,), {hook: fail, "on_handle_error": lambda self, event, error: seen.append((event, error))}
    )
    with pytest.raises(ValueError, match="broken") as caught:
        only_subscriber(cls).call(EVENT)
    assert seen == [(EVENT, caught.value)]


def test_an_error_hook_that_raises_does_not_hide_the_error():
    class Failing(BaseSubscriber):
        patterns = ("flight.*",)

        def handle(self, event):
            raise ValueError("broken")

        def on_handle_error(self, event, error):
            raise KeyError("also broken")

    with pytest.raises(ValueError, match="broken") as caught:
        only_subscriber(Failing).call(EVENT)
    assert any("also broken" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("is_async", ["handle", "before_handle", "after_handle"])
def test_one_async_hook_makes_the_call_async(is_async):
    calls = []

    def plain(name, answer):
        return lambda self, event: calls.append(name) or answer

    def awaited(name, answer):
        async def hook(self, event):
            await asyncio.sleep(0)
            calls.append(name)
            return answer

        return hook

    hooks = {"before_handle": True, "handle": None, "after_handle": None}
    body = {name: (awaited if name == is_async else plain)(name, answer) for name, answer in hooks.items()}
    spec = only_subscriber(type("Mixed", (BaseSubscriber,), {"patterns": ["a.b"], **body}))
    assert spec.is_async
    asyncio.run(spec.call(EVENT))
    assert calls == list(hooks)


def test_an_async_error_goes_through_its_hook_and_on():
    seen = []

    class Failing(BaseSubscriber):
        patterns = ("flight.*",)

        async def handle(self, event):
            raise ValueError("broken")

        async def on_handle_error(self, event, error):
            seen.append(error)
            raise KeyError("also broken")

    with pytest.raises(ValueError, match="broken") as caught:
        asyncio.run(only_subscriber(Failing).call(EVENT))
    assert seen == [caught.value]
    assert any("also broken" in note for note in caught.value.__notes__)


def test_an_async_before_handle_that_says_no_skips_the_event():
    class Skipping(Recording):
        async def before_handle(self, event):
            return False

        def handle(self, event):
            raise AssertionError

    asyncio.run(only_subscriber(Skipping).call(EVENT))


def test_patterns_may_be_an_attribute_or_a_list_in_place_of_the_method():
    class Attribute(BaseSubscriber):
        patterns = ("a.b",)

        def handle(self, event):
            pass

    class Listed(Attribute):
        subscribes_to = ("c.d",)

    assert only_subscriber(Attribute).patterns == ("a.b",)
    assert only_subscriber(Listed).patterns == ("c.d",)


def test_the_hooks_are_no_ops_by_default():
    class Bare(BaseSubscriber):
        patterns = ("a.b",)

        def handle(self, event):
            pass

    assert only_subscriber(Bare).call(EVENT) is None
    assert Bare().on_handle_error(EVENT, ValueError()) is None


def test_subscribers_are_found_once_in_the_order_of_the_modules():
    @subscriber("a.b")
    def first(event):
        pass

    @subscriber("a.b")
    def second(event):
        pass

    class Base(BaseSubscriber, abc.ABC):
        patterns = ("a.b",)

    class Third(Base):
        def handle(self, event):
            pass

    modules = [
        module_with(first=first, again=first, Base=Base, BaseSubscriber=BaseSubscriber, subscriber=subscriber),
        module_with(second=second, first=first, Third=Third),
    ]
    names = [spec.name.rsplit(".", 1)[1] for spec in subscribers_in(modules)]
    assert names == ["first", "second", "Third"]


@pytest.mark.parametrize("patterns", [[], "a.b", [1], None])
def test_a_class_without_a_list_of_patterns_is_an_error(patterns):
    cls = type("Odd", (Recording,), {"subscribes_to": classmethod(lambda cls: patterns)})
    with pytest.raises(SubscriberError, match="Odd"):
        only_subscriber(cls)


def test_a_class_that_cannot_be_made_is_named():
    class Needy(Recording):
        def __init__(self, url):
            self.url = url

    with pytest.raises(SubscriberError, match="Needy"):
        only_subscriber(Needy)


def test_a_class_with_patterns_and_without_handle_is_an_error():
    class Mistyped(BaseSubscriber):
        patterns = ("a.b",)

        def handel(self, event):
            pass

    with pytest.raises(SubscriberError, match="Mistyped"):
        only_subscriber(Mistyped)
