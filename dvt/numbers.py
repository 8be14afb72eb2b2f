"""Numbers of numpy and torch where Python numbers are meant. Imports neither: options are read without them."""

import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def plain_numbers(value: Any) -> Any:
    """The value with numbers of numpy, and tensors without dimensions, as Python numbers.

    Lists, tuples, dicts and options (dataclasses of dvt) are looked into; they come back as they are where nothing
    changes. Arrays and other tensors stay.

    Examples:
        >>> import numpy as np
        >>> plain_numbers([np.int64(2), {"a": np.float32(0.5)}, (np.True_, "b")])
        [2, {'a': 0.5}, (True, 'b')]
    """
    if _is_instance(value, "numpy", "generic") or (_is_instance(value, "torch", "Tensor") and value.ndim == 0):
        return value.item()
    match value:
        case list() | tuple():
            found: list[Any] = [each if is_dataclass(each) else plain_numbers(each) for each in value]
            if all(new is old for new, old in zip(found, value, strict=True)):
                return value
            return type(value)(*found) if hasattr(value, "_fields") else type(value)(found)
        case dict():
            entries = {name: plain_numbers(each) for name, each in value.items()}
            return value if all(entries[name] is value[name] for name in value) else entries
    if is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("dvt."):
        old = {entry.name: getattr(value, entry.name) for entry in fields(value) if entry.init}
        changed = {name: new for name, each in old.items() if (new := plain_numbers(each)) is not each}
        return replace(value, **changed) if changed else value
    return value


def _is_instance(value: Any, package: str, kind: str) -> bool:
    """Whether the value is of a type of a package; it cannot be where nobody has imported the package."""
    found = sys.modules.get(package)
    return found is not None and isinstance(value, getattr(found, kind))


def takes_numbers(function: Callable[P, T]) -> Callable[P, T]:
    """Let a public function take numbers of numpy and torch as well; it meets Python numbers.

    Examples:
        >>> import numpy as np
        >>> @takes_numbers
        ... def double(count: int) -> int:
        ...     return 2 * count
        >>> double(np.int64(3))
        6
    """

    @wraps(function)
    def plainly(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*map(plain_numbers, args), **{name: plain_numbers(each) for name, each in kwargs.items()})

    return plainly
