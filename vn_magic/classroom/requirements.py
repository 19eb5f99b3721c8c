"""What a notebook needs before it begins, said in its first cell."""

from __future__ import annotations

from pathlib import Path

from vn_magic.current import current_session
from vn_magic.exceptions import RequirementError
from vn_magic.session import Session
from vn_magic.settings import host_of


def require(*, token: bool = False, pack: str | Path | bool = False, offline: bool = False) -> None:
    """Stop a notebook here, with one sentence, unless the session has what the cells below need.

    Graders go on after an error. So nothing is embedded either, until somebody changes who answers, by ``%vn pack``,
    ``%vn offline``, ``%vn login`` or another base URL, or until the next `require` holds.

    Parameters
    ----------
    token
        There must be a token for the session's base URL. It is not sent anywhere to be checked.
    pack
        A pack must be in use; a name, with or without its folder, says which.
    offline
        The session must be offline (``%vn offline``): its vectors are the stand-in's.

    Raises
    ------
    RequirementError
        When one of them does not hold.

    Examples
    --------
    >>> import vn_magic
    >>> vn_magic.require(pack="lesson.vnpack")
    Traceback (most recent call last):
      ...
    vn_magic.exceptions.RequirementError: This notebook needs the pack 'lesson.vnpack', and no pack is in use.
    Next: `%vn pack use lesson.vnpack --strict` above this cell.
    """
    session = current_session()
    session.guard(lambda: _require(session, token=token, pack=pack, offline=offline))


def _require(session: Session, *, token: bool, pack: str | Path | bool, offline: bool) -> None:
    try:
        _check(session, token=token, pack=pack, offline=offline)
    except RequirementError as error:
        session.unmet = str(error)
        raise
    session.unmet = ""


def _check(session: Session, *, token: bool, pack: str | Path | bool, offline: bool) -> None:
    if pack:
        _require_pack(session, pack)
    if offline and not session.settings.offline:
        raise RequirementError(
            f"This notebook needs the offline stand-in, and the session talks to {session.settings.base_url}.\n"
            "Next: `%vn offline on` above this cell."
        )
    if token and session.find_token() is None:
        raise RequirementError(
            f"This notebook needs a token for {host_of(session.settings.base_url)}, and there is none.\n"
            "Next: `%vn login` above this cell, or set VECTORNODE_API_KEY before the kernel starts."
        )


def _require_pack(session: Session, pack: str | Path | bool) -> None:  # noqa: FBT001 - a name, or whichever
    wanted = "" if isinstance(pack, bool) else Path(pack).name
    needed = f"the pack {wanted!r}" if wanted else "a pack"
    in_use = session.pack
    file = f'"{pack}"' if " " in str(pack) else pack if wanted else "FILE"
    cure = f"Next: `%vn pack use {file} --strict` above this cell."
    if in_use is None:
        raise RequirementError(f"This notebook needs {needed}, and no pack is in use.\n{cure}")
    if wanted and in_use.pack.name != wanted:
        raise RequirementError(f"This notebook needs {needed}, and {in_use.pack.name!r} is in use.\n{cure}")
