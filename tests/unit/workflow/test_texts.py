import pytest

from tasker_actors.workflow import texts


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (texts.template_name, "order_processing-2.b"),
        (texts.step_name, "Charge the card"),
        (texts.version, "1.0.0-rc.1+build"),
        (texts.version, "any text"),
        (texts.callable_path, "flights.validate"),
        (texts.callable_path, "Module::Sub::Handler"),
        (texts.callable_path, "native:/opt/lib/x#1.so#run"),
        (texts.method_name, "refund"),
        (texts.namespace, "flights"),
        (texts.event_name, "flight.delayed"),
    ],
)
def test_texts_that_are_allowed_come_back(check, text):
    assert check(text) == text


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (texts.template_name, "a/b"),
        (texts.template_name, "a@1"),
        (texts.template_name, "a b"),
        (texts.template_name, "-a"),
        (texts.template_name, "a" * 256),
        (texts.step_name, ""),
        (texts.step_name, "ALL"),
        (texts.step_name, " a"),
        (texts.step_name, "a\nb"),
        (texts.step_name, "a\x7f"),
        (texts.version, ""),
        (texts.version, "1 "),
        (texts.callable_path, ""),
        (texts.callable_path, "native:lib.so"),
        (texts.callable_path, "native:#run"),
        (texts.callable_path, "native:lib.so#"),
        (texts.callable_path, "a" * 501),
        (texts.method_name, "a-b"),
        (texts.method_name, "__init__"),
        (texts.method_name, ""),
        (texts.namespace, "Flights"),
        (texts.event_name, "delayed"),
    ],
)
def test_texts_that_are_refused_say_why(check, text):
    with pytest.raises(ValueError, match=r"\w+"):
        check(text)
