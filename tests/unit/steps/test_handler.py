import functools

import pytest

from tasker_actors.steps.declaration import declaration_of
from tasker_actors.steps.handler import StepHandler, step_handler
from tasker_actors.steps.inputs import depends_on, inputs
from tasker_actors.steps.result import StepHandlerResult


class Validate(StepHandler):
    handler_name = "flights.validate"
    handler_version = "2.1.0"

    def call(self, context):
        return self.success({"ok": True})


def test_a_class_has_its_name_and_version():
    handler = Validate()

    assert (handler.name, handler.version) == ("flights.validate", "2.1.0")
    assert repr(handler) == "Validate(name='flights.validate', version='2.1.0')"


def test_a_class_without_a_name_goes_by_its_own():
    class Nameless(StepHandler):
        def call(self, context): ...

    assert Nameless().name == "Nameless"
    assert Nameless().version == "1.0.0"


def test_a_class_without_call_cannot_be_made():
    class Base(StepHandler):
        handler_name = "base"

    with pytest.raises(TypeError, match="call"):
        Base()


def test_helpers_make_results():
    handler = Validate()

    assert handler.success({"a": 1}, {"m": 1}) == StepHandlerResult.success({"a": 1}, metadata={"m": 1})
    assert handler.success() == StepHandlerResult.success(None)
    assert handler.failure(
        "why", error_type="bad", retryable=False, metadata={"m": 1}, error_code="E", retry_after=2
    ) == StepHandlerResult.failure(
        "why", error_type="bad", retryable=False, metadata={"m": 1}, error_code="E", retry_after=2
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_decorators_say_the_same_in_any_order(order):
    decorators = [step_handler("flights.assess", version="3.0"), depends_on(weather="fetch"), inputs("carrier")]

    def assess(carrier, weather): ...

    for index in order:
        assess = decorators[index](assess)
    declaration = declaration_of(assess)

    assert (declaration.name, declaration.version) == ("flights.assess", "3.0")
    assert declaration.dependencies["weather"].step_name == "fetch"
    assert declaration.input_keys == ("carrier",)


def test_a_decorated_function_can_still_be_called_by_hand():
    @step_handler("double")
    @inputs("n")
    def double(n):
        return {"n": 2 * n}

    assert double(4) == {"n": 8}


def test_a_wrapping_decorator_between_ours_is_kept():
    def traced(function):
        @functools.wraps(function)
        def wrapper(**arguments):
            return function(**arguments) | {"traced": True}

        return wrapper

    @step_handler("double")
    @traced
    @inputs("n")
    def double(n):
        return {"n": 2 * n}

    assert declaration_of(double).input_keys == ("n",)
    assert double(n=1) == {"n": 2, "traced": True}


@pytest.mark.parametrize("name", ["", "  ", None, 5, lambda: None])
def test_a_handler_needs_a_name(name):
    with pytest.raises(TypeError, match="takes the handler's name"):
        step_handler(name)


def test_a_python_handler_cannot_have_a_native_name():
    with pytest.raises(TypeError, match="shared library"):
        step_handler("native:lib.so#run")


def test_a_class_is_not_a_function():
    with pytest.raises(TypeError, match="handler_name instead"):
        step_handler("x")(Validate)


def test_a_function_is_one_handler_only():
    with pytest.raises(TypeError, match="already the handler 'a'"):

        @step_handler("b")
        @step_handler("a")
        def handler(): ...
