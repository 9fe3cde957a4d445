import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.steps.batch.ranges import ranges_for_workers, ranges_of_size

COUNTS = st.integers(1, 10_000)


@given(total=st.integers(0, 100_000), size=COUNTS, most=st.none() | COUNTS)
def test_ranges_of_a_size_cover_every_item_once(total, size, most):
    if total // size > 2_000 and most is None:
        size = total // 2_000 + 1
    ranges = ranges_of_size(total, size, max_batches=most)

    edges = [0, *(one.end_cursor for one in ranges)]
    assert [one.start_cursor for one in ranges] == edges[:-1]
    assert edges[-1] == total
    assert all(one.end_cursor > one.start_cursor for one in ranges)
    assert most is None or len(ranges) <= most


@given(total=st.integers(0, 100_000), workers=st.integers(1, 200))
def test_ranges_for_workers_cover_every_item_once(total, workers):
    configs = ranges_for_workers(total, workers)

    edges = [0, *(one.cursor_end for one in configs)]
    assert [one.cursor_start for one in configs] == edges[:-1]
    assert edges[-1] == total
    assert len(configs) <= workers
    assert all(one.row_count == one.cursor_end - one.cursor_start > 0 for one in configs)
    assert [one.worker_index for one in configs] == list(range(len(configs)))


def test_a_config_of_a_worker_is_a_plain_dict_on_demand():
    assert ranges_for_workers(1000, 3)[1].to_dict() == {
        "batch_id": "002",
        "cursor_start": 334,
        "cursor_end": 668,
        "row_count": 334,
        "worker_index": 1,
        "total_workers": 3,
    }


@pytest.mark.parametrize(
    ("cut", "named"),
    [
        (lambda: ranges_of_size(10, 0), "batch_size must be at least 1, got 0"),
        (lambda: ranges_of_size(-1, 5), "total_items must not be negative, got -1"),
        (lambda: ranges_for_workers(10, 0), "worker_count must be at least 1, got 0"),
        (lambda: ranges_for_workers(-1, 2), "total_items must not be negative"),
    ],
)
def test_what_cannot_be_cut_is_named(cut, named):
    with pytest.raises(ValueError, match=named):
        cut()
