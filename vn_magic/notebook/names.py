"""Names for results: which of them a variable may have."""

from __future__ import annotations

import builtins
import keyword
import re
from unicodedata import normalize

from vn_magic.exceptions import InputError

_IPYTHON_NAMES = re.compile(r"^(In|Out|get_ipython|exit|quit|open|display|_+|_i+|_ii?i?|_dh|_oh|_ih|_sh|_i?\d+)$")


def check_output_name(name: str) -> None:
    """Refuse a name that cannot be a variable, or that would hide something people need.

    Raises
    ------
    InputError
        Saying why.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        why = "is a Python keyword" if keyword.iskeyword(name) else "is not a name that a variable can have"
    elif _IPYTHON_NAMES.match(name):
        why = "belongs to IPython"
    elif hasattr(builtins, name):
        why = "is a Python builtin, which would be hidden"
    elif (read := normalize("NFKC", name)) != name:
        why = f"is a spelling that Python reads as {read!r}, so the variable would not be found"
    else:
        return
    raise InputError(f"The output {name!r} {why}.\nNext: choose another name, e.g. vectors.")
