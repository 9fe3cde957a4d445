import re

import pytest

from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.resolvers.builtin import ClassLookupResolver, ExplicitMappingResolver
from tasker_actors.steps.resolvers.chain import ResolutionError as NotResolved
from tasker_actors.steps.resolvers.chain import ResolverChain, ResolverNotFoundError
from tasker_actors.steps.resolvers.definition import HandlerDefinition, MethodDispatchWrapper
from tasker_actors.steps.resolvers.resolver import BaseResolver, RegistryResolver


class Pay(StepHandler):
    handler_name = "pay"

    def call(self, context):
        return {"called": context}

    def refund(self, context):
        return {"refunded": context}


class Configured:
    def __init__(self, config):
        self.config = config

    def call(self, context): ...


class Prefixed(RegistryResolver):
    _name = "prefixed"
    _priority = 20
    prefix = "service:"

    def resolve_handler(self, definition, config):
        return Pay() if definition.callable == "service:pay" else None


class Patterned(RegistryResolver):
    pattern = r"pay/(?P<what>\w+)$"

    def resolve_handler(self, definition, config):
        return MethodDispatchWrapper(Pay(), self._match_pattern(definition.callable)["what"])


class Documented(BaseResolver):
    """As the original's guide writes one: methods in place of properties, one argument, async."""

    def resolver_name(self):
        return "documented"

    def priority(self):
        return 5

    def can_resolve(self, definition):
        return definition.callable.startswith("doc:")

    async def resolve(self, definition, context):
        return Pay()


def test_a_definition_reads_a_templates_handler():
    made = HandlerDefinition.from_dict({"callable": "pay", "method": "refund", "initialization": {"a": 1}})
    plain = HandlerDefinition.from_callable("pay")

    assert (made.effective_method(), made.uses_method_dispatch(), made.has_resolver_hint()) == ("refund", True, False)
    assert (plain.effective_method(), plain.uses_method_dispatch()) == ("call", False)
    assert HandlerDefinition.from_dict(None).callable == ""


def test_names_come_before_paths():
    chain = ResolverChain.default().register("pay", Pay)

    assert isinstance(chain.resolve(HandlerDefinition("pay")), Pay)
    assert chain.resolve(HandlerDefinition("collections.OrderedDict")) == {}
    assert chain.list_resolvers() == [("explicit_mapping", 10), ("class_lookup", 100)]
    assert chain.registered_callables() == ["pay"]
    assert chain.chain_info()[0] == {"name": "explicit_mapping", "priority": 10, "callables": 1}
    assert len(chain) == 2


@pytest.mark.parametrize("name", ["nowhere.Pay", "collections.Nothing", "collections.abc", "pay", "os.path.join"])
def test_what_nobody_finds_is_none(name):
    chain = ResolverChain.default()

    assert chain.resolve(HandlerDefinition(name)) is None
    assert not chain.can_resolve(HandlerDefinition(name))


def test_a_method_is_called_in_place_of_call():
    chain = ResolverChain.default().register("pay", Pay)

    wrapped = chain.resolve(HandlerDefinition("pay", "refund"))

    assert wrapped.call(1) == {"refunded": 1}
    assert (wrapped.name, wrapped.target_method) == ("pay", "refund")
    assert wrapped.unwrap() is wrapped.handler
    assert chain.resolve(HandlerDefinition("pay", "missing")) is None


def test_resolvers_of_ones_own_are_asked_by_priority():
    chain = ResolverChain([ClassLookupResolver(), Patterned(), Prefixed(), Documented()])

    assert chain.resolver_names == ["documented", "prefixed", "custom_resolver", "class_lookup"]
    assert isinstance(chain.resolve(HandlerDefinition("service:pay")), Pay)
    assert isinstance(chain.resolve(HandlerDefinition("doc:pay")), Pay)
    assert chain.resolve(HandlerDefinition("pay/refund")).call(2) == {"refunded": 2}
    assert chain.resolve(HandlerDefinition("service:other")) is None


def test_one_resolver_alone_can_be_named():
    chain = ResolverChain([Prefixed(), Documented()])

    assert isinstance(chain.resolve(HandlerDefinition("anything", resolver="documented")), Pay)
    assert chain.resolve(HandlerDefinition("doc:pay", resolver="prefixed")) is None
    with pytest.raises(ResolverNotFoundError, match=re.escape("no resolver 'prefixd' (did you mean 'prefixed'?)")):
        chain.resolve(HandlerDefinition("x", resolver="prefixd"))
    assert not chain.can_resolve(HandlerDefinition("x", resolver="prefixd"))
    with pytest.raises(ResolverNotFoundError, match="there are none"):
        ResolverChain().resolve(HandlerDefinition("x", resolver="prefixed"))


def test_resolvers_are_replaced_and_removed_by_name():
    chain = ResolverChain([Prefixed()])
    second = Prefixed()
    chain.add_resolver(second)

    assert chain.get_resolver("prefixed") is second
    assert chain.remove_resolver("prefixed") is second
    assert chain.remove_resolver("prefixed") is None
    with pytest.raises(NotResolved, match="has no explicit_mapping"):
        chain.register("pay", Pay)


def test_a_name_stands_for_a_class_an_object_or_a_function_that_makes_one():
    mapping = ExplicitMappingResolver()
    mapping.register("class", Pay)
    mapping.register("object", made := Pay())
    mapping.register("configured", Configured)
    mapping.register("factory", lambda config: Configured({**config, "made": True}))

    assert isinstance(mapping.resolve(HandlerDefinition("class")), Pay)
    assert mapping.resolve(HandlerDefinition("object")) is made
    assert mapping.resolve(HandlerDefinition("configured", initialization={"a": 1})).config == {"a": 1}
    assert mapping.resolve(HandlerDefinition("factory"), {"b": 2}).config == {"b": 2, "made": True}
    assert mapping.resolve(HandlerDefinition("missing")) is None
    assert mapping.unregister("class")
    assert not mapping.unregister("class")


def test_a_resolver_that_says_nothing_knows_nothing():
    bare = RegistryResolver()

    assert not bare.can_resolve(HandlerDefinition("x"))
    assert bare.resolve(HandlerDefinition("x")) is None
    assert bare._match_pattern("x") is None
    assert bare.registered_callables() == []
