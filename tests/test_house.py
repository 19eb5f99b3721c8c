"""The rules that hold the house up: which floor may call which, and who may touch a foreign library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vn_magic

ROOT = Path(vn_magic.__file__).parent

# From the top down: a module imports from its own floor or from below, never from above.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("__init__", "sklearn"),
    ("notebook",),
    ("classroom",),
    ("diagnosis", "accessor"),
    ("handover",),
    ("queries",),
    ("api",),
    ("scale",),
    ("current",),
    ("session", "files"),
    ("runtime", "request"),
    ("pictures", "frames", "door"),
    ("embedder", "portal", "rows"),
    ("gateway", "tally", "trace", "history"),
    ("lookup", "embeddings", "texts", "cells", "candidates"),
    ("cache_thread", "underway", "pack", "pack_format"),
    ("cache",),
    ("keys", "models", "progress", "journal", "forks", "budget", "likeness"),
    ("settings", "credentials"),
    ("exceptions", "wording", "explore", "offline"),
)
GATEKEEPERS = {
    "httpx": ("gateway/transport.py", "gateway/network.py"),
    "aiohttp": ("gateway/network.py",),
    "anyio": ("gateway/concurrency.py",),
    "sqlite3": ("cache.py", "gateway/ledger.py"),
    "pandas": (
        *("frames.py", "accessor.py", "files.py", "cells.py", "candidates.py", "classroom/", "scale/", "handover/"),
    ),
    "sklearn": ("explore/manifolds.py", "scale/"),
    "dask": ("scale/",),
    "distributed": ("scale/",),
    "pyarrow": ("files.py", "scale/", "handover/"),
    "chromadb": ("handover/chroma.py",),
    "langchain_core": ("handover/langchain.py",),
    "lancedb": ("handover/lance.py",),
    "jscatter": ("handover/scatter.py",),
    "embedding_atlas": ("handover/atlas.py",),
    "umap": ("explore/manifolds.py",),
    "IPython": ("notebook/", "__init__.py"),  # the entry point names the shell's type for the type checker only
    "traitlets": ("notebook/",),
    "ipywidgets": ("notebook/",),
    "anywidget": ("notebook/",),
    "starlette": ("offline/", "gateway/"),  # the client names its ASGI type for the type checker only
    "uvicorn": ("offline/serve.py", "offline/punctual.py"),
}
PURE = ("gateway/wire.py", "gateway/envelopes.py", "gateway/retry.py", "explore/", "rows.py", "texts.py", "keys.py")
IMPURE = {
    "asyncio",
    "httpx",
    "os",
    "pathlib",
    "random",
    "requests",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
}


def _modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)).replace("\\", "/")


def _imports(path: Path, *, late: bool = True) -> Iterator[str]:
    """Yield the dotted names that a module imports; ``late`` ones, inside functions, too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if late else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names
            if not all(_is_module(name) for name in names):
                yield str(node.module)


def _floor(dotted: str) -> int:
    part = dotted.split(".")[1] if "." in dotted else "__init__"
    return next(number for number, names in enumerate(FLOORS) if part in names)


def _own(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "vn_magic." + ".".join(part for part in parts if part != "__init__" or len(parts) == 1)


def _is_module(dotted: str) -> bool:
    path = ROOT.parent / Path(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_imports_go_down_only(path: Path) -> None:
    mine = _floor(_own(path))
    for dotted in _imports(path):
        if dotted.startswith("vn_magic.") and _is_module(dotted):
            assert _floor(dotted) >= mine, f"{_name(path)} imports {dotted} from above"


def test_there_are_no_circles() -> None:
    graph = {
        _own(path): {dotted for dotted in _imports(path) if dotted.startswith("vn_magic.") and _is_module(dotted)}
        for path in _modules()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("library", GATEKEEPERS)
def test_a_foreign_library_has_its_gatekeepers(library: str) -> None:
    importers = [_name(path) for path in _modules() if any(name.split(".")[0] == library for name in _imports(path))]
    assert [name for name in importers if not name.startswith(GATEKEEPERS[library])] == []


@pytest.mark.parametrize("path", [path for path in _modules() if _name(path).startswith(PURE)], ids=_name)
def test_the_middle_is_pure(path: Path) -> None:
    assert {name.split(".")[0] for name in _imports(path)} & IMPURE == set()


def test_the_stand_in_imports_nothing_else_of_the_package() -> None:
    for path in (ROOT / "offline").glob("*.py"):
        assert [
            name for name in _imports(path) if name.startswith("vn_magic") and not name.startswith("vn_magic.offline")
        ] == []


def test_there_are_no_mutable_module_globals() -> None:
    mutable = []
    for path in _modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            named = isinstance(target, ast.Name) and not target.id.strip("_").isupper() and target.id != "__all__"
            if named and isinstance(node.value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp):
                mutable.append(f"{_name(path)}: {ast.unparse(target)}")
    # The default session outside IPython, made late and locked.
    assert mutable == ["current.py: _default_session"]


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_no_module_is_so_long_that_it_must_have_two_reasons_to_change(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
