"""Files of contexts, one a line, and the batches made of them."""

import io
import json
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasker_actors.cli.errors import InputFileError
from tasker_actors.cli.json_lines import (
    MAX_BATCH_BYTES,
    MAX_BATCH_TASKS,
    batches,
    check_json_lines,
    open_json_lines,
)

OVERHEAD = 40


def cut(content, overhead=OVERHEAD):
    return list(batches(io.BytesIO(content), overhead=overhead))


def test_a_thousand_and_one_lines_are_two_batches():
    content = b"".join(b'{"n":%d}\n' % n for n in range(MAX_BATCH_TASKS + 1))

    first, second = cut(content)

    assert (len(first.contexts), first.first_line, first.last_line) == (1000, 1, 1000)
    assert (second.contexts, second.first_line, second.last_line) == ((b'{"n":1000}',), 1001, 1001)


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_context():
    content = b'\xef\xbb\xbf{"a":1}\r\n\r\n   \n{"b":2}'

    (batch,) = cut(content)

    assert batch.contexts == (b'{"a":1}', b'{"b":2}')
    assert (batch.first_line, batch.last_line) == (1, 4)


@settings(deadline=None)  # the machine is busy, not the code slow
@given(st.lists(st.sampled_from([2, 1_000, 300_000, 699_000, 700_000, 1_500_000]), min_size=1, max_size=12))
def test_batches_have_every_line_in_order_and_stay_below_the_limit_of_a_request(sizes):
    lines = [b"{%s}" % (b" " * (size - 2)) for size in sizes]

    found = cut(b"\n".join(lines))

    assert [context for batch in found for context in batch.contexts] == lines
    assert all(sum(len(context) + OVERHEAD for context in batch.contexts) <= MAX_BATCH_BYTES for batch in found)
    # No batch could have taken the first context of the next one.
    for batch, following in pairwise(found):
        together = (*batch.contexts, following.contexts[0])
        assert sum(len(context) + OVERHEAD for context in together) > MAX_BATCH_BYTES


def test_checking_counts_the_contexts_and_goes_back_to_the_start():
    lines = io.BytesIO(b'{"a":1}\n\n{"b":2}\n')

    assert check_json_lines(lines, "file", overhead=OVERHEAD) == 2
    assert lines.tell() == 0


def test_every_faulty_line_is_named_at_once():
    content = b'{"a":1}\n[1]\n{"b":\n' + b'{"c":"' + b"x" * MAX_BATCH_BYTES + b'"}\n{"d":NaN}\n'

    with pytest.raises(InputFileError) as refused:
        check_json_lines(io.BytesIO(content), "contexts.jsonl", overhead=OVERHEAD)

    first, second, third, fourth = str(refused.value).split("\n")
    assert first == "contexts.jsonl:2: a context is a JSON object, {…}"
    assert second.startswith("contexts.jsonl:3: not valid JSON: ")
    assert third.startswith(f"contexts.jsonl:4: a context of more than {MAX_BATCH_BYTES - OVERHEAD} bytes")
    assert fourth.startswith("contexts.jsonl:5: not valid JSON: ")
    assert refused.value.exit_code == 2


def test_a_thousand_faults_are_not_all_shown():
    with pytest.raises(InputFileError) as refused:
        check_json_lines(io.BytesIO(b"x\n" * 1000), "file", overhead=OVERHEAD)

    assert str(refused.value).split("\n")[-1] == "and 980 more"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_a_context_is_a_mistake(content):
    with pytest.raises(InputFileError, match="no line with a context"):
        check_json_lines(io.BytesIO(content), "file", overhead=OVERHEAD)


def test_a_pipe_can_be_read_twice(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = b'{"a":1}\n{"b":2}\n'
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()

    with open_json_lines(path) as lines:
        count = check_json_lines(lines, "pipe", overhead=OVERHEAD)
        (batch,) = batches(lines, overhead=OVERHEAD)
    writer.join()

    assert count == 2
    assert [json.loads(context) for context in batch.contexts] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(InputFileError) as refused, open_json_lines(tmp_path / name):
        pytest.fail("it was opened")

    assert str(tmp_path / name) in str(refused.value)


def test_a_line_that_never_ends_is_a_fault_and_not_read_to_its_end():
    with (
        Path("/dev/zero").open("rb") as endless,
        pytest.raises(InputFileError, match=r"zero:1: a context of more than \d+ bytes"),
    ):
        check_json_lines(endless, "zero", overhead=OVERHEAD)
