"""Merging an environment, against a model that looks at every path alone."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.environments import for_environment, merge

values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
mappings = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def paths(value, prefix=()):
    """Every path of a value, with True where a mapping is."""
    yield prefix, isinstance(value, dict)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*prefix, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@given(mappings, mappings)
def test_merge_agrees_with_the_model_at_every_path(base, override):
    merged = merge(base, override)
    of_override, of_base = dict(paths(override)), dict(paths(base))
    for path, is_mapping in of_override.items():
        if not is_mapping:
            assert at(merged, path) == at(override, path)
    for path, is_mapping in of_base.items():
        above = [path[:length] for length in range(1, len(path) + 1)]
        replaced = any(part in of_override and not (of_override[part] and of_base[part]) for part in above)
        if not is_mapping and not replaced:
            assert at(merged, path) == at(base, path)
    assert set(dict(paths(merged))) <= set(of_base) | set(of_override)


@given(mappings, mappings)
def test_merge_changes_neither_side_and_is_the_same_when_repeated(base, override):
    before = copy.deepcopy((base, override))
    merged = merge(base, override)
    assert (base, override) == before
    assert merge(merged, override) == merged
    assert merge(base, {}) == base
    assert merge({}, override) == override


@given(mappings, mappings, mappings, st.booleans())
def test_a_step_is_what_all_and_then_its_own_override_make_of_it(base, general, own, own_is_first):
    step, other = {"name": "s", **base}, {"name": "t", **base}
    overrides = [{"name": "ALL", **general}, {"name": "s", **own}]
    document = {"steps": [step, other], "name": "template"}
    merged = for_environment(document, overrides[::-1] if own_is_first else overrides)
    assert merged == {"steps": [merge(merge(step, general), own), merge(other, general)], "name": "template"}
