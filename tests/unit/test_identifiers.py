import uuid

import pytest

from tasker_actors.identifiers import is_uuid, new_uuid7


def test_new_ids_are_canonical_uuids_of_version_7():
    text = new_uuid7()
    assert uuid.UUID(text).version == 7
    assert str(uuid.UUID(text)) == text


def test_new_ids_ascend_in_the_order_they_were_made():
    made = [new_uuid7() for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("version", [uuid.uuid1, uuid.uuid4, lambda: uuid.UUID(int=0)])
def test_any_version_is_a_uuid_in_either_case(version):
    text = str(version())
    assert is_uuid(text)
    assert is_uuid(text.upper())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0" * 32,
        "{00000000-0000-0000-0000-000000000000}",
        "00000000-0000-0000-0000-00000000000g",
        "00000000-0000-0000-0000-000000000000\n",
        " 00000000-0000-0000-0000-000000000000",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "\u06600000000-0000-0000-0000-000000000000",
        None,
        7,
    ],
)
def test_everything_else_is_no_uuid(text):
    assert not is_uuid(text)
