import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasker_actors.errors import HandlerNotFoundError, StartupError
from tasker_actors.events.publisher import DefaultPublisher
from tasker_actors.steps.discovery import handlers_in
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.template import HandlerSpec

FLIGHTS = """
    from tasker_actors import StepHandler, depends_on, inputs, step_handler

    class Validate(StepHandler):
        handler_name = "flights.validate"
        handler_version = "2.0.0"

        def call(self, context):
            return self.success({"carrier": context.get_input("carrier")})

        def cancel(self, context):
            return {"cancelled": True}

        async def later(self, context):
            return {"later": True}

        def broken(self):
            return {}

        def streamed(self, context):
            yield 1

    class Nameless(StepHandler):
        def call(self, context):
            return {"nameless": True}

    @step_handler("flights.assess")
    @depends_on(weather="fetch_weather")
    @inputs("carrier")
    def assess(carrier, weather, context):
        return {"carrier": carrier, "weather": weather, "step": context.step_name}

    @inputs("carrier")
    @step_handler("flights.notify", version="1.2.0")
    async def notify(carrier):
        return {"notified": carrier}

    def plain(context):
        return {"plain": context.step_name}
"""


@pytest.fixture
def registry(make_module):
    return HandlerRegistry.from_modules([make_module(FLIGHTS, "flights_kit")])


def spec(name, **more):
    return HandlerSpec(callable=name, **more)


def test_handlers_are_found_by_their_names(registry):
    assert registry.handler_names == ("flights.assess", "flights.notify", "flights.validate")


def test_a_class_is_called_with_the_context(registry, make_context):
    bound = registry.resolve(spec("flights.validate"))

    assert (bound.name, bound.version, bound.place) == ("flights.validate", "2.0.0", "flights_kit.Validate")
    assert not bound.is_async
    assert bound.invoke(make_context(input_data={"carrier": "AA"})).result == {"carrier": "AA"}


def test_a_function_is_called_with_what_it_declares(registry, make_context):
    context = make_context(input_data={"carrier": "AA"}, dependency_results={"fetch_weather": {"wind": 1}})

    assert registry.resolve(spec("flights.assess")).invoke(context) == {
        "carrier": "AA",
        "weather": {"wind": 1},
        "step": "assess_delay",
    }


def test_async_handlers_are_known_as_such(registry, make_context):
    notify = registry.resolve(spec("flights.notify"))
    later = registry.resolve(spec("flights.validate", method="later"))
    context = make_context(input_data={"carrier": "AA"})

    assert (notify.is_async, later.is_async) == (True, True)
    assert notify.version == "1.2.0"
    assert asyncio.run(notify.invoke(context)) == {"notified": "AA"}
    assert asyncio.run(later.invoke(context)) == {"later": True}


def test_method_names_another_method_than_call(registry, make_context):
    assert registry.resolve(spec("flights.validate", method="cancel")).invoke(make_context()) == {"cancelled": True}
    assert registry.resolve(spec("flights.validate", method="call")).name == "flights.validate"


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("flights_kit.Nameless", {"nameless": True}),
        ("flights_kit:Nameless", {"nameless": True}),
        ("flights_kit.plain", {"plain": "assess_delay"}),
        ("flights_kit:plain", {"plain": "assess_delay"}),
    ],
)
def test_what_is_not_registered_is_found_by_import_path(registry, make_context, name, result):
    assert registry.resolve(spec(name)).invoke(make_context()) == result


def test_a_path_to_a_decorated_function_or_a_class_keeps_its_registered_name(registry):
    assert registry.resolve(spec("flights_kit.assess")).name == "flights.assess"
    assert registry.resolve(spec("flights_kit:Validate")).name == "flights.validate"


def test_a_registered_name_goes_before_an_import_path(make_module, make_context):
    source = """
        from tasker_actors import step_handler

        @step_handler("user_handlers.shadow")
        def registered(context):
            return {"by": "name"}

        def shadow(context):
            return {"by": "path"}
    """
    registry = HandlerRegistry.from_modules([make_module(source)])
    by_path = spec("user_handlers.shadow", resolver="class_lookup")

    assert registry.resolve(spec("user_handlers.shadow")).invoke(make_context()) == {"by": "name"}
    assert registry.resolve(by_path).invoke(make_context()) == {"by": "path"}


@pytest.mark.parametrize("resolver", [None, "default", "explicit_mapping"])
def test_resolvers_of_tasker_py_find_a_registered_name(registry, resolver):
    assert registry.resolve(spec("flights.assess", resolver=resolver)).name == "flights.assess"


@pytest.mark.parametrize(
    ("handler", "messages"),
    [
        (spec("flights.asses"), ["no handler 'flights.asses'", "did you mean 'flights.assess'"]),
        (spec("unlike_any"), ["'unlike_any'", "3 handlers are registered"]),
        (spec("flights_kit.Nope"), ["module flights_kit has no Nope"]),
        (spec("no_such_module.Handler"), ["there is no module 'no_such_module'"]),
        (spec("flights assess.x"), ["no handler 'flights assess.x'"]),
        (spec("flights_kit.Validate", resolver="explicit_mapping"), ["is not registered"]),
        (spec("flights.assess", resolver="payments"), ["no resolver 'payments'", "class_lookup"]),
        (spec("native:libfast.so#run"), ["native handlers are not loaded here"]),
        (spec("flights.validate", method="refund"), ["no method 'refund'", "cancel"]),
        (spec("flights.validate", method="handler_name"), ["no method 'handler_name'"]),
        (spec("flights.validate", method="broken"), ["must take the StepContext"]),
        (spec("flights.validate", method="streamed"), ["has a yield"]),
        (spec("os.system"), ["neither a class, nor a function with @step_handler"]),
        (spec("subprocess.run"), ["neither a class, nor a function with @step_handler"]),
        (spec("collections.OrderedDict"), ["no method 'call'"]),
        (spec("tasker_actors.steps.handler.StepHandler"), ["is abstract; write its call"]),
    ],
)
def test_what_cannot_be_resolved_says_why(registry, handler, messages):
    with pytest.raises(HandlerNotFoundError) as raised:
        registry.resolve(handler)

    for message in messages:
        assert message in str(raised.value)


def test_without_any_handlers_the_error_names_the_option():
    with pytest.raises(HandlerNotFoundError, match="--handlers"):
        HandlerRegistry.from_modules([]).resolve(spec("flights.assess"))


def test_a_module_that_fails_while_it_is_imported_by_path_is_reported_with_its_cause(registry, tmp_path, monkeypatch):
    (tmp_path / "kit_failing.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(HandlerNotFoundError, match=r"kit_failing.*No module named 'no_such_dependency'"):
        registry.resolve(spec("kit_failing.Handler"))


def test_a_class_is_made_once_for_all_its_methods_and_threads(make_module):
    module = make_module("""
        import threading
        from tasker_actors import StepHandler

        MADE = []

        class Slow(StepHandler):
            handler_name = "slow"

            def __init__(self):
                threading.Event().wait(0.01)
                MADE.append(self)

            def call(self, context): ...

            def other(self, context): ...
    """)
    registry = HandlerRegistry.from_modules([module])
    together = threading.Barrier(8)

    def resolve(index):
        together.wait()
        return registry.resolve(spec("slow", method=[None, "other"][index % 2]))

    with ThreadPoolExecutor(8) as pool:
        bound = list(pool.map(resolve, range(8)))

    assert len(module.MADE) == 1
    assert len({id(one) for one in bound}) == 2
    assert registry.resolve(spec("slow")) is registry.resolve(spec("slow"))


CONFIGURED = """
    from tasker_actors import StepHandler

    class Configured(StepHandler):
        handler_name = "configured"

        def __init__(self, config):
            self.config = config

        def call(self, context):
            return self.config

    class Optional(StepHandler):
        handler_name = "optional"

        def __init__(self, config=None):
            self.config = config

        def call(self, context):
            return {"config": self.config}

    class Demanding(StepHandler):
        handler_name = "demanding"

        def __init__(self, host, port):
            pass

        def call(self, context): ...

    class Failing(StepHandler):
        handler_name = "failing"

        def __init__(self):
            raise TypeError("no licence")

        def call(self, context): ...

    class Exiting(StepHandler):
        handler_name = "exiting"

        def __init__(self):
            raise SystemExit(1)

        def call(self, context): ...
"""


def test_a_constructor_that_requires_config_gets_the_initialization(make_module, make_context):
    registry = HandlerRegistry.from_modules([make_module(CONFIGURED)])
    first = registry.resolve(spec("configured", initialization={"a": 1}))
    second = registry.resolve(spec("configured", initialization={"a": 2}))
    again = registry.resolve(spec("configured", initialization={"a": 1}))

    assert (first.invoke(make_context()), second.invoke(make_context())) == ({"a": 1}, {"a": 2})
    assert first.invoke.__self__ is again.invoke.__self__


def test_a_constructor_that_can_do_without_gets_nothing(make_module, make_context):
    registry = HandlerRegistry.from_modules([make_module(CONFIGURED)])

    assert registry.resolve(spec("optional", initialization={"a": 1})).invoke(make_context()) == {"config": None}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demanding", "must take no arguments, or `config` alone"),
        ("failing", "cannot be made: TypeError: no licence"),
        ("exiting", "cannot be made: SystemExit: 1"),
    ],
)
def test_a_class_that_cannot_be_made_says_why(make_module, name, message):
    registry = HandlerRegistry.from_modules([make_module(CONFIGURED)])

    with pytest.raises(HandlerNotFoundError, match=message):
        registry.resolve(spec(name))


def test_abstract_classes_are_not_handlers(make_module):
    module = make_module(
        """
        from abc import abstractmethod
        from tasker_actors import BasePublisher, BaseSubscriber, StepHandler

        class Base(StepHandler):
            handler_name = "base"

            def call(self, context):
                return self.work()

            @abstractmethod
            def work(self): ...

        class Own(Base):
            handler_name = "own"

            def work(self): ...
        """
    )

    assert HandlerRegistry.from_modules([module]).handler_names == ("own",)


def test_one_module_may_gather_the_handlers_of_others(make_module):
    library = make_module(FLIGHTS, "flights_kit")
    user = make_module("from flights_kit import Validate, assess")

    assert HandlerRegistry.from_modules([user]).handler_names == ("flights.assess", "flights.validate")
    assert len(HandlerRegistry.from_modules([user, library]).handler_names) == 3


def test_lazy_objects_in_a_module_are_left_alone(make_module):
    module = make_module(
        """
        class Lazy:
            def __getattribute__(self, name):
                raise RuntimeError("woken")

        lazy = Lazy()
        """
    )

    assert handlers_in([module]) == {}


DUPLICATES = {
    "two functions": """
        from tasker_actors import step_handler

        @step_handler("twice")
        def one(): ...

        @step_handler("twice")
        def two(): ...
    """,
    "a class and a function": """
        from tasker_actors import StepHandler, step_handler

        class one(StepHandler):
            handler_name = "twice"
            def call(self, context): ...

        @step_handler("twice")
        def two(): ...
    """,
    "a name that is inherited": """
        from tasker_actors import StepHandler

        class one(StepHandler):
            handler_name = "twice"
            def call(self, context): ...

        class two(one):
            pass
    """,
}


@pytest.mark.parametrize("source", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_a_name_that_is_used_twice_names_both_places(make_module, source):
    with pytest.raises(
        StartupError, match=r"'twice' is defined twice, by user_handlers\.one and by user_handlers\.two"
    ):
        HandlerRegistry.from_modules([make_module(source)])


def test_the_same_handler_seen_twice_is_one(make_module):
    module = make_module(FLIGHTS + "\n    same = assess\n", "flights_kit")

    assert HandlerRegistry.from_modules([module, module]).handler_names == (
        "flights.assess",
        "flights.notify",
        "flights.validate",
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('@step_handler("x")\ndef handler(unknown): ...', "nothing fills parameter 'unknown'"),
        ('@step_handler("x")\n@inputs("a")\ndef handler(): ...', "@inputs passes 'a'"),
        ('@inputs("a")\ndef handler(a): ...', "no @step_handler"),
        ('@step_handler("x")\ndef handler():\n    yield', "has a yield"),
        ('@step_handler("x")\nasync def handler():\n    yield', "has a yield"),
        ("class H(StepHandler):\n    handler_name = 5\n    def call(self, context): ...", "handler_name of"),
        ('class H(StepHandler):\n    handler_name = "native:x"\n    def call(self, context): ...', "handler_name of"),
    ],
)
def test_wrong_handlers_are_errors_when_they_are_collected(make_module, source, message):
    module = make_module(f"from tasker_actors import StepHandler, inputs, step_handler\n{source}\n")

    with pytest.raises(StartupError, match=message) as raised:
        HandlerRegistry.from_modules([module])

    assert "user_handlers" in str(raised.value)


def test_publishers_are_collected(make_module):
    registry = HandlerRegistry.from_modules(
        [
            make_module("""
                from tasker_actors import BasePublisher

                class Slack(BasePublisher):
                    publisher_name = "slack"
            """)
        ]
    )

    assert set(registry.publishers) == {"default", "slack"}
    assert type(registry.publishers["default"]) is DefaultPublisher


def test_subscribers_are_collected(make_module):
    registry = HandlerRegistry.from_modules(
        [
            make_module("""
                from tasker_actors import BaseSubscriber, subscriber

                @subscriber("flight.*", "order.#")
                def on_flight(event): ...

                class Audit(BaseSubscriber):
                    @classmethod
                    def subscribes_to(cls):
                        return ["*"]

                    def handle(self, event): ...
            """)
        ]
    )

    assert [tuple(one.patterns) for one in registry.subscribers] == [("flight.*", "order.#"), ("*",)]
