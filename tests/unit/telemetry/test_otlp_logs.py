"""Log lines as OTLP log records."""

from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber

from tasker_actors.telemetry.otlp_logs import log_record

LINE = {
    "timestamp": "2025-12-01T10:30:00.123456Z",
    "level": "warning",
    "logger": "tasker_actors.worker",
    "thread": "MainThread",
    "worker": 1,
    "pid": 7,
    "event": "Something happened",
}


def record(**fields):
    return log_record(LINE | fields)


def attributes(of):
    return {pair.key: pair.value.string_value for pair in of.attributes}


def test_time_severity_and_body():
    found = record()
    assert found.time_unix_nano == 1764585000123456000
    assert (found.severity_text, found.severity_number) == ("WARNING", SeverityNumber.SEVERITY_NUMBER_WARN)
    assert found.body.string_value == "Something happened"


def test_levels_are_ordered_as_opentelemetry_orders_them():
    numbers = [record(level=level).severity_number for level in ("debug", "info", "warning", "error", "critical")]
    assert numbers == sorted(set(numbers))


def test_fields_are_attributes_but_for_those_with_a_place_of_their_own():
    found = record(correlation_id="c", duration_ms=2, traceback="Traceback …")
    assert attributes(found) | {"duration_ms": ""} == {
        "thread.name": "MainThread",
        "correlation_id": "c",
        "duration_ms": "",
        "exception.stacktrace": "Traceback …",
    }


def test_ids_of_the_trace_are_bytes():
    found = record(trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331")
    assert found.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert found.span_id.hex() == "b7ad6b7169203331"


def test_what_is_no_id_is_left_out():
    found = record(trace_id="not hex", span_id="abcd")
    assert (found.trace_id, found.span_id) == (b"", b"")
