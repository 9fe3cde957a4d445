from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, field_validator

from tasker_actors.steps.arguments import plan_arguments
from tasker_actors.steps.declaration import FunctionDeclaration, declaration_of
from tasker_actors.steps.failures import InvalidInputError
from tasker_actors.steps.inputs import depends_on, inputs


def arguments(function, context):
    plan, faults = plan_arguments(function, declaration_of(function) or FunctionDeclaration())
    assert faults == []
    return plan.arguments(context)


def faults_of(function):
    return plan_arguments(function, declaration_of(function) or FunctionDeclaration())[1]


def test_inputs_results_and_context_come_by_name(make_context):
    @depends_on(weather="fetch_weather")
    @inputs("carrier", "dep_delay")
    def handler(carrier, dep_delay, weather, context): ...

    context = make_context(
        input_data={"carrier": "AA", "dep_delay": 12, "other": 1}, dependency_results={"fetch_weather": {"wind": 3}}
    )

    assert arguments(handler, context) == {
        "carrier": "AA",
        "dep_delay": 12,
        "weather": {"wind": 3},
        "context": context,
    }


def test_context_is_passed_only_where_it_is_asked_for(make_context):
    @inputs("carrier")
    def handler(carrier): ...

    assert arguments(handler, make_context(input_data={"carrier": "AA"})) == {"carrier": "AA"}


def test_an_underscore_marks_a_parameter_that_is_not_used(make_context):
    @inputs("reason")
    def handler(_reason, _context): ...

    context = make_context(input_data={"reason": "late"})

    assert arguments(handler, context) == {"_reason": "late", "_context": context}


def test_what_is_absent_is_none_unless_the_parameter_has_a_default(make_context):
    @depends_on(a="one", b="two")
    @inputs("c", "d")
    def handler(a, c, b="B", d="D"): ...

    assert arguments(handler, make_context()) == {"a": None, "c": None}


def test_null_is_a_value_and_beats_a_default(make_context):
    @depends_on(b="two")
    @inputs("d")
    def handler(b="B", d="D"): ...

    context = make_context(input_data={"d": None}, dependency_results={"two": None})

    assert arguments(handler, context) == {"b": None, "d": None}


def test_a_function_that_takes_anything_gets_every_declared_name(make_context):
    @inputs("dep-delay")
    @depends_on(weather="fetch")
    def handler(**values): ...

    assert arguments(handler, make_context(input_data={"dep-delay": 1})) == {"dep-delay": 1, "weather": None}


class Flight(BaseModel):
    model_config = ConfigDict(extra="forbid")
    carrier: str
    delay: int = 0
    gate: str | None


def test_a_model_reads_its_own_keys_and_no_others(make_context):
    @inputs(Flight)
    def handler(inputs): ...

    built = arguments(handler, make_context(input_data={"carrier": "AA", "gate": "B4", "unrelated": {}}))

    assert built == {"inputs": Flight(carrier="AA", delay=0, gate="B4")}


def test_an_absent_nullable_field_is_none_and_a_default_stays(make_context):
    @inputs(Flight)
    def handler(inputs): ...

    assert arguments(handler, make_context(input_data={"carrier": "AA"}))["inputs"] == Flight(carrier="AA", gate=None)


def test_aliases_of_a_model_name_keys_of_the_context(make_context):
    class Aliased(BaseModel):
        delay: int = Field(alias="depDelay")
        carrier: str = Field(validation_alias=AliasChoices("op", "carrier"))
        city: str = Field(validation_alias=AliasPath("origin", "city"))

    @inputs(Aliased)
    def handler(inputs): ...

    data = {"depDelay": 5, "carrier": "AA", "origin": {"city": "NYC"}}
    built = arguments(handler, make_context(input_data=data))["inputs"]

    assert (built.delay, built.carrier, built.city) == (5, "AA", "NYC")


def test_inputs_that_do_not_fit_say_which_and_keep_the_values_out(make_context):
    class Payment(BaseModel):
        card: int
        amount: float

    @inputs(Payment)
    def handler(inputs): ...

    with pytest.raises(InvalidInputError) as raised:
        arguments(handler, make_context(input_data={"card": "4111-secret"}))

    error = raised.value
    assert "inputs do not fit Payment" in str(error)
    assert "amount: is missing from the task's context" in str(error)
    assert [fault["path"] for fault in error.metadata["faults"]] == ["card", "amount"]
    assert "4111" not in f"{error}{error.metadata}"


def test_a_required_alias_that_is_absent_is_called_missing(make_context):
    class Aliased(BaseModel):
        delay: int = Field(alias="depDelay")

    @inputs(Aliased)
    def handler(inputs): ...

    with pytest.raises(InvalidInputError, match="depDelay: is missing"):
        arguments(handler, make_context())


class Weather(BaseModel):
    wind: float


def test_a_result_becomes_its_model(make_context):
    @depends_on(weather=("fetch_weather", Weather))
    def handler(weather): ...

    context = make_context(dependency_results={"fetch_weather": {"wind": 3}})

    assert arguments(handler, context) == {"weather": Weather(wind=3)}
    assert arguments(handler, make_context()) == {"weather": None}


@pytest.mark.parametrize("result", [{"wind": "strong"}, {}, [1], "text"])
def test_a_result_that_does_not_fit_its_model_names_the_step(make_context, result):
    @depends_on(weather=("fetch_weather", Weather))
    def handler(weather): ...

    with pytest.raises(InvalidInputError, match="result of step 'fetch_weather' does not fit Weather"):
        arguments(handler, make_context(dependency_results={"fetch_weather": result}))


def test_other_errors_of_a_validator_are_the_handlers_own(make_context):
    class Broken(BaseModel):
        a: Any = None

        @field_validator("a")
        @classmethod
        def check(cls, value):
            raise ConnectionError("lookup service is down")

    @inputs(Broken)
    def handler(inputs): ...

    with pytest.raises(ConnectionError):
        arguments(handler, make_context(input_data={"a": 1}))


def test_many_faults_are_shortened_in_the_metadata(make_context):
    class Row(BaseModel):
        values: list[int]

    @inputs(Row)
    def handler(inputs): ...

    with pytest.raises(InvalidInputError) as raised:
        arguments(handler, make_context(input_data={"values": ["x"] * 500}))

    assert len(raised.value.metadata["faults"]) == 20
    assert "480 more" in str(raised.value)


def test_keys_of_the_data_in_a_fault_can_be_stored(make_context):
    class Prices(BaseModel):
        prices: dict[str, int]

    @inputs(Prices)
    def handler(inputs): ...

    with pytest.raises(InvalidInputError) as raised:
        arguments(handler, make_context(input_data={"prices": {"\x00" + "k" * 5000: "x"}}))

    assert "\x00" not in f"{raised.value}{raised.value.metadata}"
    assert len(str(raised.value)) < 1000


def test_every_fault_of_a_signature_is_found():
    @depends_on(weather="fetch", twice="fetch")
    @inputs("carrier", "twice", "context")
    def handler(positional, /, twice, unknown, context, *rest, fine=1): ...

    faults = "\n".join(faults_of(handler))

    for expected in (
        "@depends_on passes the result of 'fetch' as 'weather' but the function has no parameter",
        "@inputs passes 'carrier' but the function has no parameter",
        "parameter 'twice' is filled twice",
        "parameter 'context' is filled twice: it is the StepContext",
        "parameter 'positional' is positional-only",
        "nothing fills parameter 'unknown'",
    ):
        assert expected in faults
    assert "fine" not in faults
    assert "rest" not in faults


def test_a_model_needs_a_parameter_named_inputs():
    @inputs(Flight)
    def handler(flight): ...

    assert len(faults_of(handler)) == 2
    assert "a Flight as 'inputs'" in faults_of(handler)[0]
