"""Reading what Fly sends: unknown members are ignored, absent and odd ones take their default."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T", bound=msgspec.Struct)


def read(kind: type[_T], found: object, **more: Any) -> _T:
    """A `kind` from a JSON object, with the fields of `more` set. Every field of `kind` must have a default."""
    members = found if isinstance(found, dict) else {}
    values = {}
    for field in msgspec.structs.fields(kind):
        value = members.get(field.encode_name)
        if value is None or field.name in more:
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError:
            continue
    return kind(**values, **more)


def read_all(kind: type[_T], found: object) -> list[_T]:
    """The same for each object of an array; what is no object is left out."""
    rows: Iterable[object] = found if isinstance(found, list) else []
    return [read(kind, row) for row in rows if isinstance(row, dict)]
