import pytest

from tasker_actors.workflow.scalars import ScalarError, plain_scalar, storable_text, tagged_scalar

YAML_TAG = "tag:yaml.org,2002:"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0x1F", 31),
        ("0o17", 15),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.", -1.0),
    ],
)
def test_scalars_of_the_core_schema(text, value):
    read = plain_scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "y", "1:30", "2025-01-01", "007", "1_000", "0b1", "1.0.0", "nULL", "=", "<<", "\u0661"],
)
def test_what_only_yaml_1_1_takes_for_something_else_stays_text(text):
    assert plain_scalar(text) == text


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", ".nan", "1e999", "18446744073709551616", "-9223372036854775809", "9" * 5_000]
)
def test_numbers_that_json_or_the_database_cannot_carry_are_refused(text):
    with pytest.raises(ScalarError) as raised:
        plain_scalar(text)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff x"])
def test_text_that_cannot_be_stored_is_refused(text):
    with pytest.raises(ScalarError):
        storable_text(text)


def test_text_beyond_the_basic_plane_is_kept():
    assert storable_text("é😀\u2028") == "é😀\u2028"


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("!", "12", "12"),
        (f"{YAML_TAG}str", "true", "true"),
        (f"{YAML_TAG}int", "12", 12),
        (f"{YAML_TAG}float", "12", 12.0),
        (f"{YAML_TAG}bool", "true", True),
        (f"{YAML_TAG}null", "", None),
    ],
)
def test_tags_of_json_values(tag, text, value):
    read = tagged_scalar(tag, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (f"{YAML_TAG}binary", "aGk="),
        (f"{YAML_TAG}timestamp", "2025-01-01"),
        (f"{YAML_TAG}python/name:os.system", ""),
        ("!mine", "x"),
        ("int", "12"),
        (f"{YAML_TAG}int", "twelve"),
        (f"{YAML_TAG}bool", "yes"),
    ],
)
def test_other_tags_and_values_that_do_not_fit_theirs_are_refused(tag, text):
    with pytest.raises(ScalarError):
        tagged_scalar(tag, text)
