"""`%vn pack` in a real kernel: recording, answering, and what is said about both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateways import Served
from support.kernels import Kernel, kernel
from support.packs import MODEL, lying, pack_bytes, pack_file, recording

SAVE = '%vn pack save lesson.vnpack --licence "CC BY 4.0, A. Teacher"'
POEMS = "roses are red\nviolets are blue\nsugar is sweet\n"
MEANING = "This text is not in the pack lesson.vnpack, which alone answers here."
LEXICAL = "Offline stand-in: these vectors are lexical, not semantic."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lesson")


@pytest.fixture(scope="module")
def recorded(folder: Path) -> Iterator[Kernel]:
    """A kernel in a folder of its own, offline, that has embedded a lesson and recorded it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    own = {"VN_MAGIC_CACHE": str(folder / "cache"), "VN_MAGIC_OFFLINE": "1", "IPYTHONDIR": str(folder / "ipython")}
    with kernel(environ=clean | own) as started:
        for cell in (
            f"%cd -q {folder}",
            "%load_ext vn_magic",
            "import vn_magic, pandas as pd",
            f"%%embed poems --dim 256\n{POEMS}",
            "%%embed docs -d 512 -t RETRIEVAL_DOCUMENT --title Flowers\nroses are red\nviolets are blue\n",
            "nearest = docs.vec.nearest('which flower is blue?')",
        ):
            reply = started.run(cell)
            assert (reply.status, reply.stderr) == ("ok", ""), reply.error
        (folder / "saved.txt").write_text(started.run(SAVE).card, encoding="utf-8")
        yield started


@pytest.fixture
def lesson(recorded: Kernel) -> Iterator[Kernel]:
    """The kernel with no pack in use, and no failing test's leavings."""
    yield recorded
    recorded.run("%vn pack off")
    recorded.run("%vn offline on")
    assert recorded.run("1").stderr == ""


def see(kernel: Kernel, expression: str) -> str:
    return kernel.run(f"print({expression})").stdout.strip()


# Saving


@pytest.mark.usefixtures("lesson")
def test_saving_says_what_was_written_and_that_texts_can_be_read(folder: Path) -> None:
    card = (folder / "saved.txt").read_text(encoding="utf-8").splitlines()
    assert card[0].startswith("lesson.vnpack   written, ")
    assert card[1].startswith("lesson.vnpack   6 rows · 20")
    assert card[2] == (
        "licence: CC BY 4.0, A. Teacher · holds texts and vectors: whoever has this file can read the texts"
    )
    assert card[3:6] == [
        f"     3 × {MODEL}, SEMANTIC_SIMILARITY, 256 values, as received, from offline-lexical",
        f"     2 × {MODEL}, RETRIEVAL_DOCUMENT, 512 values, the title 'Flowers', as received, from offline-lexical",
        "     1 × offline-lexical, RETRIEVAL_QUERY, 512 values, as received, from offline-lexical",
    ]
    assert card[6].startswith("checksum: ")
    assert card[7].startswith(LEXICAL)
    assert (folder / "lesson.vnpack").is_file()


def test_saving_counts_what_had_to_be_left_out(fresh_kernel: Kernel, tmp_path: Path) -> None:
    for cell in ("%vn offline", f"%cd -q {tmp_path}", "%embed ['a']", "%embed --no-cache ['never kept', 'nor this']"):
        fresh_kernel.run(cell)
    card = fresh_kernel.run("%vn pack save lesson.vnpack").card
    assert "lesson.vnpack   1 row · " in card
    assert "2 texts were left out: embedded with --no-cache, failed, or forgotten by the cache since." in card
    fresh_kernel.run("%vn cache clear")
    reply = fresh_kernel.run("%vn pack save lesson.vnpack")
    assert reply.error == [
        "InputError: There are no vectors to record: the cache has none of this session's 3 texts (any more).",
        "Next: embed the texts first, without --no-cache.",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "frames.vnpack poems docs",
        "frames.vnpack -c text poems docs",
        "frames.vnpack poems -c text docs",
        "frames.vnpack poems docs --column text",
        "--licence CC0 frames.vnpack poems docs",
        "'frames.vnpack' poems docs --licence 'two words'",
    ],
)
def test_frames_are_named_after_the_file_in_any_order_of_options(lesson: Kernel, line: str) -> None:
    card = lesson.run(f"%vn pack save {line}").card
    assert "frames.vnpack   5 rows" in card
    assert "RETRIEVAL_QUERY" not in card


def test_a_name_with_a_blank_and_one_in_the_home_folder_are_written(lesson: Kernel, folder: Path) -> None:
    assert lesson.run('%vn pack save "my lesson.vnpack" poems').status == "ok"
    assert (folder / "my lesson.vnpack").is_file()
    lesson.run(
        f"import os; home = os.environ.get('HOME'); os.environ['HOME'] = os.environ['USERPROFILE'] = {str(folder)!r}"
    )
    assert lesson.run("%vn pack save ~/at-home.vnpack poems").status == "ok"
    lesson.run("os.environ.update({'HOME': home} if home else {}); os.environ.pop('USERPROFILE')")
    assert (folder / "at-home.vnpack").is_file()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("pack save", "%vn pack save: the following arguments are required: file"),
        ("pack save lesson", "A pack's name ends in .vnpack, and this one's is 'lesson'."),
        ("pack save x.vnpack nobody", "'nobody' is no frame with vectors: there is no such variable."),
        ("pack save x.vnpack pd", "'pd' is no frame with vectors: it is a module."),
        ("pack save x.vnpack poems.text", "'poems.text' is no frame with vectors"),
        ("pack save x.vnpack series", "'series' is no frame with vectors: it is a Series."),
        ("pack save x.vnpack plain", "has no column of vectors"),
        ("pack save x.vnpack lost", "It is not known where the vectors of 'embedding' come from"),
        ("pack save x.vnpack -c text", "-c names a column of a frame"),
        ("pack save x.vnpack poems -c nothing", "There is no column 'nothing'"),
        ("pack save no/such/folder/x.vnpack", "'x.vnpack' cannot be written there"),
        ("pack save x.vnpack --overwrite", "unrecognized arguments: --overwrite"),
        ("pack save x.vnpack --licence", "argument --licence: expected one argument"),
        ("pack save it's.vnpack", "the line cannot be read: No closing quotation."),
        ("pack use", "the following arguments are required: file"),
        ("pack use none.vnpack", "There is no pack 'none.vnpack' there."),
        ("pack use damaged.vnpack --strict", "'damaged.vnpack' is damaged or is no pack"),
        ("pack use newer.vnpack", "'newer.vnpack' was made by a newer vn_magic (format 2; this one reads 1)."),
        ("pack info damaged.vnpack", "its content does not fit its checksum"),
        ("pack off now", "unrecognized arguments"),
        ("pack share", "%vn pack: there is no 'share'."),
    ],
)
def test_what_cannot_be_done_is_said_in_short_with_a_next_step(
    lesson: Kernel, folder: Path, line: str, why: str
) -> None:
    damaged = bytearray((folder / "lesson.vnpack").read_bytes())
    damaged[500] ^= 1
    (folder / "damaged.vnpack").write_bytes(damaged)
    (folder / "newer.vnpack").write_bytes(lying(pack_bytes(recording(["a"], 4)), manifest={"format": 2}))
    lesson.run("series = poems.embedding; plain = pd.DataFrame({'a': [1]}); lost = poems.copy(); lost.attrs.clear()")
    reply = lesson.run(f"%vn {line}")
    assert (reply.status, why in "\n".join(reply.error)) == ("error", True), reply.error
    assert len(reply.error) <= 3
    assert (reply.stderr, (folder / "x.vnpack").exists()) == ("", False)
    assert "No pack is in use." in lesson.run("%vn pack").card


def test_a_licence_with_a_token_is_refused_without_echoing_it(lesson: Kernel) -> None:
    reply = lesson.run("%vn pack save x.vnpack --licence sk-0123456789abcdef")
    assert "That looks like a token" in reply.error[0]
    assert "0123456789" not in "\n".join(reply.error)


# Answering


def test_a_strict_pack_answers_bit_for_bit_and_the_card_says_so(lesson: Kernel) -> None:
    lesson.run("before = poems.vec.matrix.tobytes()")
    used = lesson.run("%vn pack use lesson.vnpack --strict").card.splitlines()
    assert used[0] == ("lesson.vnpack alone answers (strict): no token, no network · 6 rows · from %vn pack use")
    lesson.run("%vn offline off")
    card = lesson.run(f"%%embed poems --dim 256\n{POEMS}").card
    assert "3 from pack" in card
    assert "0 new, 0 from cache" in card
    assert see(lesson, "before == poems.vec.matrix.tobytes()") == "True"
    assert see(lesson, "nearest.equals(docs.vec.nearest('which flower is blue?'))") == "True"
    assert lesson.run("X = %embed --as numpy -d 256 ['sugar is sweet']").status == "ok"
    assert see(lesson, "(X[0] == poems.embedding[2]).all()") == "True"


def test_an_unseen_text_is_an_error_that_names_the_nearest_and_leaves_an_older_value_alone(lesson: Kernel) -> None:
    lesson.run("%vn pack use lesson.vnpack --strict")
    lesson.run("kept = 7")
    reply = lesson.run("%%embed kept --dim 256\nroses are red\nroses are rad\n")
    assert reply.error == [
        f"NotInPackError: Row 1 ('roses are rad'): {MEANING}",
        "The nearest recorded text is 'roses are red'.",
        "Next: use a recorded text exactly as it is, or `%vn pack off` and a token.",
    ]
    assert "in the cache" not in reply.card
    assert see(lesson, "kept") == "7"
    kept = lesson.run("%%embed kept --dim 256 --on-error keep\nroses are red\nroses are rad\n")
    assert "1 failed, see the column `error`" in kept.card
    assert "not in the pack" in see(lesson, "kept.error[1]")
    question = lesson.run("docs.vec.nearest('which flower is bleu?')")
    assert question.error[1] == "The nearest recorded text is 'which flower is blue?'."


def test_a_dry_run_under_a_strict_pack_names_it(lesson: Kernel) -> None:
    lesson.run("%vn pack use lesson.vnpack --strict")
    card = lesson.run("%%embed x --dim 256 --dry-run\nroses are red\nnew\n").card
    assert "1 from pack" in card
    assert "lesson.vnpack" in card
    assert "would be sent" not in card


def test_a_pack_beside_the_session_says_who_answers_the_rest(lesson: Kernel) -> None:
    assert lesson.run("%vn pack use lesson.vnpack").card.splitlines()[:2] == [
        "lesson.vnpack answers what the cache does not have · 6 rows · from %vn pack use",
        "The rest comes from the offline stand-in.",
    ]
    card = lesson.run("%%embed x --dim 256 --no-cache\nroses are red\nanother\n").card
    assert "1 new, 0 from cache, 1 from pack" in card


def test_info_shows_the_manifest_of_a_file_and_of_the_pack_in_use(lesson: Kernel) -> None:
    of_file = lesson.run("%vn pack info lesson.vnpack").card
    assert of_file.startswith("lesson.vnpack   6 rows · ")
    assert "No pack is in use." in lesson.run("%vn pack info").card
    lesson.run("%vn pack use lesson.vnpack --strict")
    assert lesson.run("%vn pack").card.splitlines()[1:] == of_file.splitlines()


def test_off_says_who_answers_from_now_on(lesson: Kernel) -> None:
    lesson.run("%vn pack use lesson.vnpack --strict")
    assert lesson.run("%vn pack off").card == "No pack is in use.\nThe rest comes from the offline stand-in."


def test_what_a_foreign_pack_says_of_itself_is_shown_as_text_on_one_line(lesson: Kernel, folder: Path) -> None:
    pack_file(
        folder / "foreign.vnpack",
        *(recording(["a"], 4, task_type="RETRIEVAL_DOCUMENT", title=f"<b>{number}</b>") for number in range(30)),
        licence="<script>alert(1)</script>\n\x1b[31mred",
        made_by="x" * 5000,
        created="<i>2026</i>",
        notices=["one\ntwo\x07", "y" * 9000, *"abcdefgh"],
    )
    reply = lesson.run("%vn pack info foreign.vnpack")
    html = reply.displays[0]["text/html"]
    assert "<script>" not in html
    assert "<b>" not in html
    assert "\x1b" not in reply.card + html
    assert "and 10 kinds more" in reply.card
    assert reply.card.count("RETRIEVAL_DOCUMENT") == 20
    assert "one two" in reply.card
    assert len(reply.card) < 5000
    assert len(lesson.run("%vn pack use foreign.vnpack").card) < 2000


def test_help_is_shown_wherever_it_is_asked_for(lesson: Kernel) -> None:
    for line in ("-h", "--help", "save -h", "use --help", "use lesson.vnpack -h"):
        help_text = lesson.run(f"%vn pack {line}").stdout
        assert help_text.startswith("%vn pack save FILE [FRAME…] | use FILE [--strict] | info [FILE] | off")
        assert "whoever has this file can read the texts" in help_text
    assert "No pack is in use." in lesson.run("%vn pack").card
    assert "%vn pack" in lesson.run("%vn").stdout


def test_tab_completes_words_files_frames_and_options(lesson: Kernel) -> None:
    assert lesson.complete("%vn pack ") == ["save", "use", "off", "info"]
    assert "lesson.vnpack" in lesson.complete("%vn pack use less")
    assert "lesson.vnpack" in lesson.complete("%vn pack info ")
    assert lesson.complete("%vn pack use lesson.vnpack --") == ["--strict"]
    assert {"poems", "docs"} <= set(lesson.complete("%vn pack save lesson.vnpack "))
    assert lesson.complete("%vn pack save lesson.vnpack poems -") == ["-c", "--column", "--licence"]
    assert "text" in lesson.complete("%vn pack save lesson.vnpack poems -c ")


# Status, doctor, offline, reload


def test_status_and_doctor_name_the_pack_in_use(lesson: Kernel) -> None:
    assert "\npack: none\n" in lesson.run("%vn status").stdout
    assert "pack:" not in lesson.run("%vn doctor").stdout
    lesson.run("%vn pack use lesson.vnpack")
    assert "pack: lesson.vnpack answers what the cache does not have · 6 rows · from %vn pack use" in (
        lesson.run("%vn status").stdout
    )
    assert "ok  pack: lesson.vnpack, 6 rows, from %vn pack use\n" in lesson.run("%vn doctor").stdout
    lesson.run("%vn pack use lesson.vnpack --strict")
    lesson.run("%vn offline off")
    doctor = lesson.run("%vn doctor").stdout
    assert "ok  pack: lesson.vnpack, 6 rows, it alone answers, from %vn pack use\n" in doctor
    assert "token:" not in doctor
    assert "base URL:" not in doctor


def test_the_offline_switch_says_that_a_strict_pack_comes_first(lesson: Kernel) -> None:
    lesson.run("%vn pack use lesson.vnpack --strict")
    card = lesson.run("%vn offline").card
    assert "The session is offline." in card
    assert "For now the pack lesson.vnpack alone answers (strict)" in card
    assert "`%vn pack off` ends that." in card


def test_a_reload_of_the_extension_keeps_the_pack(lesson: Kernel) -> None:
    lesson.run("%vn pack use lesson.vnpack --strict")
    assert lesson.run("%reload_ext vn_magic").stderr == ""
    assert "lesson.vnpack alone answers" in lesson.run("%vn pack").card
    lesson.run("%unload_ext vn_magic")
    lesson.run("%load_ext vn_magic")
    assert "3 from pack" in lesson.run(f"%%embed poems --dim 256\n{POEMS}").card


def test_awaited_and_plain_calls_answer_from_the_pack(lesson: Kernel) -> None:
    lesson.run("%vn pack use lesson.vnpack --strict")
    lesson.run("a = await vn_magic.aembed(['sugar is sweet'], dimension=256, result='numpy')")
    lesson.run("b = vn_magic.embed(['sugar is sweet'], dimension=256, result='numpy')")
    assert see(lesson, "(a == b).all(), (a[0] == poems.embedding[2]).all()") == "True True"


# The environment


@pytest.mark.parametrize("content", [None, b"PK and noise"])
def test_a_bad_pack_of_the_environment_is_named_everywhere_and_can_be_left(
    tmp_path: Path, gateway: Served, token: str, content: bytes | None
) -> None:
    path = tmp_path / "lesson.vnpack"
    if content is not None:
        path.write_bytes(content)
    environ = {"VN_MAGIC_PACK": str(path), "VN_MAGIC_BASE_URL": gateway.url, "VECTORNODE_API_KEY": token}
    with kernel(environ={**os.environ, **environ}) as client:
        assert client.run("%load_ext vn_magic").status == "ok"
        for cell in ("%embed ['a']", "%vn pack", "import vn_magic; vn_magic.require(pack=True)"):
            reply = client.run(cell)
            assert reply.error[0].startswith("PackError: $VN_MAGIC_PACK: ")
            assert "'lesson.vnpack'" in reply.error[0]
            assert len(reply.error) == 2
        assert "pack: $VN_MAGIC_PACK: " in client.run("%vn status").stdout
        assert "!!  pack: $VN_MAGIC_PACK: " in client.run("%vn doctor").stdout
        assert gateway.received == []
        assert "No pack is in use." in client.run("%vn pack off").card
        assert client.run("%embed ['a']").status == "ok"
        assert len(gateway.received) == 1


def test_a_pack_of_the_environment_is_found_from_the_folder_of_the_notebook(tmp_path: Path) -> None:
    pack_file(tmp_path / "lesson.vnpack", recording(["a"], 256))
    with kernel(environ={**os.environ, "VN_MAGIC_PACK": "lesson.vnpack"}) as client:
        client.run(f"%cd -q {tmp_path}")
        client.run("%load_ext vn_magic")
        assert "1 from pack" in client.run("%embed -d 256 ['a']").card
        client.run("%cd -q /")
        assert "1 from pack" in client.run("%embed -d 256 ['a']").card
        assert "lesson.vnpack alone answers (strict): no token, no network · 1 row · from $VN_MAGIC_PACK" in (
            client.run("%vn status").stdout
        )
