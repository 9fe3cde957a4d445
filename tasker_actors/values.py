"""Values that are made for each step or message: frozen for the type checker, and cheap to make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(*, eq: bool = True) -> Callable[[type[_T]], type[_T]]:
    """Make a class a value with slots; an assignment to a field of one is an error of mypy's, as of a frozen dataclass.

    At run time nothing guards the fields: a frozen dataclass sets each through `object.__setattr__`, which more than
    doubles the time to make one, and a step takes a dozen of them. Without `eq` two values are equal only if they are
    the same one.
    """
    return dataclass(slots=True, eq=eq, unsafe_hash=eq)
