"""What a setting is to be, in words for those who set it: the types are Python's, and the environment is text."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import inspect

ADDRESS: Final = "^https?://"


def expected(kind: Any) -> str:
    """What a value of the field's type `kind` reads like: `a whole number from 1 to 2000`."""
    return _of(inspect.type_info(kind))


def _of(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(type=inner):
            return _of(inner)
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return f"a {'whole ' * isinstance(kind, inspect.IntType)}number{_bounds(kind)}"
        case inspect.VarTupleType(item_type=item):
            return f"a comma-separated list, each {_of(item)}"
        case inspect.StrType(pattern=pattern) if pattern == ADDRESS:
            return "an address that begins with http:// or https://"
        case _:
            return "a text"


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    return "".join(_each_bound(kind))


def _each_bound(kind: inspect.IntType | inspect.FloatType) -> Iterator[str]:
    if kind.gt is not None:
        yield f" above {kind.gt:g}"
    if kind.ge is not None:
        yield f" from {kind.ge:g}{' up' * (kind.le is None)}"
    if kind.le is not None:
        yield f" to {kind.le:g}"
