"""What can be seen of a value, and what holds a token. It may run in a kernel, so it names no token itself."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

import numpy as np

from vn_magic import current_session

_MOST_OBJECTS = 20_000
# numpy's numbers have parts that are numbers with parts, made anew whenever one looks.
_LEAVES = (ModuleType, type, FunctionType, BuiltinFunctionType, MethodType, np.ndarray, np.generic)


def shown(root: object, name: str = "it") -> Iterator[tuple[str, str]]:
    """Yield path and repr of an object and of everything that debuggers and inspectors open from it.

    Attributes by ``dir``, private ones included, items of containers; not what is called ``__so__``, and no
    functions: an inspector does not call. Of the standard library's objects (loops, threads, sockets) only containers
    are opened: the others make new objects whenever one looks, and there is no end to it.
    """
    seen: dict[int, object] = {}
    left: list[tuple[str, object]] = [(name, root)]
    while left:
        path, value = left.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        assert len(seen) < _MOST_OBJECTS, f"there is no end to it: {path}"
        yield path, f"{value!r} {value!s}"
        left += _inside(path, value)


def _inside(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, _LEAVES):
        return
    if isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield f"{path} key", key
            yield f"{path}[{key!r:.40}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for number, item in enumerate(list(value)):
            yield f"{path}[{number}]", item
    if type(value).__module__.partition(".")[0] in sys.stdlib_module_names:
        return
    for attribute in dir(value):
        if not (attribute.startswith("__") and attribute.endswith("__")):
            try:
                yield f"{path}.{attribute}", getattr(value, attribute)
            except Exception:  # noqa: BLE001 - a property may raise what it likes; then it shows nothing
                continue


def holders() -> list[str]:
    """Return the types of all objects in this process that hold the session's token, wherever they are.

    For a cell in a kernel: the token itself is taken from the session, so that no cell has to name it.
    """
    found = current_session().find_token()
    assert found is not None
    secret = found.token.reveal()[-8:]
    gc.collect()
    named = []
    for holder in gc.get_objects():
        for part in gc.get_referents(holder):
            if isinstance(part, str | bytes | bytearray) and part is not secret:
                text = part if isinstance(part, str) else bytes(part).decode("latin-1")
                if secret in text:
                    named.append(type(holder).__name__)
    return named
