import pytest

from tasker_actors import StepHandler, subscriber
from tasker_actors.compat.handler import HandlerRegistry, registered_handlers
from tasker_actors.steps.resolvers.definition import HandlerDefinition
from tasker_actors.steps.resolvers.resolver import RegistryResolver, ask


class Pay(StepHandler):
    def call(self, context):
        return {"paid": True}

    def refund(self, context):
        return {"refunded": True}


class Services(RegistryResolver):
    _name = "services"
    prefix = "s:"

    def resolve_handler(self, definition, config):
        return Pay()


@pytest.fixture
def registry():
    HandlerRegistry.reset_instance()
    yield HandlerRegistry.instance(skip_bootstrap=True)
    HandlerRegistry.reset_instance()


def test_what_is_registered_by_hand_is_found(registry):
    registry.register("pay", Pay)
    registry.add_resolver(Services())

    assert registry.resolve("pay").call(None) == {"paid": True}
    assert registry.resolve({"callable": "pay", "method": "refund"}).call(None) == {"refunded": True}
    assert isinstance(registry.resolve(HandlerDefinition("s:any")), Pay)
    assert registry.resolve("other") is None
    assert (registry.is_registered("pay"), registry.list_handlers(), registry.handler_count()) == (True, ["pay"], 1)
    assert registry.unregister("pay")
    assert not registry.unregister("pay")


def test_the_workers_ask_it_through_a_resolver(registry):
    registry.register("pay.now", Pay)
    resolver = registered_handlers()

    assert isinstance(ask(resolver, HandlerDefinition("pay.now"), {}), Pay)
    assert isinstance(ask(resolver, HandlerDefinition("pay.now", resolver="tasker_core"), {}), Pay)
    assert ask(resolver, HandlerDefinition("pay.now", resolver="class_lookup"), {}) is None
    assert ask(resolver, HandlerDefinition("other"), {}) is None
    assert (resolver.name, resolver.priority) == ("tasker_core", 90)
    registry.clear()
    assert registry.handler_count() == 0


def test_only_handler_classes_are_registered(registry):
    for wrong in (subscriber, dict, Pay()):
        with pytest.raises(ValueError, match="is no class derived from StepHandler"):
            registry.register("wrong", wrong)
