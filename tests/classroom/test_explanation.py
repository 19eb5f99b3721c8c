"""What is told of a job and of its rows, on a real wire; and the command that is told, run by the real curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.answers import answer as http
from faults.answers import json_answer, openai_error
from faults.gateway import Arrival, Script, fault_gateway
from support.engine import BAD_TEXT, NO_BALANCE, behind
from support.gateways import Received, Served, served
from support.hunt import CANARY, MASK, Hunt
from support.missing import missing

from vn_magic import Session
from vn_magic.cache import FILE_NAME
from vn_magic.classroom.curl import LONGEST_BODY
from vn_magic.classroom.explanation import explained
from vn_magic.classroom.recording import save_session
from vn_magic.classroom.row_story import SERVED_STAND_IN
from vn_magic.cli import main
from vn_magic.exceptions import InputError, VnMagicError
from vn_magic.offline import create_app, lexical
from vn_magic.trace import MOST_EXCHANGES

TEXTS = {
    "quotes": """It's "quoted" and `ticked`""",
    "for a shell": "$HOME $(echo no) !! \\n \\ * ~ #; & | > %s",
    "line breaks": "one\ntwo\r\n\tthree",
    "other scripts": "naïve 日本語 Ελλάδα 🚲",
    "only signs": "''''\"\"\"\"",
}
CUT = "gemini-embedding-001 reads 2,048: the rest is likely cut, without notice"


@contextmanager
def talking_to(script: Script, **options: Any) -> Iterator[Session]:
    with fault_gateway(script) as gateway:
        session = Session(base_url=gateway.base_url, token=CANARY, **options)
        yield session
        session.close()


def embed(session: Session, *texts: object, **options: Any) -> None:
    """Run a job to its end, whatever that is."""
    with suppress(VnMagicError):
        session.embed(list(texts), **options)


def told(session: Session, number: int | None = None) -> dict[str, str]:
    """Return what is told by its headings, without the row's number; the command is under ``curl``."""
    sections: dict[str, list[str]] = {}
    for line in explained(session, number).splitlines():
        if re.match(r"curl |  \S", line):
            sections.setdefault("curl", []).append(line)
        elif line:
            heading = re.sub(r" \d+$", "", line[:10].strip()) or heading  # noqa: F821 - the first line has one
            sections.setdefault(heading, []).append(line[11:])
    return {heading: "\n".join(lines) for heading, lines in sections.items()}


def run(command: str, folder: Path, token: str, shell: str = "sh") -> str:
    """Run a command as it was printed, in a shell that knows of the token alone; return what it printed."""
    if shutil.which("curl") is None:
        missing("curl (Debian: apt-get install curl)")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "VECTORNODE_API_KEY": token}
    done = subprocess.run(
        [shell, "-c", command], env=environ, cwd=folder, capture_output=True, check=False, timeout=60, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_sent(request: Received) -> tuple[str, str, dict[str, str], bytes]:
    return request.method, request.path, request.headers, request.body


# The command


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_command_sends_what_the_job_sent_byte_for_byte(
    session: Session, gateway: Served, token: str, tmp_path: Path, text: str, shell: str
) -> None:
    session.embed([text], task_type="RETRIEVAL_DOCUMENT", title="it's a title")
    shown = run(told(session)["curl"], tmp_path, token, shell)
    job, command = gateway.received
    assert as_sent(command) == as_sent(job)
    assert command.text == text
    assert "200 OK" in shown


def test_the_command_of_a_batch_sends_all_its_texts(
    session: Session, gateway: Served, token: str, tmp_path: Path
) -> None:
    session.embed(list(TEXTS.values()), batch_size=5)
    story = told(session, 4)
    assert story["sent"] == "in one request with 2 other texts:"  # the first two found out whether there are batches
    run(story["curl"], tmp_path, token)
    *_, job, command = gateway.received
    assert as_sent(command) == as_sent(job)
    assert command.texts == list(TEXTS.values())[2:]


def test_what_nobody_can_see_is_escaped_and_means_the_same(
    session: Session, gateway: Served, token: str, tmp_path: Path
) -> None:
    text = "no\u00a0break \u202e right to left \x9b31m \x7f \U000e0041"
    session.embed([text])
    story = told(session)
    assert story["curl"].replace("\n", "").isprintable()
    assert "escapes here: the same text in other bytes" in story["its token"]
    run(story["curl"], tmp_path, token)
    assert gateway.received[-1].text == text


def test_a_body_that_is_too_long_to_show_is_taken_from_a_file(
    session: Session, gateway: Served, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.embed(["short", "long " * LONGEST_BODY])
    story = told(session, 1)
    assert len(explained(session, 1)) < 3000
    [line] = re.findall(r"Python writes it by `(.*)`\.", story["its token"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vn_magic.current_session", lambda: session)  # in a notebook it is the shell's
    exec(f"import vn_magic\n{line}", {})
    run(story["curl"], tmp_path, token)
    [job] = [request for request in gateway.received[:2] if request.text != "short"]
    assert as_sent(gateway.received[2]) == as_sent(job)


def test_the_command_for_a_cached_row_is_what_a_job_would_send(
    session: Session, gateway: Served, token: str, tmp_path: Path
) -> None:
    session.embed([TEXTS["quotes"]])
    session.embed([TEXTS["quotes"]])
    story = told(session)
    assert story["sent"] == "nothing: the cache had it. It would be asked for like this:"
    assert story["came back"] == "nothing, as nothing was sent"
    run(story["curl"], tmp_path, token)
    job, command = gateway.received
    assert as_sent(command) == as_sent(job)


def test_the_command_of_an_offline_job_asks_the_stand_in_that_vn_magic_serves(
    offline: Session, gateway: Served, token: str, tmp_path: Path
) -> None:
    offline.embed(["one"], dimension=128)
    story = told(offline)
    assert story["sent"] == "in a request of its own, to the stand-in inside this process:"
    assert "none was sent. `vn-magic serve` takes this request" in story["its token"]
    assert SERVED_STAND_IN in story["curl"]
    answer = run(story["curl"].replace(SERVED_STAND_IN, gateway.url), tmp_path, token)
    values = json.loads(answer.splitlines()[-1])["embedding"]["values"]
    np.testing.assert_allclose(values, lexical.embed("one", 128), rtol=1e-6)


def test_the_served_stand_in_is_where_it_is_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert f"(default: {SERVED_STAND_IN.rpartition(':')[2]})" in capsys.readouterr().out


# The token


@pytest.mark.parametrize(
    ("environ", "remark"),
    [
        ({"VECTORNODE_API_KEY": CANARY}, f"$VECTORNODE_API_KEY must hold {MASK}, as it does here."),
        (
            {"VECTOR_ENGINE_API_KEY": CANARY},
            f"$VECTORNODE_API_KEY must hold {MASK}, the one from $VECTOR_ENGINE_API_KEY.",
        ),
    ],
    ids=["the variable itself", "another variable"],
)
def test_which_token_it_was_is_told_by_its_mask(environ: dict[str, str], remark: str) -> None:
    with served(create_app()) as gateway:
        session = Session(base_url=gateway.url, environ={**os.environ, **environ})
        session.embed(["one"])
        assert told(session)["its token"] == remark
        session.close()


def test_without_a_token_now_it_is_said_that_one_is_needed(session: Session, gateway: Served) -> None:
    session.embed(["one"])
    session.log_out()
    host = gateway.url.removeprefix("http://")
    assert told(session)["its token"] == f"$VECTORNODE_API_KEY must hold one for {host}; the session has none now."


def test_a_token_that_cannot_be_sent_any_more_is_none(gateway: Served, token: str, tmp_path: Path) -> None:
    environ = {"VECTORNODE_API_KEY": token, "VN_MAGIC_CACHE": str(tmp_path / "cache")}
    session = Session(base_url=gateway.url, environ=environ)
    session.embed(["one"])
    environ["VECTORNODE_API_KEY"] = f"Bearer {token}"
    assert told(session)["its token"].endswith("; the session has none now.")
    session.close()


def test_another_base_url_since_then_changes_neither_address_nor_token(session: Session, gateway: Served) -> None:
    session.embed(["one"])
    session.configure("base_url", "https://elsewhere.example", "this test")
    story = told(session)
    assert f"POST {gateway.url}/v1beta" in story["curl"]
    assert "must hold sk-…0c93, the one from Session" in story["its token"]


@pytest.mark.parametrize("odd", [CANARY, "a'very\"odd\\token-5e1f0a7b2c"], ids=["usual", "odd"])
def test_no_token_is_in_it_wherever_somebody_put_one(odd: str) -> None:
    def quoting(arrival: Arrival) -> bytes:
        headers = {"X-Oneapi-Request-Id": f"id {odd}"}
        if "fails" in arrival.texts[0]:
            return http(400, openai_error(f"not {odd} please", code="bad"), headers)
        return json_answer({"embedding": {"values": [0.5] * 128}}, headers=headers)

    def cut(width: int) -> str:
        """Return a text of which all is shown in this width but the end of the token."""
        return f"{'a ' * width}"[: width - len(odd)] + f"{odd} and more"

    texts = [f"x {odd} y", cut(80), f"fails {odd}", cut(8191) + " and more" * 500]
    recipe = {"dimension": 128, "task_type": "RETRIEVAL_DOCUMENT", "title": cut(40)}
    with fault_gateway(quoting) as gateway:
        session = Session(base_url=gateway.base_url, token=odd)
        embed(session, *texts, on_error="keep", **recipe)
        shown = [explained(session), *(explained(session, row) for row in range(4))]
        embed(session, texts[0], **recipe)
        shown.append(explained(session))
        session.close()
    assert [text for text in shown if Hunt().finds(text)] == []
    assert "…" in shown[1]
    assert "looks like a token and is masked here" in shown[1]
    assert "the rest is likely cut" in shown[4]


def test_a_token_that_the_gateway_had_from_elsewhere_is_masked_too() -> None:
    other = "unusual:5e1f0a7b2c"
    environ = {**os.environ, "VECTOR_ENGINE_API_KEY": other}
    with talking_to(lambda _: http(400, openai_error(f"not {other}", code="bad")), environ=environ) as session:
        embed(session, "one")
        assert "it says: not …7b2c" in told(session)["came back"]


# The job


def test_the_job_is_told_in_a_few_lines_before_the_first_row_that_failed() -> None:
    async def refuse(text: str) -> tuple[int, dict[str, str], bytes] | None:
        return BAD_TEXT if text == "bad" else None

    with served(behind(refuse, create_app())) as gateway:
        session = Session(base_url=gateway.url, token=CANARY)
        session.embed(["old"])
        session.embed(["old", "new", "bad", "new", None, "bad"], on_error="keep", task_type="CLUSTERING", dimension=256)
        session.embed(["old", "new", "bad", "new", None, "bad"], on_error="keep", task_type="CLUSTERING", dimension=256)
        host = gateway.url.removeprefix("http://")
        story = told(session)
        session.close()
    assert story["last job"].splitlines() == [
        "6 rows: 2 from cache, 3 failed, 2 duplicates",
        "gemini-embedding-001 · CLUSTERING · 256 values · unit length",
        f"{host}, by the base URL {gateway.url}",
        "Row 2 is the first that failed; `%vn explain 5` shows row 5.",
    ]
    assert story["row"] == "'bad' (3 characters)"


def test_without_a_failure_it_is_a_row_that_was_sent_else_the_first(session: Session) -> None:
    session.embed(["old"])
    session.embed(["old", "new"])
    chosen = "Row 1 is the first whose request is remembered; `%vn explain 0` shows row 0."
    assert told(session)["last job"].endswith(chosen)
    session.embed(["old", "new"])
    story = told(session)
    assert "Row 0 is the first; none was sent" in story["last job"]
    assert story["row"] == "'old' (3 characters)"


def test_a_job_that_was_refused_by_a_budget_says_that_it_did_not_come_to_its_end(session: Session) -> None:
    session.configure("max_requests", 1, "this test")
    embed(session, "one", "two")
    story = told(session)
    assert story["last job"].startswith("2 rows: nothing came of them\n")
    assert "It has not come to its end" in story["last job"]
    assert story["sent"].startswith("nothing: its turn did not come.")
    assert "vector" not in story


def test_an_offline_job_says_what_its_vectors_are_not(offline: Session) -> None:
    offline.embed(["one"])
    story = told(offline)
    assert "offline stand-in inside this process: lexical, not semantic" in story["last job"]
    assert story["tokens"].endswith("(The stand-in reads all of it.)")


@pytest.mark.parametrize("texts", [[], ["one"]])
def test_a_job_of_no_rows_or_of_one_names_no_other_row(offline: Session, texts: list[str]) -> None:
    offline.embed(texts)
    assert f"{len(texts)} row" in told(offline)["last job"]
    assert "%vn explain" not in explained(offline)


def test_before_the_first_job_the_next_step_is_told(session: Session) -> None:
    with pytest.raises(InputError, match=r"(?s)No job has run.*\nNext: `%%embed` something\."):
        explained(session)


@pytest.mark.parametrize("number", [-1, 2])
def test_a_row_that_is_not_there_is_refused_with_those_that_are(offline: Session, number: int) -> None:
    offline.embed(["one", "two"])
    with pytest.raises(InputError, match=f"no row {number}: its rows are 0 to 1"):
        explained(offline, number)


# A row


def test_a_row_is_told_alone_and_a_repeated_one_names_the_first(session: Session) -> None:
    session.embed(["one", "two", "one"])
    story = told(session, 2)
    assert "last job" not in story
    assert story["row"].splitlines() == ["'one' (3 characters)", "repeats row 0: embedded once, for both"]
    assert story["curl"] == told(session, 0)["curl"]


def test_a_failed_row_and_the_rows_that_repeat_it_tell_the_error_in_full() -> None:
    no = http(400, openai_error("too rude", code="bad"), {"X-Oneapi-Request-Id": "r-17"})
    with talking_to(lambda _: no) as session:
        embed(session, "rude", "rude", on_error="keep")
        stories = told(session), told(session, 1)
    for story in stories:
        status, *error = story["came back"].splitlines()
        assert status == "HTTP 400, request id r-17, 1 attempt"
        assert error[0] == "The gateway rejected this text."
        assert "it says: too rude" in error[1]
        assert error[2].startswith("Next: ")
        assert "vector" not in story


def test_a_refused_row_was_never_sent_and_has_no_key(session: Session) -> None:
    session.embed(["one", None], on_error="keep")
    assert told(session, 1) == {"row": "has no text", "sent": "nothing: it was refused before (missing)"}


def test_attempts_are_counted_and_the_request_id_is_told_on_one_line() -> None:
    def busy_once(arrival: Arrival) -> bytes:
        if arrival.attempt == 1:
            return http(429, openai_error("retry in 1ms"))
        return json_answer({"embedding": {"values": [0.5] * 128}}, headers={"X-Oneapi-Request-Id": "a" * 500})

    with talking_to(busy_once) as session:
        embed(session, "one", dimension=128)
        status = told(session)["came back"].splitlines()[0]
    assert status == f"HTTP 200, request id {'a' * 159}…, 2 attempts"


def test_no_answer_is_not_told_as_one() -> None:
    session = Session(base_url="http://127.0.0.1:9", token=CANARY)
    session.configure("row_timeout", 0.01, "this test")
    embed(session, "one")
    lines = told(session)["came back"].splitlines()
    session.close()
    assert lines[0].startswith("no answer, ")
    assert lines[1].startswith("The gateway could not be reached.")


def test_a_row_whose_job_ended_before_its_answer_says_so() -> None:
    async def second_has_no_money(text: str) -> tuple[int, dict[str, str], bytes] | None:
        return NO_BALANCE if text == "poor" else None

    with served(behind(second_has_no_money, create_app())) as gateway:
        session = Session(base_url=gateway.url, token=CANARY)
        embed(session, "poor", "not reached", concurrency=1)
        failed, left = told(session), told(session, 1)
        session.close()
    assert "The account's balance is used up." in failed["came back"]
    assert left["sent"] == "nothing: its turn did not come. It would be asked for like this:"
    assert left["came back"] == "nothing, as nothing was sent"


def test_a_row_that_another_session_brought_before_its_second_attempt_says_so() -> None:
    def busy_until_another_has_asked(arrival: Arrival) -> bytes:
        if arrival.attempt == 1:
            other = Session(base_url=f"http://{arrival.headers['host']}", token=CANARY)
            other.embed(["one"], dimension=128)
            other.close()
            return http(503, openai_error("retry in 1ms"))
        return json_answer({"embedding": {"values": [0.5] * 128}})

    with talking_to(busy_until_another_has_asked) as session:
        embed(session, "one", dimension=128)
        story = told(session)
    assert story["sent"] == "in a request of its own:"
    assert story["came back"].startswith("1 attempt without a vector: meanwhile another job")


def test_a_row_that_is_still_waited_for_says_so() -> None:
    stories = []

    def looking(_arrival: Arrival) -> bytes:
        stories.append(told(session))
        return json_answer({"embedding": {"values": [0.5] * 128}})

    with talking_to(looking) as session:
        embed(session, "one", dimension=128)
    [story] = stories
    assert story["last job"].endswith("It has not come to its end: it failed, was stopped, or is still running.")
    assert story["came back"] == "1 attempt without a vector: the job has ended before, or is still running"


def test_a_request_that_is_not_remembered_any_more_is_told_as_it_would_be_alone(offline: Session) -> None:
    offline.embed([f"text {row}" for row in range(MOST_EXCHANGES + 100)], dimension=128, batch_size=100)
    assert "100 other" not in told(offline, MOST_EXCHANGES + 50)["sent"]
    story = told(offline, 0)
    assert story["sent"] == "yes; only the latest 1,000 requests are remembered. Alone it is asked for like this:"
    assert '"text":"text 0"' in story["curl"]
    assert story["came back"] == "a vector"


# Its vector


def test_values_that_came_are_compared_with_those_asked_for_and_the_norm_is_that_of_the_part() -> None:
    with served(create_app(drops_dimension=True)) as gateway:
        session = Session(base_url=gateway.url, token=CANARY)
        session.embed(["one"], dimension=256)
        story = told(session)
        session.close()
    cut = lexical.embed("one", 3072).astype(np.float32)[:256].astype(np.float64)
    longer = "3,072 values; 256 were asked for, so the first 256 are the vector"
    assert story["came back"].splitlines()[1] == longer
    norm = f"{np.sqrt((cut**2).sum()):.6g}"
    assert story["vector"] == f"norm {norm} before normalisation, which divides each value by it"
    assert story["cache"].splitlines()[-1] == f"now it has {longer} (offline-lexical)"


def test_raw_vectors_and_those_of_unit_length_are_told_as_they_are() -> None:
    def unit_or_not(arrival: Arrival) -> bytes:
        value = 128**-0.5 if arrival.text == "unit" else 0.5
        return json_answer({"embedding": {"values": [value] * 128}})

    with talking_to(unit_or_not) as session:
        embed(session, "unit", "long", dimension=128)
        assert told(session, 0)["vector"] == "norm 1: it was unit length before"
        assert told(session, 1)["vector"].startswith("norm 5.65685 before normalisation")
        embed(session, "long", dimension=128, unit_length=False)
        assert told(session)["vector"] == "norm 5.65685, and left so (raw)"


def _rich_alone(arrival: Arrival) -> bytes:
    return json_answer({"embedding": {"values": [0.25] * 256}}) if arrival.text == "rich" else http(401, b"{}")


def test_the_norm_of_a_row_is_known_from_the_cache_where_the_job_failed_later() -> None:
    with talking_to(_rich_alone) as session:
        embed(session, "rich", "poor", dimension=128, concurrency=1)
        assert told(session, 0)["vector"].startswith("norm 2.82843 before normalisation")
        embed(session, "rich", "poor", dimension=128, concurrency=1, cache=False)
        assert told(session, 0)["vector"] == "norm not known: the job has not come to its end"


# Its tokens


def _counting(tokens: int | None) -> Script:
    def counting(arrival: Arrival) -> bytes:
        usage = {} if tokens is None else {"usageMetadata": {"promptTokenCount": tokens}}
        if arrival.is_batch:
            return json_answer({"embeddings": [{"values": [0.5] * 128}] * len(arrival.texts), **usage})
        return json_answer({"embedding": {"values": [0.5] * 128}, **usage})

    return counting


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        (None, "word " * 8, ["≈10, by estimate; gemini-embedding-001 reads 2,048: nothing is cut"]),
        (12, "word " * 8, ["12, counted by the service; gemini-embedding-001 reads 2,048: nothing is cut"]),
        (
            None,
            "word " * 1300,
            ["≈1,625, by estimate; gemini-embedding-001 reads 2,048: so near that its end may be cut, without notice"],
        ),
        (1625, "word " * 1300, ["1,625, counted by the service; gemini-embedding-001 reads 2,048: nothing is cut"]),
        (
            None,
            "word " * 2000,
            [
                f"≈2,500, by estimate; {CUT}",
                "by estimate near character 8,190 of 10,000, after 'word word word word word word'",
            ],
        ),
        (
            4096,
            "word " * 2000,
            [
                f"4,096, counted by the service; {CUT}",
                "by estimate near character 4,998 of 10,000, after 'd word word word word word wor'",
            ],
        ),
        (
            2048,
            "日" * 3000,
            [f"2,048, counted by the service; {CUT}"],
        ),
    ],
    ids=["short", "short, counted", "near", "near, counted", "long", "long, counted", "counted after the cut"],
)
def test_tokens_are_counted_or_estimated_and_where_a_text_is_cut(
    tokens: int | None, text: str, expected: list[str]
) -> None:
    with talking_to(_counting(tokens)) as session:
        embed(session, text, dimension=128)
        assert told(session)["tokens"].splitlines() == expected


def test_of_a_batch_only_a_share_of_the_count_is_known() -> None:
    with talking_to(_counting(60)) as session:
        embed(session, "one", "two", batch_size=2, dimension=128)
        assert told(session)["tokens"].startswith("≈30, its share of what the service counted for the request; ")


def test_of_a_strange_model_no_limit_is_known() -> None:
    with talking_to(_counting(None)) as session:
        embed(session, "one", dimension=128, model="stranger")
        assert told(session)["tokens"] == "≈1, by estimate; how many stranger reads is not known here"


def test_rows_that_look_over_long_are_named_above() -> None:
    with talking_to(_counting(None)) as session:
        embed(session, *(f"{row} " + "word " * (2000 if row % 2 else 2) for row in range(14)), dimension=128)
        lines = told(session)["last job"].splitlines()
    assert "by estimate longer than the 2,048 tokens that gemini-embedding-001 reads: row 1, 3, 5, 7, 9 …" in lines


# Its place in the cache


def test_the_key_is_the_one_in_the_cache_and_it_is_said_what_it_is_made_of(
    session: Session, gateway: Served, tmp_path: Path
) -> None:
    session.embed(["one"], dimension=256, task_type="RETRIEVAL_DOCUMENT", title="it")
    db = sqlite3.connect(tmp_path / "cache" / FILE_NAME)
    [(digest,)] = db.execute("SELECT lower(hex(digest)) FROM embeddings").fetchall()
    db.close()
    assert told(session)["cache"].splitlines() == [
        f"key {digest}, made of",
        f"{gateway.url}, gemini-embedding-001, RETRIEVAL_DOCUMENT, title 'it', 256 values",
        "and the text to the letter; unit length takes no part",
        "it was a miss",
        "now it has 256 values, as many as were asked for (offline-lexical)",
    ]
    session.embed(["one"], dimension=256, task_type="RETRIEVAL_DOCUMENT", title="it", unit_length=False)
    assert told(session)["cache"].splitlines()[0::3] == [f"key {digest}, made of", "it was a hit"]


def test_what_the_cache_has_is_looked_up_now(session: Session) -> None:
    session.embed(["one"], dimension=256)
    session.embed(["one"], dimension=128)
    longer = "256 values; 128 were asked for, so the first 128 are the vector"
    assert told(session)["cache"].splitlines()[-2:] == ["it was a hit", f"now it has {longer} (offline-lexical)"]
    session.runtime.cache.clear()
    assert told(session)["cache"].splitlines()[-2:] == ["it was a hit", "now it does not have it"]


def test_a_job_that_did_without_the_cache_says_so(session: Session, tmp_path: Path) -> None:
    session.embed(["one"], cache=False)
    assert told(session)["cache"].splitlines()[-1] == "neither asked nor filled (--no-cache)"
    assert not (tmp_path / "cache").exists()
    session.embed(["one"], refresh=True)
    asked, now = told(session)["cache"].splitlines()[-2:]
    assert asked == "not asked (--refresh), only filled"
    assert now.startswith("now it has 768 values")


# A pack


@pytest.fixture
def lesson(session: Session, tmp_path: Path) -> Path:
    """A pack with a vector of 256 values, recorded from the gateway."""
    session.embed(["recorded"], dimension=256)
    return save_session(session, tmp_path / "lesson.vnpack").path


def test_rows_of_a_pack_name_it_and_what_it_had(session: Session, gateway: Served, lesson: Path) -> None:
    session.runtime.cache.clear()
    session.use_pack(lesson, strict=False, source="this test")
    session.embed(["recorded", "new"], dimension=128)
    story, head = told(session, 0), told(session)["last job"].splitlines()
    assert head[0] == "2 rows: 1 new, 1 from the pack"
    assert head[2].endswith(f"by the base URL {gateway.url}, after the pack lesson.vnpack")
    assert story["sent"] == "nothing: the pack had it. It would be asked for like this:"
    longer = "256 values; 128 were asked for, so the first 128 are the vector"
    assert story["vector"].splitlines()[1] == f"lesson.vnpack has {longer} (offline-lexical)"
    norm = np.linalg.norm(lexical.embed("recorded", 256)[:128])
    assert story["vector"].startswith(f"norm {norm:.5g}")
    assert story["cache"].splitlines()[-2:] == ["it was a miss", "now it does not have it"]


def test_the_norm_of_a_row_is_known_from_the_pack_where_the_job_failed_later(tmp_path: Path) -> None:
    with talking_to(_rich_alone) as session:
        embed(session, "rich", dimension=128)
        save_session(session, tmp_path / "lesson.vnpack")
        session.runtime.cache.clear()
        session.use_pack(tmp_path / "lesson.vnpack", strict=False, source="this test")
        embed(session, "rich", "poor", dimension=128)
        assert "It has not come to its end" in told(session)["last job"]
        assert told(session, 0)["vector"].startswith("norm 2.82843 before normalisation")


def test_a_strict_pack_asks_nobody_and_the_request_is_shown_all_the_same(
    session: Session, gateway: Served, token: str, lesson: Path, tmp_path: Path
) -> None:
    session.use_pack(lesson, strict=True, source="this test")
    session.log_out()
    session.embed(["recorded", "another"], dimension=256, on_error="keep")
    head, here, gone = told(session)["last job"], told(session, 0), told(session, 1)
    assert "\nthe pack lesson.vnpack alone: no token, no network\n" in head
    assert here["sent"].startswith("nothing: the pack had it.")
    assert gone["sent"].startswith("nothing: the pack lesson.vnpack alone answered.")
    assert session.last_job is not None
    assert gone["came back"] == session.last_job.errors[1]
    assert gone["came back"].startswith("This text is not in the pack")
    for story in (here, gone):
        assert story["cache"].splitlines()[-1] == "not asked: the pack lesson.vnpack alone answered"
        assert "the session has none now" in story["its token"]
    run(here["curl"], tmp_path, token)
    assert as_sent(gateway.received[-1]) == as_sent(gateway.received[0])


def test_a_pack_that_was_left_since_then_is_still_named_and_no_cache_begun(lesson: Path, tmp_path: Path) -> None:
    session = Session(environ={"VN_MAGIC_CACHE": str(tmp_path / "none")})
    session.use_pack(lesson, strict=True, source="this test")
    session.embed(["recorded"], dimension=256)
    session.drop_pack()
    assert told(session)["vector"].splitlines()[1].startswith("lesson.vnpack has 256 values, as many as were asked")
    session.close()
    assert not (tmp_path / "none").exists()
