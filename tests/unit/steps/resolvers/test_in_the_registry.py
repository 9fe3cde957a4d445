"""Resolvers that handler modules define, as the workers use them."""

import re
import sys
from textwrap import dedent
from types import ModuleType

import pytest

from tasker_actors.errors import HandlerNotFoundError, StartupError
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.template import HandlerSpec

MODULE = """
    from tasker_actors import BaseResolver, ExplicitMappingResolver, RegistryResolver, StepHandler, step_handler

    class Pay(StepHandler):
        handler_name = "pay"

        def call(self, context):
            return {"by": "name"}

        def refund(self, context):
            return {"by": "refund"}

    class Other(StepHandler):
        def __init__(self, by="resolver"):
            self.by = by

        def call(self, context):
            return {"by": self.by}

        def refund(self, context):
            return {"refund": self.by}

    @step_handler("by_function")
    def function(context):
        return {"by": "function"}

    class Services(RegistryResolver):
        _name = "services"
        _priority = 50
        prefix = "service:"

        def resolve_handler(self, definition, config):
            found = {"service:pay": Other, "service:object": Other("object"), "service:function": function}
            return found.get(definition.callable)

    class Early(BaseResolver):
        priority = 1

        def can_resolve(self, definition):
            return definition.callable == "pay" and definition.initialization.get("early")

        def resolve(self, definition):
            return Other("early")

    class Late(BaseResolver):
        priority = 200

        def can_resolve(self, definition):
            return definition.callable == "nowhere.Late"

        def resolve(self, definition):
            return Other("late")

    class Broken(BaseResolver):
        priority = 60

        def can_resolve(self, definition):
            return definition.callable == "broken"

        def resolve(self, definition):
            raise RuntimeError("no way")

    mapping = ExplicitMappingResolver("mapping")
    mapping.register("mapped", Other("mapped"))
"""


@pytest.fixture
def make_module(monkeypatch):
    def make(source, name="user_resolvers"):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(dedent(source), f"{name}.py", "exec"), module.__dict__)  # noqa: S102 - the test's own source
        return module

    return make


@pytest.fixture
def registry(make_module):
    return HandlerRegistry.from_modules([make_module(MODULE)])


def run(registry, name, **more):
    return registry.resolve(HandlerSpec(callable=name, **more)).invoke(None)


@pytest.mark.parametrize(
    ("spec", "by"),
    [
        ({"callable": "pay"}, {"by": "name"}),
        ({"callable": "pay", "initialization": {"early": True}}, {"by": "early"}),
        ({"callable": "service:pay"}, {"by": "resolver"}),
        ({"callable": "service:object", "method": "refund"}, {"refund": "object"}),
        ({"callable": "mapped"}, {"by": "mapped"}),
        ({"callable": "mapped", "resolver": "mapping"}, {"by": "mapped"}),
        ({"callable": "service:pay", "resolver": "services"}, {"by": "resolver"}),
        ({"callable": "nowhere.Late"}, {"by": "late"}),
        ({"callable": "pay", "resolver": "explicit_mapping"}, {"by": "name"}),
        ({"callable": "user_resolvers.Other", "resolver": "class_lookup"}, {"by": "resolver"}),
    ],
)
def test_a_handler_is_found_by_whom_it_should_be(registry, spec, by):
    assert registry.resolve(HandlerSpec(**spec)).invoke(None) == by


def test_a_function_may_come_from_a_resolver(registry, make_context):
    bound = registry.resolve(HandlerSpec(callable="service:function"))

    assert bound.invoke(make_context()) == {"by": "function"}


@pytest.fixture
def make_context():
    return lambda: None


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"callable": "x", "resolver": "servces"}, "no resolver 'servces' (did you mean 'services'?)"),
        ({"callable": "x", "resolver": "services"}, "resolver 'services' does not find it"),
        ({"callable": "service:none"}, "there is no handler 'service:none'"),
        ({"callable": "broken"}, "a resolver raised RuntimeError: no way"),
        ({"callable": "service:pay", "method": "cancel"}, "has no method 'cancel'"),
    ],
)
def test_what_is_not_found_is_named(registry, spec, named):
    with pytest.raises(HandlerNotFoundError, match=re.escape(named)):
        registry.resolve(HandlerSpec(**spec))


def test_two_resolvers_of_one_name_end_the_start(make_module):
    source = """
        from tasker_actors import ExplicitMappingResolver
        one = ExplicitMappingResolver("twice")
        two = ExplicitMappingResolver("twice")
    """
    with pytest.raises(StartupError, match="are both named 'twice'; rename one"):
        HandlerRegistry.from_modules([make_module(source)])


def test_a_resolver_that_cannot_be_made_ends_the_start(make_module):
    source = """
        from tasker_actors import BaseResolver

        class Needy(BaseResolver):
            def __init__(self, services): ...
            def can_resolve(self, definition): ...
            def resolve(self, definition): ...
    """
    with pytest.raises(StartupError, match=r"Needy cannot be made without arguments: TypeError"):
        HandlerRegistry.from_modules([make_module(source)])


def test_an_object_of_a_class_stands_for_the_class(make_module):
    source = """
        from tasker_actors import BaseResolver, StepHandler

        class Pay(StepHandler):
            def call(self, context):
                return {"by": "needy"}

        class Needy(BaseResolver):
            def __init__(self, prefix):
                self.prefix = prefix

            def can_resolve(self, definition):
                return definition.callable.startswith(self.prefix)

            def resolve(self, definition):
                return Pay

        needy = Needy("n:")
    """
    registry = HandlerRegistry.from_modules([make_module(source)])

    assert run(registry, "n:1") == {"by": "needy"}
