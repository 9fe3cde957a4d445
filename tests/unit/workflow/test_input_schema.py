import json

from tasker_actors.workflow.input_schema import MAX_CONTEXT_FAULTS, ContextFault, validate_context

FLIGHT = {
    "type": "object",
    "required": ["carrier", "dep_time"],
    "additionalProperties": False,
    "properties": {
        "carrier": {"type": "string", "minLength": 2},
        "dep_time": {"type": "integer", "minimum": 0},
        "legs": {"type": "array", "items": {"type": "object", "required": ["from/to"]}},
    },
}


def test_a_good_context_has_no_fault():
    assert validate_context(FLIGHT, {"carrier": "AA", "dep_time": 517}) == []
    assert validate_context(None, {"anything": object}) == []


def test_every_fault_has_the_pointer_of_its_place():
    faults = validate_context(FLIGHT, {"carrier": 7, "legs": [{"from/to": 1}, {}]})
    assert {fault.path for fault in faults} == {"/carrier", "/dep_time", "/legs/1/from~1to"}
    assert ContextFault("/dep_time", "'dep_time' is a required property") in faults


def test_two_missing_properties_are_two_faults():
    assert [fault.path for fault in validate_context(FLIGHT, {})] == ["/carrier", "/dep_time"]


def test_a_fault_of_the_whole_context_has_the_empty_pointer():
    assert validate_context(FLIGHT, [])[0].path == ""


def test_the_number_and_the_size_of_faults_are_bounded():
    faults = validate_context({"items": {"type": "string"}}, [{"x": "y" * 10_000}] * 500)
    assert len(faults) == MAX_CONTEXT_FAULTS
    assert all(len(fault.message) < 400 for fault in faults)


def test_messages_can_be_sent_whatever_the_context_has_in_it():
    (fault,) = validate_context({"type": "integer"}, "\ud800")
    json.dumps(fault.message, ensure_ascii=False).encode()
