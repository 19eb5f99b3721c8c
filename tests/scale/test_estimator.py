"""An Embedder as a step of scikit-learn: what it reads, what it costs, and what it refuses to mix."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.utils.validation
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from support.engine import BAD_TEXT, behind, output_of
from support.gateways import Served, answering, json_answer, served
from support.hunt import CANARY, Hunt
from support.inspection import shown
from support.packs import pack_file, recording

import vn_magic
from vn_magic import Session
from vn_magic.exceptions import (
    InputError,
    MissingExtraError,
    ProvenanceError,
    RejectedTextError,
    SettingsError,
)
from vn_magic.offline import create_app
from vn_magic.scale.estimator import Embedder

REVIEWS = Path(__file__).parents[2] / "examples" / "data" / "reviews.csv"
TEXTS = ["a kettle", "a backpack", "a kettle", "an office chair"]
SMALL = 128


@pytest.fixture(scope="module")
def reviews() -> pd.DataFrame:
    return pd.read_csv(REVIEWS)


# What it is


def test_parameters_are_named_as_the_options_of_embed_and_none_leaves_them_to_the_session() -> None:
    options = inspect.signature(vn_magic.embed).parameters
    parameters = inspect.signature(Embedder).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        name: options[name].default for name in parameters
    }
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_it_is_found_in_vn_magic_sklearn() -> None:
    assert importlib.import_module("vn_magic.sklearn").Embedder is Embedder


def test_scikit_learn_is_imported_by_those_who_use_it_alone() -> None:
    assert output_of("import vn_magic, sys; print('sklearn' in sys.modules)") == "False\n"


@pytest.fixture
def not_imported(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As a Python in which nobody has imported the estimator yet."""
    for name in ("vn_magic.sklearn", "vn_magic.scale.estimator"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return monkeypatch


def test_without_scikit_learn_its_import_names_the_extra(not_imported: pytest.MonkeyPatch) -> None:
    not_imported.delitem(sys.modules, "sklearn.base")
    not_imported.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError) as raised:
        importlib.import_module("vn_magic.sklearn")
    assert isinstance(raised.value, MissingExtraError)
    assert str(raised.value) == (
        'vn_magic.sklearn needs scikit-learn 1.6 or newer.\nNext: pip install "vn_magic[sklearn]"'
    )


def test_a_scikit_learn_that_is_too_old_is_told_like_one_that_is_missing(not_imported: pytest.MonkeyPatch) -> None:
    not_imported.delattr(sklearn.utils.validation, "validate_data")
    with pytest.raises(MissingExtraError, match=r"1\.6 or newer"):
        importlib.import_module("vn_magic.sklearn")


def test_an_import_that_fails_for_another_reason_is_not_told_as_a_missing_extra(
    not_imported: pytest.MonkeyPatch,
) -> None:
    not_imported.setitem(sys.modules, "vn_magic.scale.text_column", None)
    with pytest.raises(ImportError, match="text_column") as raised:
        importlib.import_module("vn_magic.sklearn")
    assert not isinstance(raised.value, MissingExtraError)


# What it reads

COLUMNS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "array of objects": lambda texts: np.array(texts, dtype=object),
    "Series": pd.Series,
    "Series of objects": lambda texts: pd.Series(texts, dtype=object),
    "Series of categories": lambda texts: pd.Series(texts, dtype="category"),
    "Series of string": lambda texts: pd.Series(texts, dtype="string"),
    "Index": pd.Index,
    "frame": lambda texts: pd.DataFrame({"review": texts}),
    "array with one column": lambda texts: np.array(texts, dtype=object).reshape(-1, 1),
    "lists of one": lambda texts: [[text] for text in texts],
}


@pytest.mark.parametrize("container", COLUMNS)
def test_a_column_of_texts_in_any_container_is_embedded_as_embed_does_it(current: Session, container: str) -> None:
    expected = current.embed(TEXTS, dimension=SMALL, result="numpy")
    embedder = Embedder(dimension=SMALL)
    column = COLUMNS[container](TEXTS)
    for vectors in (embedder.fit_transform(column), embedder.transform(column)):
        assert (vectors.dtype, vectors.shape, vectors.flags.c_contiguous) == (np.float32, (4, SMALL), True)
        np.testing.assert_array_equal(vectors, expected)
    assert embedder.n_features_in_ == 1


NOT_A_COLUMN: dict[str, tuple[Any, str]] = {
    "a text": ("one text", "X is a single text, expected a list"),
    "nothing": (None, "X is None, expected a list"),
    "a number": (3, "X is of type int, expected a list"),
    "a generator": ((text for text in TEXTS), "X is of type generator, expected a list"),
    "a sparse matrix": (csr_array(np.eye(2)), "X is a sparse matrix"),
    "no rows": ([], "X has no rows"),
    "no rows of a frame": (pd.DataFrame({"review": []}), "X has no rows"),
    "two columns": (pd.DataFrame({"a": TEXTS, "b": TEXTS}), "X has 2 feature(s)"),
    "unequal rows": ([["a"], ["b", "c"]], "row 0 (not text but list), row 1 (not text but list)"),
    "unequal arrays": ([np.zeros((2, 2)), np.zeros((2, 3))], "X is a list of unequal rows"),
    "numbers": (pd.DataFrame({"stars": [1, 2]}), "row 0 (not text but int), row 1 (not text but int)"),
    "bytes": (np.array([b"a"]), "row 0 (not text but bytes)"),
    "missing": (pd.Series(["a", None, pd.NA, np.nan]), "3 of 4 rows of X cannot be embedded: row 1 (missing), row 2"),
    "blanks": (["a", " ", ""], "row 1 (blank), row 2 (blank)"),
    "many": ([None] * 7, "row 4 (missing) and 2 more. Nothing was sent."),
}


@pytest.mark.parametrize("what", NOT_A_COLUMN)
@pytest.mark.usefixtures("online")
def test_what_is_no_column_of_texts_is_refused_before_anything_is_sent(gateway: Served, what: str) -> None:
    given, said = NOT_A_COLUMN[what]
    embedder = Embedder(dimension=SMALL)
    for method in (embedder.fit, embedder.transform, embedder.fit_transform):
        with pytest.raises(InputError) as raised:
            method(given)
        assert said in str(raised.value)
        assert len(str(raised.value).splitlines()) <= 3
    assert not gateway.received


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"dimension": 0}, SettingsError),
        ({"dimension": 5000}, InputError),
        ({"task_type": "GUESSING"}, SettingsError),
        ({"batch_size": 1000}, SettingsError),
        ({"unit_length": "yes"}, SettingsError),
    ],
)
@pytest.mark.usefixtures("current")
def test_an_impossible_parameter_is_refused_by_fit(parameters: Any, kind: type[Exception]) -> None:
    embedder = Embedder(**parameters)
    with pytest.raises(kind, match=next(iter(parameters)) if kind is SettingsError else "5000"):
        embedder.fit(TEXTS)


@pytest.mark.usefixtures("current")
def test_a_frame_with_another_column_than_the_fitted_one_is_refused() -> None:
    embedder = Embedder(dimension=SMALL).fit(pd.DataFrame({"review": TEXTS}))
    assert embedder.feature_names_in_.tolist() == ["review"]
    with pytest.raises(ValueError, match="feature names should match"):
        embedder.transform(pd.DataFrame({"title": TEXTS}))


@pytest.mark.parametrize(("fitted", "given"), [("frame", "list"), ("list", "frame"), ("Series", "frame")])
@pytest.mark.usefixtures("current")
def test_a_list_of_texts_is_as_good_as_a_column_with_a_name(fitted: str, given: str) -> None:
    embedder = Embedder(dimension=SMALL).fit(COLUMNS[fitted](TEXTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert embedder.transform(COLUMNS[given](TEXTS)).shape == (4, SMALL)


# What it gives back


@pytest.mark.usefixtures("current")
def test_columns_of_a_frame_are_numbered_and_its_index_is_kept() -> None:
    column = pd.Series(TEXTS, index=["w", "x", "y", "z"])
    embedder = Embedder(dimension=SMALL).set_output(transform="pandas")
    for frame in (embedder.transform(column), embedder.fit_transform(column)):
        assert frame.columns.tolist() == [f"embedding{number}" for number in range(SMALL)]
        assert frame.index.tolist() == ["w", "x", "y", "z"]
        assert set(frame.dtypes) == {np.dtype("float32")}


@pytest.mark.usefixtures("current")
def test_the_output_that_was_set_survives_cloning() -> None:
    assert isinstance(clone(Embedder(dimension=SMALL).set_output(transform="pandas")).transform(TEXTS), pd.DataFrame)


def test_there_are_as_many_names_as_the_session_has_values_where_nobody_has_said_a_number(current: Session) -> None:
    assert len(Embedder().get_feature_names_out()) == 768
    current.configure("dimension", 256, "test")
    assert Embedder().get_feature_names_out()[-1] == "embedding255"


def test_a_row_that_cannot_be_embedded_raises_even_where_the_session_keeps_such_rows(
    token: str, set_current: Callable[[Session], Session]
) -> None:
    async def rule(text: str) -> Any:
        return BAD_TEXT if "backpack" in text else None

    with (
        served(behind(rule, create_app(token=token))) as gateway,
        set_current(Session(base_url=gateway.url, token=token)) as session,
    ):
        session.configure("on_error", "keep", "test")
        with pytest.raises(RejectedTextError, match=r"Row 1 \('a backpack'\)"):
            Embedder(dimension=SMALL).transform(TEXTS)


# In company


@pytest.mark.usefixtures("current")
def test_a_pipeline_learns_from_reviews_and_tells_new_ones_apart(reviews: pd.DataFrame) -> None:
    model = make_pipeline(Embedder(dimension=256), LogisticRegression(C=100))
    model.fit(reviews["review"], reviews["product"])
    assert model.predict(["My headphones lost their bass", "This kettle boils"]).tolist() == ["headphones", "kettle"]
    assert model[:-1].get_feature_names_out().tolist() == [f"embedding{number}" for number in range(256)]


@pytest.mark.parametrize("selected", ["review", ["review"]])
def test_a_column_transformer_hands_over_a_column_or_a_frame_of_one(
    current: Session, reviews: pd.DataFrame, selected: Any
) -> None:
    parts = make_column_transformer((Embedder(dimension=SMALL), selected), (StandardScaler(), ["stars"]))
    frame = parts.set_output(transform="pandas").fit_transform(reviews)
    assert frame.shape == (len(reviews), SMALL + 1)
    assert frame.columns[[0, -1]].tolist() == ["embedder__embedding0", "standardscaler__stars"]
    expected = current.embed(reviews["review"], dimension=SMALL, result="numpy")
    np.testing.assert_array_equal(frame.iloc[:, :-1].to_numpy(dtype=np.float32), expected)


@pytest.mark.usefixtures("current")
def test_a_feature_union_puts_two_tasks_side_by_side() -> None:
    union = FeatureUnion(
        [(task, Embedder(dimension=SMALL, task_type=task)) for task in ("CLUSTERING", "CLASSIFICATION")]
    )
    assert union.fit_transform(TEXTS).shape == (4, 2 * SMALL)
    assert union.get_feature_names_out()[-1] == f"CLASSIFICATION__embedding{SMALL - 1}"


@pytest.mark.usefixtures("online")
def test_cross_validation_pays_for_every_text_once(gateway: Served, reviews: pd.DataFrame) -> None:
    some = reviews.head(30)
    model = make_pipeline(Embedder(dimension=SMALL), LogisticRegression())
    cross_val_score(model, some["review"], some["stars"] > 3, cv=3, error_score="raise")
    assert Counter(gateway.texts) == Counter(set(some["review"]))


@pytest.mark.usefixtures("online")
def test_without_the_cache_every_fold_pays(gateway: Served) -> None:
    texts, labels = [f"text {number}" for number in range(6)], [0, 1] * 3
    model = make_pipeline(Embedder(dimension=SMALL, cache=False), LogisticRegression())
    cross_val_score(model, texts, labels, cv=3, error_score="raise")
    assert set(Counter(gateway.texts).values()) == {3}


@pytest.mark.usefixtures("online")
def test_a_grid_with_the_largest_dimension_first_sends_every_text_once(gateway: Served) -> None:
    texts, labels = [f"text {number}" for number in range(6)], [0, 1] * 3
    model = make_pipeline(Embedder(), LogisticRegression())
    grid = GridSearchCV(model, {"embedder__dimension": [768, 256, 128]}, cv=3, error_score="raise").fit(texts, labels)
    assert Counter(gateway.texts) == Counter(texts)
    assert grid.best_estimator_[0].provenance_.dimension == grid.best_params_["embedder__dimension"]


@pytest.mark.usefixtures("online")
def test_a_grid_with_the_smallest_dimension_first_pays_for_every_dimension(gateway: Served) -> None:
    texts, labels = [f"text {number}" for number in range(4)], [0, 1] * 2
    model = make_pipeline(Embedder(), LogisticRegression())
    GridSearchCV(model, {"embedder__dimension": [128, 256]}, cv=2, error_score="raise").fit(texts, labels)
    assert set(Counter(gateway.texts).values()) == {2}


# What it was fitted on


@pytest.mark.usefixtures("online")
def test_fit_sends_nothing_and_says_what_it_would_ask_for(gateway: Served) -> None:
    embedder = Embedder(dimension=SMALL).fit(TEXTS)
    assert not gateway.received
    host = gateway.url.partition("//")[2]
    assert str(embedder.provenance_) == (
        f"gemini-embedding-001 · SEMANTIC_SIMILARITY · 128 values · unit length · {host}"
    )
    assert embedder.transform(TEXTS).shape == (4, SMALL)


@pytest.mark.usefixtures("online")
def test_fit_transform_keeps_the_provenance_of_what_came() -> None:
    embedder = Embedder(dimension=SMALL)
    embedder.fit_transform(TEXTS)
    assert embedder.provenance_.source == "offline-lexical"  # as the stand-in behind the wire has signed


def test_what_the_session_had_decided_stays_decided(current: Session) -> None:
    embedder = Embedder()
    before = embedder.fit_transform(TEXTS)
    current.configure("dimension", 256, "test")
    current.configure("unit_length", False, "test")
    np.testing.assert_array_equal(embedder.transform(TEXTS), before)
    assert embedder.fit_transform(TEXTS).shape == (4, 256)


@pytest.mark.parametrize("changed", [{"dimension": 256}, {"unit_length": False}, {"task_type": "CLUSTERING"}])
@pytest.mark.usefixtures("current")
def test_a_parameter_that_was_changed_after_fit_asks_for_another_fit(changed: Any) -> None:
    embedder = Embedder(dimension=SMALL).fit(TEXTS).set_params(**changed)
    with pytest.raises(ProvenanceError, match="This Embedder was fitted on") as raised:
        embedder.transform(TEXTS)
    assert len(str(raised.value).splitlines()) == 2
    assert embedder.fit(TEXTS).transform(TEXTS).shape == (4, changed.get("dimension", SMALL))


@pytest.mark.usefixtures("current")
def test_documents_may_be_fitted_and_queries_transformed() -> None:
    embedder = Embedder(dimension=SMALL, task_type="RETRIEVAL_DOCUMENT")
    embedder.fit_transform(TEXTS)
    assert embedder.set_params(task_type="RETRIEVAL_QUERY").transform(TEXTS).shape == (4, SMALL)


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
@pytest.mark.usefixtures("current")
def test_what_was_fitted_offline_is_not_embedded_at_a_gateway(
    token: str, set_current: Callable[[Session], Session], method: str
) -> None:
    embedder = Embedder(dimension=SMALL)
    getattr(embedder, method)(TEXTS)
    with (
        served(answering(json_answer({"embedding": {"values": [1.0] * SMALL}}))) as real,
        set_current(Session(base_url=real.url, token=token)),
        pytest.raises(ProvenanceError, match=r"was fitted on .*offline-lexical.* and now gets") as raised,
    ):
        embedder.transform(TEXTS)
    assert len(str(raised.value).splitlines()) == 2
    assert not real.received


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_what_was_fitted_at_a_gateway_is_embedded_neither_offline_nor_at_another_one(
    token: str, set_current: Callable[[Session], Session], gateway: Served, method: str
) -> None:
    embedder = Embedder(dimension=SMALL)
    with served(answering(json_answer({"embedding": {"values": [1.0] * SMALL}}))) as real:
        session = set_current(Session(base_url=real.url, token=token))
        getattr(embedder, method)(TEXTS)
        session.configure("offline", True, "test")
        with pytest.raises(ProvenanceError, match=r"and now gets .*offline-lexical"):
            embedder.transform(TEXTS)
        session.configure("offline", False, "test")
        assert embedder.transform(TEXTS).shape == (4, SMALL)
        session.close()
    with set_current(Session(base_url=gateway.url, token=token)), pytest.raises(ProvenanceError, match="and now gets"):
        embedder.transform(TEXTS)
    assert not gateway.received


def test_the_stand_in_at_the_address_of_what_was_fitted_is_found_out(
    token: str, set_current: Callable[[Session], Session]
) -> None:
    answers = [answering(json_answer({"embedding": {"values": [1.0] * SMALL}})), create_app()]

    async def app(*asked: Any) -> None:
        await answers[0](*asked)

    embedder = Embedder(dimension=SMALL, cache=False)
    with served(app) as gateway, set_current(Session(base_url=gateway.url, token=token)):
        embedder.fit_transform(TEXTS)
        answers.pop(0)
        with pytest.raises(ProvenanceError, match="and now gets offline-lexical"):
            embedder.transform(TEXTS)


def test_what_the_stand_in_had_signed_over_the_wire_goes_with_the_stand_in_in_the_process(
    online: Session,
) -> None:
    embedder = Embedder(dimension=SMALL)
    over_the_wire = embedder.fit_transform(TEXTS)
    online.configure("offline", True, "test")
    np.testing.assert_array_equal(embedder.transform(TEXTS), over_the_wire)


def test_vectors_of_a_pack_are_not_mixed_with_those_of_the_gateway_that_the_session_names(
    online: Session, gateway: Served, tmp_path: Path
) -> None:
    online.use_pack(pack_file(tmp_path / "lesson.vnpack", recording(TEXTS[1:])), strict=True, source="test")
    embedders = Embedder().fit(TEXTS), Embedder()
    embedders[1].fit_transform(TEXTS[1:])
    online.drop_pack()
    for embedder, fitted in zip(embedders, ("lesson.vnpack", "gateway.example"), strict=True):
        with pytest.raises(ProvenanceError, match=f"fitted on .*{fitted}.*, and now gets"):
            embedder.transform(TEXTS)
    assert not gateway.received


def test_a_pack_that_the_stand_in_has_made_goes_with_what_was_fitted_offline(
    offline: Session, session: Session, set_current: Callable[[Session], Session], gateway: Served, tmp_path: Path
) -> None:
    set_current(offline)
    embedder = Embedder()
    embedder.fit_transform(TEXTS)
    made = recording(TEXTS[1:], source="offline-lexical", origin="offline-lexical/1")
    set_current(session).use_pack(pack_file(tmp_path / "lesson.vnpack", made), strict=True, source="test")
    assert embedder.transform(TEXTS).shape == (4, 768)
    assert not gateway.received


# What it shows, and what it takes along


@pytest.fixture
def logged_in(set_current: Callable[[Session], Session]) -> Iterator[Session]:
    """A session that holds the canary, and has used it."""
    with served(create_app(token=CANARY)) as other, Session(base_url=other.url, token=CANARY) as session:
        yield set_current(session)
        assert other.received[-1].headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.usefixtures("logged_in")
def test_a_token_is_in_no_parameter_no_picture_and_no_pickle(tmp_path: Path) -> None:
    hunt = Hunt()
    model = make_pipeline(Embedder(dimension=SMALL), LogisticRegression()).fit(TEXTS, [0, 1, 0, 1])
    embedder = model[0]
    assert "dimension" in embedder._repr_html_()
    for place in (repr(model), str(embedder.get_params()), model._repr_html_(), embedder._repr_html_()):
        assert not hunt.finds(place)
    joblib.dump(model, tmp_path / "model.joblib")
    joblib.dump(model, tmp_path / "model.joblib.gz", compress=True)
    (tmp_path / "clone.pickle").write_bytes(pickle.dumps(clone(model)))
    assert hunt.files(tmp_path) == []
    for one in (embedder, copy.deepcopy(embedder), clone(embedder), joblib.load(tmp_path / "model.joblib.gz")[0]):
        assert hunt.attributes(one) == []
        assert not any(hunt.finds(text) for _, text in shown(one.__getstate__()))


@pytest.mark.usefixtures("current")
def test_a_clone_has_the_same_parameters_and_nothing_of_the_fit() -> None:
    embedder = Embedder(dimension=SMALL, task_type="CLUSTERING", batch_size=7, cache=False).fit(TEXTS)
    twin = clone(embedder)
    assert twin.get_params() == embedder.get_params()
    assert vars(twin) == embedder.get_params()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_copy_embeds_alike_and_goes_on_following_its_session(
    current: Session, copied: Callable[[Embedder], Embedder]
) -> None:
    fitted = Embedder().fit(TEXTS)
    np.testing.assert_array_equal(copied(fitted).transform(TEXTS), fitted.transform(TEXTS))
    fresh = copied(Embedder())
    current.configure("dimension", SMALL, "test")
    assert fresh.fit_transform(TEXTS).shape == (4, SMALL)
    assert vars(fresh).keys() == vars(Embedder().fit(TEXTS)).keys()
