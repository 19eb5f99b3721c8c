"""The tree as it is drawn, and errors as people see them."""

from __future__ import annotations

import builtins
import importlib
import os
import pickle
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.kernels import Kernel, kernel

import vn_magic
from vn_magic import exceptions
from vn_magic.exceptions import (
    BadAnswerError,
    DailyLimitError,
    EmbeddingInterruptedError,
    GatewayError,
    InputError,
    MissingExtraError,
    RateLimitedError,
    RejectedTextError,
    RowError,
    SettingsError,
    ShortTraceback,
    StopJobError,
    TransientError,
    VnMagicError,
)

_BRANCH = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)")


def drawn_tree() -> set[tuple[str, str | None]]:
    """The docstring's tree as pairs of child and parent."""
    pairs: set[tuple[str, str | None]] = set()
    above: list[tuple[int, str]] = []
    drawing = (exceptions.__doc__ or "").partition("::")[2]
    for line in drawing.splitlines():
        if found := _BRANCH.match(line):
            depth = len(found["indent"])
            above = [(other, name) for other, name in above if other < depth]
            pairs.add((found["name"], above[-1][1] if above else None))
            above.append((depth, found["name"]))
    return pairs


def error_classes() -> list[type[BaseException]]:
    """Every exception class that a module of the package defines."""
    found: dict[str, type[BaseException]] = {}
    for module in pkgutil.walk_packages(vn_magic.__path__, "vn_magic."):
        if module.name.endswith("__main__"):
            continue
        with suppress(MissingExtraError):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == module.name:
                    found[f"{module.name}.{value.__name__}"] = value
    return list(found.values())


ALL = error_classes()
OURS = [kind for kind in ALL if issubclass(kind, VnMagicError | EmbeddingInterruptedError)]
LEAVES = [kind for kind in OURS if issubclass(kind, GatewayError) and not kind.__subclasses__()]


def test_the_tree_is_as_it_is_drawn() -> None:
    def parent(kind: type[BaseException]) -> str | None:
        if kind is VnMagicError:
            return None
        return next(base.__name__ for base in kind.__bases__ if issubclass(base, VnMagicError | KeyboardInterrupt))

    real = {(kind.__name__, parent(kind)) for kind in OURS}
    assert real | {("KeyboardInterrupt", None)} == drawn_tree()


def test_all_errors_for_users_are_in_the_module_that_draws_them() -> None:
    assert {kind.__module__ for kind in OURS} == {"vn_magic.exceptions"}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_name_ends_in_error_and_shadows_no_builtin(kind: type[BaseException]) -> None:
    assert kind.__name__.endswith("Error")
    assert not hasattr(builtins, kind.__name__)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_of_the_gateway_stops_the_job_or_fails_its_row_or_is_tried_again(kind: type[GatewayError]) -> None:
    assert sum(issubclass(kind, family) for family in (StopJobError, RowError, TransientError)) == 1


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_of_the_gateway_has_a_meaning_and_a_cure_of_a_line_each(kind: type[GatewayError]) -> None:
    lines = str(kind.because("the detail")).splitlines()
    assert lines == [f"{kind.meaning} (the detail)", kind.cure]
    assert kind.meaning.endswith(".")
    assert kind.cure.startswith("Next: ")


def test_an_unusable_value_is_a_value_error_and_a_stop_is_an_interrupt_to_other_peoples_code() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(SettingsError, ValueError)
    assert issubclass(EmbeddingInterruptedError, KeyboardInterrupt)
    assert not issubclass(EmbeddingInterruptedError, Exception)


def test_an_error_at_a_row_names_row_and_text_and_is_the_same_error_otherwise() -> None:
    error = RateLimitedError("Slow.\nNext: wait.", status=429, code="c", request_id="r", retry_after=2.5)
    told = error.at_row(7, "x" * 60)
    assert str(told) == f"Row 7 ('{'x' * 39}…'): Slow.\nNext: wait."
    assert type(told) is RateLimitedError
    assert (told.status, told.code, told.request_id, told.retry_after) == (429, "c", "r", 2.5)


def test_a_text_with_line_breaks_does_not_make_an_error_longer() -> None:
    told = BadAnswerError.because("x").at_row(0, "first\nsecond\u2028third")
    assert len(str(told).splitlines()) == 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[BaseException], protocol: int) -> None:
    error = kind("what\nnext")
    if isinstance(error, GatewayError):
        error = type(error)("what\nnext", status=429, code="c", request_id="r", retry_after=2.5)
    back = pickle.loads(pickle.dumps(error, protocol))
    assert (type(back), str(back), vars(back)) == (kind, "what\nnext", vars(error))


# In a notebook


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("home")
    with kernel(environ={**os.environ, "IPYTHONDIR": str(home), "VN_MAGIC_CACHE": str(home / "cache")}) as running:
        assert running.run("from vn_magic.exceptions import *").status == "ok"
        yield running


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_a_notebook_shows_an_error_as_its_message_alone(notebook: Kernel, kind: type[BaseException]) -> None:
    reply = notebook.run(f"raise {kind.__name__}('What happened.\\nNext: the cure.')")
    assert reply.status == "error"
    assert reply.error == [f"{kind.__name__}: What happened.", "Next: the cure."]
    assert (reply.stdout, reply.stderr) == ("", "")


@pytest.mark.parametrize("mode", ["Plain", "Context", "Verbose", "Minimal"])
def test_an_error_is_short_in_every_mode_and_with_a_cause(notebook: Kernel, mode: str) -> None:
    notebook.run(f"%xmode {mode}")
    reply = notebook.run(
        "secret = 1\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise InputError('No.') from e"
    )
    assert reply.error == ["InputError: No."]


def test_a_full_traceback_is_shown_where_one_was_filled_in(notebook: Kernel) -> None:
    reply = notebook.run("error = InputError('No.')\nerror.full_traceback = 'one\\n  two\\nthree\\n'\nraise error")
    assert reply.error == ["one", "  two", "three"]


def test_short_is_a_matter_of_notebooks_and_python_shows_what_it_always_does() -> None:
    assert not issubclass(ShortTraceback, BaseException)
    assert repr(DailyLimitError("x")) == "DailyLimitError('x')"
    assert str(RejectedTextError("x")) == "x"
