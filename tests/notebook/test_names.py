"""Names for results: every name that a variable can have and nobody else needs."""

from __future__ import annotations

import builtins
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import InputError
from vn_magic.notebook.names import check_output_name


@pytest.mark.parametrize("name", ["vectors", "x", "X2", "größe", "_mine", "Input", "outer", "i", "match", "displayed"])
def test_a_name_of_a_persons_own_is_accepted(name: str) -> None:
    check_output_name(name)


@pytest.mark.parametrize("name", ["", " ", "2x", "a b", "a-b", "a.b", "x\n", "é!", "df['a']"])
def test_what_no_variable_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a name that a variable can have"):
        check_output_name(name)


@pytest.mark.parametrize("name", keyword.kwlist)
def test_keywords_are_refused_as_such(name: str) -> None:
    with pytest.raises(InputError, match="is a Python keyword"):
        check_output_name(name)


@pytest.mark.parametrize(
    "name", [name for name in dir(builtins) if name.isidentifier() and not keyword.iskeyword(name)]
)
def test_builtins_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"builtin|belongs to IPython"):
        check_output_name(name)


@pytest.mark.parametrize(
    "name", ["In", "Out", "_", "__", "___", "_3", "_i", "_ii", "_i12", "_dh", "_oh", "get_ipython", "display"]
)
def test_ipythons_own_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="belongs to IPython"):
        check_output_name(name)


@given(st.text(max_size=6))
def test_what_is_accepted_can_be_assigned(name: str) -> None:
    try:
        check_output_name(name)
    except InputError:
        return
    namespace: dict[str, object] = {}
    exec(f"{name} = 1", namespace)
    assert namespace[name] == 1


def test_a_spelling_that_python_reads_as_another_name_is_refused() -> None:
    with pytest.raises(
        InputError, match="'\N{MICRO SIGN}' is a spelling that Python reads as '\N{GREEK SMALL LETTER MU}'"
    ):
        check_output_name("\N{MICRO SIGN}")


def test_a_refusal_names_the_next_step() -> None:
    with pytest.raises(InputError, match=r"Next: choose another name, e\.g\. vectors"):
        check_output_name("list")
