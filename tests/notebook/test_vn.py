"""`%vn` in a real kernel: who is asked, as whom, and what is wrong."""

from __future__ import annotations

import os

import pytest
from support.gateways import Served, answering, json_answer, served
from support.kernels import Kernel, kernel


def _environ(**more: str) -> dict[str, str]:
    return {**os.environ, **more}


def test_doctor_finds_a_working_gateway_well(gateway: Served, token: str) -> None:
    with kernel(environ=_environ(VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token)) as client:
        client.run("%load_ext vn_magic")
        lines = client.run("%vn doctor").stdout.splitlines()
    host = gateway.url.removeprefix("http://")
    assert f"ok  base URL: {host} answers" in lines
    assert "ok  token: sk-…0c93 from $VECTORNODE_API_KEY: accepted" in lines
    assert [line for line in lines if line.startswith("ok  clock: ")]
    assert [line for line in lines if line.startswith("ok  front end: IPythonKernel")]
    # Nobody can be asked in a cell that was sent without stdin, and the doctor says so.
    assert [line for line in lines if line.startswith("!!")] == [
        "!!  prompt: nobody to ask (nbclient, papermill, a grader)"
    ]


def test_doctor_names_a_cure_for_a_refused_token_and_for_silence(gateway: Served) -> None:
    with kernel(environ=_environ(VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY="sk-not-the-one-1234")) as client:
        client.run("%load_ext vn_magic")
        refused = client.run("%vn doctor").stdout
        client.run("%config VnMagic.base_url = 'http://127.0.0.1:9'")
        silent = client.run("%vn doctor").stdout
    assert "!!  token: sk-…1234 from $VECTORNODE_API_KEY: refused\n     cure: `%vn login` with a fresh token" in refused
    assert "!!  base URL: http://127.0.0.1:9: The gateway could not be reached." in silent
    assert "cure: check the base URL" in silent


def test_doctor_tells_a_clock_that_is_off() -> None:
    old = json_answer({"object": "list", "data": []}, date="Mon, 01 Jan 2024 00:00:00 GMT")
    with (
        served(answering(old), dated=False) as server,
        kernel(environ=_environ(VN_MAGIC_BASE_URL=server.url, VECTORNODE_API_KEY="sk-x-1234567890")) as client,
    ):
        client.run("%load_ext vn_magic")
        assert "!!  clock: " in client.run("%vn doctor").stdout


def test_a_gateway_without_a_list_of_models_cannot_check_a_token(token: str) -> None:
    with (
        served(
            answering(json_answer({"error": {"message": "Invalid URL", "type": "invalid_request_error"}}, 404))
        ) as server,
        kernel(environ=_environ(VN_MAGIC_BASE_URL=server.url)) as client,
    ):
        client.run("%load_ext vn_magic")
        assert "cannot be checked here; the first text will tell" in client.run("%vn login", stdin=token).card
        assert "token: sk-…0c93 from %vn login" in client.run("%vn status").stdout


def test_logout_says_when_the_environment_still_has_a_token(gateway: Served, token: str) -> None:
    with kernel(environ=_environ(VN_MAGIC_BASE_URL=gateway.url, VECTOR_ENGINE_API_KEY="sk-from-outside-777")) as client:
        client.run("%load_ext vn_magic")
        client.run("%vn login", stdin=token)
        assert "$VECTOR_ENGINE_API_KEY still holds sk-…-777" in client.run("%vn logout").card


def test_login_without_anybody_to_ask_names_the_variables(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%vn login")
    assert reply.error[0] == "TokenError: Nobody can be asked for a token here: there is no prompt."
    assert "VECTORNODE_API_KEY_FILE" in reply.error[1]


def test_a_token_on_the_line_is_not_echoed_whatever_its_shape(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%vn login AIzaSyD-some-other-shape")
    assert "rotate the token" in "\n".join(reply.error)
    assert "AIzaSyD" not in "\n".join(reply.error)


def test_cache_tells_where_it_is_and_can_be_emptied(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline")
    fresh_kernel.run("%%embed x\none\ntwo\n")
    assert "cache   2 rows" in fresh_kernel.run("%vn cache").card
    path = fresh_kernel.run("%vn cache path").card
    assert path == os.path.join(os.environ["VN_MAGIC_CACHE"], "embeddings.sqlite3")  # noqa: PTH118 - as it is printed
    assert "2 rows forgotten" in fresh_kernel.run("%vn cache clear").card
    assert "2 new, 0 from cache" in fresh_kernel.run("%%embed x\none\ntwo\n").card


def test_debug_shows_where_an_error_came_from(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn debug")
    assert "Traceback (most recent call last):" in fresh_kernel.run("%embed 3.5").error
    fresh_kernel.run("%vn debug off")
    assert len(fresh_kernel.run("%embed 3.5").error) == 2


def _two_words(kernel: Kernel) -> None:
    kernel.run("%%embed --split csv -o words -d 128\ntext,two words\none,a\ntwo,b\nthree,a\nfour,b\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scatter words", ["Scatter of 4 rows (PCA)", "lexical, not semantic"]),
        ("scatter words[words.index > 0]", ["Scatter of 3 rows (PCA)"]),
        ('scatter words --color "two words" --text text', ["Scatter of 4 rows (PCA)", "Color: two words: a, b."]),
        ('scatter -c "two words" words[words["text"] != "a --b"];', ["Scatter of 4 rows (PCA)", "two words: a, b."]),
        ("scatter words['embedding'] --method=pca", ["Scatter of 4 rows (PCA)"]),
        ("heatmap words --text text", ["Heatmap of 4 rows", "Most alike"]),
    ],
)
def test_pictures_have_magic_twins(shared_kernel: Kernel, line: str, said: list[str]) -> None:
    _two_words(shared_kernel)
    reply = shared_kernel.run(f"%vn {line}")
    assert (reply.status, [words for words in said if words not in reply.card]) == ("ok", [])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("scatter", "%vn scatter needs a frame with vectors"),
        ("scatter nothing_here", "cannot be evaluated (NameError"),
        ("scatter [1, 2]", "is a list, expected a DataFrame or a Series with vectors"),
        ("scatter words --color", "--color needs a value"),
        ("scatter words --colour x", "there is no option --colour"),
        ("scatter words --color nobody", "there is no column 'nobody'"),
        ("scatter words --method som", "there is no method 'som'"),
        ("heatmap words --color text", "there is no option --color"),
        ("heatmap 'unclosed", "cannot be evaluated (SyntaxError"),
    ],
)
def test_what_a_picture_cannot_be_made_of_is_said_in_three_lines(shared_kernel: Kernel, line: str, why: str) -> None:
    _two_words(shared_kernel)
    reply = shared_kernel.run(f"%vn {line}")
    assert why in "\n".join(reply.error)
    assert len(reply.error) <= 3


def test_the_twins_tell_their_options(shared_kernel: Kernel) -> None:
    assert "[--method pca|umap|tsne]" in shared_kernel.run("%vn scatter -h").stdout
    overview = shared_kernel.run("%vn").stdout
    assert "%vn heatmap" in overview
    assert "DF [--text COLUMN]" in overview
