"""Content of JSON files as the classes it was written from: types are checked, not believed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Content = TypeVar("Content")


def typed(kind: type[Content], content: Any) -> Content:
    """``content`` as a dataclass or other type.

    Raises:
        ValueError: says which field has another type.
    """
    from pydantic import ValidationError

    try:
        checked: Content = _adapter(cast(Any, kind)).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    return checked


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
