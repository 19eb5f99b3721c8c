"""Whatever somebody types in a notebook whose session has a token, no output shows it."""

from __future__ import annotations

from typing import Any

import pytest
from support.hunt import CANARY, MASK, Hunt

# What is typed, and a part of what it shows: a cell that showed nothing would leave no trace for a poor reason.
TYPED = {
    "session": "<Session http://127.0.0.1",
    "session.find_token()": f"FoundToken(token=Token({MASK})",
    "token = session.find_token().token\ntoken, [token], {token}, {'token': token}": f"Token({MASK})",
    "print(f'{token} {token!r} {token!s:>30}', '%s %r' % (token, token), '{}'.format(token))": f"Token({MASK})",
    "vars(session), vars(session.tokens), session.runtime._clients": f"Token({MASK})",
    "dir(session), dir(session.tokens), dir(token)": "'masked'",
    "import inspect\n[inspect.getmembers(one) for one in (session, session.tokens, token)]": f"Token({MASK})",
    "import pprint; pprint.pprint(session.tokens.__dict__)": f"Token({MASK})",
    "import json; json.dumps(vars(session.tokens), default=str)": "_own",
    "token?": "A secret that shows only its mask",
    "session.tokens??": "TokenStore",
    "%who": "session",
    "%whos": "Session",
    "%who_ls": "token",
    "%config VnMagic": "VnMagic.base_url",
    "%env": "IPYTHONDIR",
    "%history -n -o": "session",
    "%recall 1": "",
    "%vn status": MASK,
    "%vn doctor": MASK,
    "%vn pack save typed.vnpack": "typed.vnpack   written",
    "%vn pack info typed.vnpack": "checksum: ",
    "%vn login": "Nobody can be asked",
    "df.vec.provenance, df.attrs": "source",
    "df": "one",
    "df.vec.scatter()": "Scatter of 2 rows",
    "df.vec.nearest('one', k=1)": "one",
    "import copy; copy.copy(token), copy.deepcopy([token]), copy.copy(session.tokens)": f"Token({MASK})",
    "%%capture taken\nprint(token)\ntoken": "",
    "taken.stdout, taken.outputs": MASK,
    "import warnings; warnings.warn(f'{session} {token} {session.tokens}')": "UserWarning",
    "import threading; [vars(one) for one in threading.enumerate()]": "vn_magic loop",
    "__import__('sys')._current_frames()": "frame",
    "import gc; gc.collect(); [e for e in gc.get_objects() if isinstance(e, BaseException)]": "[",
}

# The words are Python's where the session holds something else, too, that cannot be taken out of its process.
REFUSED = (
    "%store token",
    "%store session",
    "import pickle; pickle.dumps(token)",
    "import pickle; pickle.dumps(session.find_token())",
    "import pickle; pickle.dumps(session.tokens)",
    "import pickle; pickle.dumps(session)",
    "import copy; copy.deepcopy(session)",
)


def _said(reply: Any) -> str:
    heard = [message["content"] for message in reply.messages if message["msg_type"] != "execute_input"]
    return f"{heard} {reply.answer}"


def test_nothing_that_is_typed_shows_the_token(logged_in: Any, hunt: Hunt) -> None:
    replies = {cell: logged_in.run(cell) for cell in TYPED}
    assert {cell for cell, reply in replies.items() if TYPED[cell] not in _said(reply)} == set()
    assert {cell for cell, reply in replies.items() if hunt.finds(_said(reply))} == set()


@pytest.mark.parametrize("cell", REFUSED)
def test_what_holds_the_token_can_be_neither_pickled_nor_stored(logged_in: Any, hunt: Hunt, cell: str) -> None:
    logged_in.run("token = session.find_token().token")
    reply = logged_in.run(cell)
    assert (reply.status, reply.result) == ("error", None)
    assert not hunt.finds(_said(reply))


def test_the_token_would_be_seen_if_it_were_shown(logged_in: Any, hunt: Hunt) -> None:
    client = logged_in.kernel.client
    shown = {"seen": "session.find_token().token.reveal()"}
    message_id = client.execute("", silent=True, store_history=False, user_expressions=shown)
    assert hunt.finds(str(logged_in.kernel.finish(message_id).answer))


def test_no_inspector_of_variables_finds_it_from_the_session(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run("from support.inspection import shown, holders")
    walked = logged_in.see("*(f'{path} = {text}' for path, text in shown(session, 'session')), sep='\\n'")
    assert f"session.tokens._own.token = Token({MASK})" in walked
    assert "session.runtime.portal._thread = <Thread(vn_magic loop" in walked
    assert "._transport._http = " in walked
    assert not hunt.finds(walked)


def test_after_jobs_that_went_well_and_jobs_that_failed_only_the_token_itself_holds_it(logged_in: Any) -> None:
    logged_in.run(
        "vn_magic.embed(['three'], cache=False)",
        "vn_magic.embed(['x'], model='nobody-serves-this')",
        "%vn debug on",
        "%embed --model nobody-serves-this 'x'",
        "%vn debug off",
        "from support.inspection import shown, holders",
    )
    assert logged_in.see("holders()") == "['cell']"


def test_no_file_that_is_written_holds_it(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run(
        "%logstart -o -r -t session.log",
        "session.find_token(), session",
        "df.vec.save('df.npz')",
        "df.vec.save('df.parquet')",
        "df.to_pickle('df.pickle')\ndf.to_csv('df.csv')\ndf.to_json('df.json')\ndf.to_html('df.html')",
        "open('scatter.html', 'w').write(str(df.vec.scatter()._repr_mimebundle_()))",
        "%vn pack save lesson.vnpack",
        "%vn pack save frame.vnpack df",
        "%store session.tokens",
        "token = session.find_token().token\n%store token\n%store",
        "%notebook history.ipynb",
        "%history -g -o -f history.txt",
        "%logstop",
        "get_ipython().history_manager.writeout_cache()",
    )
    written = {path.name for path in logged_in.folder.rglob("*") if path.is_file()}
    assert written >= {
        "session.log",
        "df.npz",
        "df.parquet",
        "df.pickle",
        "df.csv",
        "df.json",
        "df.html",
        "scatter.html",
        "lesson.vnpack",
        "frame.vnpack",
        "history.ipynb",
        "history.txt",
        "history.sqlite",
        "embeddings.sqlite3",
        "token",
    }
    assert hunt.files(logged_in.folder) == []


def test_a_second_client_hears_of_the_login_and_not_of_the_token(logged_in: Any, listener: Any, hunt: Hunt) -> None:
    listener.heard()
    assert "accepted" in logged_in.kernel.run("%vn login", stdin=CANARY).card
    heard = listener.heard()
    assert {"execute_input", "display_data"} <= {message["msg_type"] for message in heard}
    assert "input_request" not in {message["msg_type"] for message in heard}  # it goes to whoever runs the cell
    assert not hunt.finds(str(heard))


def test_the_question_for_the_token_asks_the_front_end_to_hide_it(logged_in: Any) -> None:
    client = logged_in.kernel.client
    message_id = client.execute("%vn login", allow_stdin=True)
    asked = client.get_stdin_msg(timeout=60)
    client.input(CANARY)
    logged_in.kernel.finish(message_id)
    assert asked["content"]["password"] is True
    assert "Token for 127.0.0.1" in asked["content"]["prompt"]
