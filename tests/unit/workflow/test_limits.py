"""Which steps have one limit together, and which have two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.limits import LimitKind, LimitScope, limit_name
from tasker_actors.workflow.template import TaskTemplate


def limits_of(*, template=(), step=()):
    made = TaskTemplate.model_validate(
        {
            "name": "order",
            "namespace_name": "shop",
            "version": "1",
            "limits": list(template),
            "steps": [{"name": "charge", "handler": {"callable": "shop.charge"}, "limits": list(step)}],
        }
    )
    (planned,) = plan(made)
    return planned.limits


@pytest.mark.parametrize(
    ("declared", "of_template", "of_step"),
    [
        ({"scope": "namespace", "max_concurrent": 1}, "concurrency", "concurrency"),
        ({"scope": "template", "rate": 1, "period_seconds": 2}, "order/rate", "order/rate"),
        ({"scope": "step", "max_concurrent": 1}, "order/charge/concurrency", "order/charge/concurrency"),
        ({"scope": "step", "max_concurrent": 1, "name": "bank"}, "order/charge/bank", "order/charge/bank"),
        (
            {"scope": "context", "field": "a.b", "max_concurrent": 1},
            "order[a.b]/concurrency",
            "order/charge[a.b]/concurrency",
        ),
        ({"scope": "context", "field": "a.b", "name": "users", "max_concurrent": 1}, "users[a.b]", "users[a.b]"),
    ],
)
def test_a_limit_is_named_after_what_its_steps_share(declared, of_template, of_step):
    assert [limit.name for limit in limits_of(template=[declared])] == [of_template]
    assert [limit.name for limit in limits_of(step=[declared])] == [of_step]


def test_a_step_has_the_limits_of_its_template_and_then_its_own():
    rate = {"scope": "context", "field": "customer.id", "rate": 5, "period_seconds": 60}
    first, second = limits_of(template=[{"scope": "namespace", "max_concurrent": 3}], step=[rate])

    assert (first.kind, first.max_concurrent, first.rate, first.period_seconds, first.field) == (
        *("concurrency", 3, None, None),
        None,
    )
    assert (second.kind, second.max_concurrent, second.rate, second.period_seconds) == ("rate", None, 5, 60)
    assert second.field == ("customer", "id")


_names = st.from_regex(r"\A[a-z][a-z0-9_.-]{0,5}\Z")
_steps = st.text(st.characters(codec="ascii", categories=["L", "P", "S"]), min_size=1, max_size=6)
_fields = st.from_regex(r"\A[a-z]{1,3}(\.[a-z]{1,3})?\Z")


@st.composite
def named(draw):
    """Everything that a limit's name is made of; those of one scope and kind must differ where these do."""
    scope = draw(st.sampled_from(LimitScope))
    name = draw(st.none() | _names)
    template = draw(_names)
    step = draw((st.none() | _steps) if scope is LimitScope.CONTEXT else _steps)
    field = draw(_fields) if scope is LimitScope.CONTEXT else None
    kind = draw(st.sampled_from(LimitKind))
    shared = {
        LimitScope.NAMESPACE: (),
        LimitScope.TEMPLATE: (template,),
        LimitScope.STEP: (template, step),
        LimitScope.CONTEXT: (field,) if name is not None else (template, step, field),
    }[scope]
    text = limit_name(scope, kind, name=name, field=field, template=template, step=step)
    own = kind.value if name is None else name
    return (scope, kind, own if scope is not LimitScope.CONTEXT or name is not None else None, shared), (
        scope,
        kind,
        text,
    )


@given(named(), named())
def test_limits_are_the_same_exactly_where_what_they_are_made_of_is(one, other):
    assert (one[0] == other[0]) == (one[1] == other[1])
