"""The two ends of a memory block; each file of tests has a `path` of its own."""

import pytest

from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.reader import BlockReader


@pytest.fixture
def writer(path):
    return BlockWriter(path)


@pytest.fixture
def reader(path):
    reader = BlockReader(path)
    yield reader
    reader.remove()
