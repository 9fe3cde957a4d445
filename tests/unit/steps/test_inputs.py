import pytest
from pydantic import BaseModel

from tasker_actors.steps.declaration import DependencyInput, declaration_of
from tasker_actors.steps.inputs import depends_on, inputs


class Weather(BaseModel):
    wind: float


def test_keys_read_from_top_to_bottom_and_once():
    @inputs("carrier", "dep_delay")
    @inputs("dep_delay", "origin")
    def handler(carrier, dep_delay, origin): ...

    assert declaration_of(handler).input_keys == ("carrier", "dep_delay", "origin")


def test_a_model_and_keys_may_be_taken_by_two_decorators():
    @inputs(Weather)
    @inputs("origin")
    def handler(inputs, origin): ...

    assert declaration_of(handler).input_model is Weather
    assert declaration_of(handler).input_keys == ("origin",)


def test_dependencies_by_name_and_by_model():
    @depends_on(weather="fetch_weather")
    @depends_on(typed=("fetch_weather", Weather))
    def handler(weather, typed): ...

    assert declaration_of(handler).dependencies == {
        "typed": DependencyInput("fetch_weather", Weather),
        "weather": DependencyInput("fetch_weather"),
    }


def test_one_function_does_not_change_what_another_declares():
    def first(a): ...

    def second(a, b): ...

    shared = inputs("a")
    shared(first)
    inputs("b")(shared(second))

    assert declaration_of(first).input_keys == ("a",)
    assert declaration_of(second).input_keys == ("b", "a")


@pytest.mark.parametrize(
    "given",
    [(), ("",), (5,), (dict,), (Weather, "a"), (Weather, Weather), (lambda: None,), (["a"],)],
)
def test_inputs_refuses_anything_but_keys_or_one_model(given):
    with pytest.raises(TypeError, match="inputs takes names of context keys or one pydantic model"):
        inputs(*given)


@pytest.mark.parametrize("given", ["", 5, None, ("step",), ("step", dict), ("step", "Model"), ("", Weather)])
def test_depends_on_refuses_anything_but_a_step_or_a_step_with_a_model(given):
    with pytest.raises(TypeError, match="weather="):
        depends_on(weather=given)


def test_decorators_without_parentheses_are_refused():
    def handler(carrier): ...

    with pytest.raises(TypeError, match="inputs takes"):
        inputs(handler)
    with pytest.raises(TypeError):
        depends_on(handler)


@pytest.mark.parametrize("target", [object(), 5, "text", Weather, len])
def test_only_functions_are_decorated(target):
    with pytest.raises(TypeError, match="@inputs"):
        inputs("a")(target)
