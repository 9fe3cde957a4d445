"""What a template may say of limits, and what it is told where it may not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.load import parse_template

HEAD = """
name: order
namespace_name: shop
version: 1.0.0
"""
GOOD = "{scope: step, max_concurrent: 2}"


def faults_of(limit, *, template=""):
    text = f"{HEAD}limits: [{template}]\nsteps:\n  - {{name: a, handler: {{callable: shop.a}}, limits: [{limit}]}}\n"
    parsed, faults = parse_template(text, file="t.yaml", environment="production")
    assert (parsed is None) == any(fault.severity == "error" for fault in faults)
    return [(fault.step, fault.key, fault.message) for fault in faults]


@pytest.mark.parametrize(
    "limit",
    [
        GOOD,
        "{scope: namespace, rate: 100, period_seconds: 60, name: bank.api}",
        "{scope: template, max_concurrent: 100000}",
        "{scope: context, field: customer.id, max_concurrent: 1}",
        "{scope: context, field: items.0.id, rate: 1000000, period_seconds: 604800}",
        "{scope: step, max_concurrent: 2, rate: null, field: null}",
    ],
)
def test_a_good_limit_is_read(limit):
    assert faults_of(limit) == []
    assert faults_of("", template=limit) == []


@pytest.mark.parametrize(
    ("limit", "key", "words"),
    [
        ("{scope: step}", "", "must have either max_concurrent, or rate with period_seconds"),
        (
            "{scope: step, max_concurrent: 1, rate: 1, period_seconds: 1}",
            "",
            "must have either max_concurrent, or rate",
        ),
        ("{scope: step, rate: 1}", ".period_seconds", "is missing: a rate is so many steps in so many seconds"),
        ("{scope: step, max_concurrent: 1, period_seconds: 1}", ".period_seconds", "belongs to a rate"),
        ("{scope: context, max_concurrent: 1}", ".field", "is missing: scope context needs the path of a field"),
        ("{scope: step, max_concurrent: 1, field: a}", ".field", "belongs to scope context, not to step"),
        ("{scope: step, max_concurrent: 0}", ".max_concurrent", "must be at least 1, not 0"),
        ("{scope: step, max_concurrent: -3}", ".max_concurrent", "must be at least 1, not -3"),
        ("{scope: step, max_concurrent: 100001}", ".max_concurrent", "must be at most 100000, not 100001"),
        ("{scope: step, max_concurrent: 1.5}", ".max_concurrent", "must be a whole number, not 1.5"),
        ("{scope: step, max_concurrent: '2'}", ".max_concurrent", "must be a whole number, not '2'"),
        ("{scope: step, max_concurrent: true}", ".max_concurrent", "must be a whole number, not true"),
        ("{scope: step, rate: 0, period_seconds: 1}", ".rate", "must be at least 1, not 0"),
        ("{scope: step, rate: 1, period_seconds: 0}", ".period_seconds", "must be at least 1, not 0"),
        ("{scope: step, rate: 1, period_seconds: 604801}", ".period_seconds", "must be at most 604800"),
        (
            "{scope: stepp, max_concurrent: 1}",
            ".scope",
            "must be one of namespace, template, step, context, not 'stepp'",
        ),
        ("{scope: [step], max_concurrent: 1}", ".scope", "must be text"),
        ("{max_concurrent: 1}", ".scope", "is missing"),
        ("{scope: step, max_concurrent: 1, name: Bank}", ".name", "must be at most 64 lower-case letters"),
        ("{scope: step, max_concurrent: 1, name: ''}", ".name", "must be at most 64 lower-case letters"),
        ("{scope: step, max_concurrent: 1, name: 7}", ".name", "must be text"),
        ("{scope: context, field: a..b, max_concurrent: 1}", ".field", "must be names of fields with a dot"),
        ("{scope: context, field: 'a[0]', max_concurrent: 1}", ".field", "must not have brackets"),
        ("{scope: context, field: '', max_concurrent: 1}", ".field", "must not be empty"),
        ("many", "", "must be a mapping"),
        ("{scope: step, max_concurent: 1}", ".max_concurent", "unknown key (did you mean 'max_concurrent'?)"),
    ],
)
def test_a_wrong_limit_is_told_with_its_step_and_key(limit, key, words):
    for step, faults in (("a", faults_of(limit)), (None, faults_of("", template=limit))):
        assert any(fault[:2] == (step, f"limits[0]{key}") and words in fault[2] for fault in faults), faults


@pytest.mark.parametrize(
    ("step", "template", "key", "other"),
    [
        (f"{GOOD}, {GOOD}", "", "limits[1]", "steps[0].limits[0]"),
        (GOOD, GOOD, "limits[0]", "limits[0]"),
        ("{scope: namespace, max_concurrent: 2}", "{scope: namespace, max_concurrent: 9}", "limits[0]", "limits[0]"),
    ],
)
def test_a_step_has_each_limit_once(step, template, key, other):
    (fault,) = faults_of(step, template=template)

    assert fault == ("a", key, f"is the same limit as {other}: give one of them another name")


def test_a_template_has_each_limit_once():
    assert faults_of("", template=f"{GOOD}, {GOOD}") == [
        (None, "limits[1]", "is the same limit as limits[0]: give one of them another name")
    ]


def test_limits_that_differ_in_kind_name_or_owner_are_different():
    mine = (
        "{scope: step, max_concurrent: 2}, {scope: step, rate: 2, period_seconds: 1},"
        " {scope: step, max_concurrent: 3, name: other}, {scope: context, field: a, max_concurrent: 1},"
        " {scope: context, field: b, max_concurrent: 1}"
    )
    assert (
        faults_of(mine, template="{scope: context, field: a, max_concurrent: 1}, {scope: template, max_concurrent: 1}")
        == []
    )


def test_eight_limits_are_enough():
    nine = ", ".join(f"{{scope: step, max_concurrent: 1, name: n{number}}}" for number in range(9))

    assert faults_of(nine) == [("a", "limits", "must have at most 8 entries, not 9")]


def test_what_is_no_list_is_told_by_its_model():
    text = f"{HEAD}limits: 5\nsteps:\n  - {{name: a, handler: {{callable: shop.a}}}}\n"
    _, faults = parse_template(text, file="t.yaml", environment="production")
    assert [(fault.key, fault.message) for fault in faults] == [("limits", "must be a list, not 5")]


def test_an_environment_has_limits_of_its_own():
    text = f"""{HEAD}
steps:
  - {{name: a, handler: {{callable: shop.a}}, limits: [{GOOD}]}}
environments:
  production:
    steps:
      - {{name: a, limits: [{{scope: step, max_concurrent: 50}}]}}
"""
    found = [parse_template(text, file="t.yaml", environment=name)[0] for name in ("production", "test")]

    assert [template.steps[0].limits[0].max_concurrent for template in found if template] == [50, 2]


_values = st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["scope", "name", "field", "max_concurrent", "rate", "period_seconds", "x"]), _values
    )
)
def test_whatever_a_limit_is_faults_are_told_and_nothing_is_raised(limit):
    faults_of(json.dumps(limit))


def test_two_steps_that_share_a_limit_say_the_same_number():
    def shared(number):
        bank = f"{{scope: namespace, name: bank, max_concurrent: {number}}}"
        steps = "".join(
            f"  - {{name: {name}, handler: {{callable: shop.pay}}, limits: [{limit}]}}\n"
            for name, limit in (("a", bank.replace(str(number), "5")), ("b", bank))
        )
        _, faults = parse_template(f"{HEAD}steps:\n{steps}", file="t.yaml", environment="production")
        return [(fault.step, fault.key, fault.message) for fault in faults]

    assert shared(5) == []
    message = "is the limit of steps[0].limits[0], with other numbers: one limit has one number"
    assert shared(50) == [("b", "limits[0]", message)]
