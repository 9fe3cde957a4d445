"""Which messages travel between processes, and what is refused at which end."""

from __future__ import annotations

import datetime as dt
import math
import pickle
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Literal

import orjson
import pytest

from tasker_actors.actors import MessageRegistry
from tasker_actors.errors import ProtocolError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: float


@dataclass(frozen=True)
class Label:
    text: str


@dataclass(frozen=True, slots=True)
class Everything:
    text: str
    number: int
    ratio: float
    flag: bool
    nothing: None
    data: bytes
    colour: Colour
    points: tuple[Point, ...]
    pair: tuple[int, str]
    named: dict[str, Point]
    free: dict[str, Any]
    mapping: Mapping[str, Any]
    anything: Any
    maybe: str | None
    either: Point | Label
    mixed: Point | Label | int | None


@dataclass(frozen=True, slots=True)
class Tree:
    value: Any
    left: Tree | None
    right: Tree | None


@dataclass(frozen=True, slots=True)
class Empty:
    pass


EVERYTHING = Everything(
    text="zwölf 🛫 \x00",
    number=-(2**63),
    ratio=0.1,
    flag=True,
    nothing=None,
    data=bytes(range(256)),
    colour=Colour.BLUE,
    points=(Point(1, 2.5), Point(2, 3.0)),
    pair=(1, "one"),
    named={"origin": Point(0, 0.0)},
    free={"a": [1, {"b": None}]},
    mapping={},
    anything=[1, "two", None],
    maybe=None,
    either=Label("tag"),
    mixed=Point(5, 6.0),
)


def there_and_back(registry, message):
    name, body = registry.encode(message)
    name, body = orjson.loads(orjson.dumps([name, body]))
    return registry.decode(name, body)


def registered(*types):
    return MessageRegistry(types)


def test_every_kind_of_field_comes_back_as_it_was():
    again = there_and_back(registered(Everything), EVERYTHING)
    assert again == EVERYTHING
    assert type(again.colour) is Colour
    assert type(again.points[1].y) is float


def test_a_class_may_contain_itself_and_have_no_fields():
    tree = Tree(1, Tree({"deep": True}, None, None), None)
    registry = registered(Tree, Empty)
    assert there_and_back(registry, tree) == tree
    assert there_and_back(registry, Empty()) == Empty()


def test_a_plain_json_value_travels_without_a_name():
    registry = registered()
    assert registry.encode({"a": 1})[0] is None
    assert there_and_back(registry, {"a": [1, None, "x"]}) == {"a": [1, None, "x"]}


def test_an_integer_is_a_float_where_a_float_is_declared():
    assert there_and_back(registered(Point), Point(1, 2)).y == 2.0


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (list, "is not one of"),
        (list[int], "is not one of"),
        (set[int], "is not one of"),
        (dt.datetime, "is not one of"),
        (uuid.UUID, "is not one of"),
        (object, "is not one of"),
        (Level, "is not one of"),
        (Literal["a"], "is not one of"),
        (dict[int, str], "is not one of"),
        (str | bytes, "both written as str"),
        (Colour | str, "both written as str"),
        (Point | dict[str, int], "both written as dict"),
        (tuple[int, ...] | tuple[str, ...], "both written as"),
    ],
)
def test_a_field_that_could_not_be_read_back_is_refused_at_registration(annotation, reason):
    bad = dataclass(frozen=True)(type("Bad", (), {"__annotations__": {"field": annotation}, "__module__": __name__}))
    with pytest.raises(TypeError, match=rf"Bad\.field cannot travel between processes: .*{reason}"):
        registered(bad)


@dataclass
class Mutable:
    x: int


@dataclass(frozen=True)
class Computed:
    x: int = field(init=False, default=1)


@dataclass(frozen=True, kw_only=True)
class Keyword:
    x: int


@pytest.mark.parametrize("wrong", [Mutable, int, str, Computed, Keyword])
def test_only_frozen_dataclasses_with_positional_fields_are_messages(wrong):
    with pytest.raises(TypeError):
        registered(wrong)


def test_a_refused_class_stays_unknown():
    registry = registered()
    for _ in range(2):
        with pytest.raises(TypeError):
            registry.register(Computed)


def test_one_name_belongs_to_one_class():
    registry = registered(Point)
    registry.register(Point)
    with pytest.raises(ValueError, match="'Point' belongs to"):
        registry.register(Label, "Point")


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Point("1", 2.0), r"Point\.x: '1' is str, not int"),
        (Point(True, 2.0), r"Point\.x: True is bool, not int"),
        (Point(2**64, 2.0), "64"),
        (Point(1, math.nan), r"Point\.y: nan has no JSON"),
        (Point(1, -math.inf), r"Point\.y: -inf has no JSON"),
        (Label("\ud800"), "surrogates"),
        (Label(b"bytes"), r"Label\.text: b'bytes' is bytes"),
        (Tree({"deep": [1.0, math.nan]}, None, None), "contains nan"),
        (Tree(None, Tree(math.inf, None, None), None), "contains inf"),
        (Tree({1: 2}, None, None), "Dict key must be str"),
        (Tree({1, 2}, None, None), "not JSON serializable"),
        (Tree(b"bytes", None, None), "not JSON serializable"),
        (Tree(Point(1, 2.0), None, None), "not JSON serializable"),
        (Tree(dt.datetime(2025, 12, 1, tzinfo=dt.UTC), None, None), "not JSON serializable"),
        (Empty(), "Empty is not registered"),
        (object(), "not JSON serializable"),
        (math.nan, "contains nan"),
    ],
)
def test_what_would_arrive_as_something_else_is_refused_by_the_sender(message, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        registered(Point, Label, Tree).encode(message)


@pytest.mark.parametrize(
    ("name", "body", "complaint"),
    [
        ("Point", {"x": 1}, "has the fields x, y"),
        ("Point", {"x": 1, "y": 2.0, "z": 3}, "has the fields x, y"),
        ("Point", {"x": 1, "z": 3}, r"Point\.y is missing"),
        ("Point", [1, 2.0], "has the fields"),
        ("Point", None, "has the fields"),
        ("Point", {"x": 1.5, "y": 2.0}, r"Point\.x: 1.5 is float, not int"),
        ("Point", {"x": 1, "y": None}, r"Point\.y: None is NoneType"),
        ("os.system", {"command": "true"}, "'os.system' is not registered"),
        ("Everything", {"x": 1}, "has the fields"),
    ],
)
def test_what_is_not_a_message_is_refused_by_the_reader(name, body, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        registered(Point, Everything).decode(name, body)


@pytest.mark.parametrize(
    ("field_name", "wrong", "complaint"),
    [
        ("data", "not base64!", "'not base64!' is not base64"),
        ("colour", "green", "'green' is not a valid Colour"),
        ("points", [{"x": 1, "y": 2.0}, 5], "1: 5 is int, not dict"),
        ("pair", [1], "1 values, not 2"),
        ("pair", ["1", "one"], "0: '1' is str, not int"),
        ("named", {"origin": 5}, "origin: 5 is int, not dict"),
        ("either", ["Empty", {}], r"\['Empty', {}\] is none of Point, Label"),
        ("either", {"text": "untagged"}, ".* is dict, not list"),
        ("mixed", "text", "'text' is str, not NoneType or int or list"),
        ("flag", 1, "1 is int, not bool"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(field_name, wrong, complaint):
    registry = registered(Everything)
    name, body = orjson.loads(orjson.dumps(registry.encode(EVERYTHING)))
    body[field_name] = wrong
    with pytest.raises(ProtocolError, match=rf"Everything\.{field_name}: {complaint}"):
        registry.decode(name, body)


@dataclass(frozen=True)
class Positive:
    value: int

    def __post_init__(self):
        if self.value <= 0:
            raise ValueError("must be positive")


def test_a_constructor_that_refuses_is_a_protocol_error():
    with pytest.raises(ProtocolError, match="Positive refuses its fields: must be positive"):
        registered(Positive).decode("Positive", {"value": 0})


def test_nothing_is_unpickled():
    bomb = pickle.dumps(print)
    with pytest.raises(ProtocolError):
        registered(Label).encode(bomb)
