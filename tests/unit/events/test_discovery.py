"""Publishers are found in modules, by class, and made once; each has a name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from tasker_actors.events.discovery import publishers_in
from tasker_actors.events.outgoing import PublisherError
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher


class Recording(BasePublisher):
    """A publisher of somebody's."""

    publisher_name = "recording"


def test_a_publisher_is_named_after_its_class_unless_it_says_otherwise():
    class Unnamed(BasePublisher):
        pass

    class Named(BasePublisher):
        publisher_name = "named"

    assert Unnamed().publisher_name == "Unnamed"
    assert Named().publisher_name == "named"
    assert DefaultPublisher().publisher_name == "default"


def module_with(**values: Any) -> ModuleType:
    module = ModuleType("user_handlers")
    vars(module).update(values)
    return module


def test_publishers_are_found_by_class_and_made_once():
    module = module_with(Recording=Recording, again=Recording, BasePublisher=BasePublisher, number=3, sys=sys)
    found = publishers_in([module, module_with(Recording=Recording)])
    assert sorted(found) == ["default", "recording"]
    assert isinstance(found["recording"], Recording)


def test_two_publishers_of_one_name_are_an_error():
    imposter = type("Imposter", (BasePublisher,), {"publisher_name": "recording"})
    with pytest.raises(PublisherError, match=r"Recording.*Imposter.*'recording'"):
        publishers_in([module_with(Recording=Recording, Imposter=imposter)])


def test_a_publisher_that_cannot_be_made_is_named():
    class Needy(BasePublisher):
        def __init__(self, url):
            self.url = url

    with pytest.raises(PublisherError, match="Needy"):
        publishers_in([module_with(Needy=Needy)])
