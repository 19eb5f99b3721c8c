"""An Embedder in other processes: workers act for who hands them the work, anybody else is on his own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from support.engine import output_of
from support.gateways import Served, served
from support.kernels import Kernel, kernel
from support.packs import pack_file, recording

from vn_magic import Session
from vn_magic.exceptions import (
    BudgetError,
    InputError,
    ProvenanceError,
    RequirementError,
    TokenError,
)
from vn_magic.offline import create_app
from vn_magic.scale.delegation import Delegation
from vn_magic.scale.estimator import Embedder

TEXTS = ["a kettle", "a backpack", "an office chair"]
SMALL = 128


class Worker:
    """One process that was started for a module, and is given this test's environment."""

    def __init__(self, pool: ProcessPoolExecutor, cache: str) -> None:
        self._pool = pool
        self.knows(VN_MAGIC_CACHE=cache)

    def knows(self, **environ: str) -> None:
        """Set variables in the worker's environment."""
        self._pool.submit(exec, f"import os; os.environ.update({environ!r})").result()

    def forgets(self, *names: str) -> None:
        """Take variables out of the worker's environment."""
        self._pool.submit(exec, f"import os; [os.environ.pop(name, None) for name in {names!r}]").result()

    def runs(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Let the worker do it; what it raises is raised here."""
        return self._pool.submit(function, *arguments).result()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    # Spawned: a forked child would have the session itself, as joblib's workers have not.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        yield one


@pytest.fixture
def worker(pool: ProcessPoolExecutor) -> Iterator[Worker]:
    one = Worker(pool, os.environ["VN_MAGIC_CACHE"])
    yield one
    one.forgets("VECTORNODE_API_KEY", "VECTORNODE_API_KEY_FILE", "VN_MAGIC_PACK")


# Workers


def test_a_worker_embeds_offline_and_under_the_settings_of_the_session_that_hands_it_the_work(
    current: Session, worker: Worker
) -> None:
    current.configure("dimension", SMALL, "test")
    current.configure("unit_length", False, "test")
    embedder = Embedder()
    expected = embedder.transform(TEXTS)
    np.testing.assert_array_equal(worker.runs(embedder.fit_transform, TEXTS), expected)
    current.configure("dimension", 256, "test")
    assert worker.runs(embedder.fit_transform, TEXTS).shape == (3, 256)


def test_clones_that_a_worker_makes_embed_as_the_one_that_it_was_given(current: Session, worker: Worker) -> None:
    current.configure("dimension", SMALL, "test")
    model = make_pipeline(Embedder(), LogisticRegression())
    validate = partial(cross_validate, cv=2, return_estimator=True, error_score="raise")
    fitted = worker.runs(validate, model, ["a", "b", "c", "d"], [0, 1, 0, 1])["estimator"]
    assert [(part[0].provenance_.source, part[0].provenance_.dimension) for part in fitted] == [
        ("offline-lexical", SMALL)
    ] * 2


def test_an_embedder_that_a_worker_has_fitted_follows_the_session_again_when_it_is_back(
    current: Session, worker: Worker
) -> None:
    current.configure("dimension", SMALL, "test")
    embedder = worker.runs(Embedder().fit, TEXTS)
    assert embedder.provenance_.source == "offline-lexical"
    current.configure("dimension", 256, "test")
    assert embedder.transform(TEXTS).shape == (3, SMALL)
    assert embedder.fit_transform(TEXTS).shape == (3, 256)


def test_a_worker_sends_the_token_of_its_environment_and_never_that_of_the_session(
    set_current: Callable[[Session], Session], worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("sk-of-the-worker-1")
    with served(create_app()) as gateway:
        set_current(Session(base_url=gateway.url, token="sk-of-the-session-1"))
        worker.knows(VECTORNODE_API_KEY_FILE=str(tmp_path / "token"))
        vectors = worker.runs(Embedder(dimension=SMALL).fit_transform, TEXTS)
    assert vectors.shape == (3, SMALL)
    assert {request.headers["authorization"] for request in gateway.received} == {"Bearer sk-of-the-worker-1"}


@pytest.mark.usefixtures("online")
def test_a_worker_without_a_token_says_where_it_looks_for_one(worker: Worker, gateway: Served) -> None:
    with pytest.raises(TokenError) as raised:
        worker.runs(Embedder(dimension=SMALL).fit_transform, TEXTS)
    said = str(raised.value)
    assert "VECTORNODE_API_KEY or VECTORNODE_API_KEY_FILE" in said
    assert len(said.splitlines()) == 2
    assert not gateway.received


def test_texts_that_were_embedded_before_cost_a_worker_nothing(
    online: Session, worker: Worker, gateway: Served, token: str
) -> None:
    online.configure("max_requests", 3, "test")
    worker.knows(VECTORNODE_API_KEY=token)
    expected = Embedder(dimension=SMALL).transform(TEXTS)
    np.testing.assert_array_equal(worker.runs(Embedder(dimension=SMALL).fit_transform, TEXTS), expected)
    assert sorted(gateway.texts) == sorted(TEXTS)


def test_under_a_budget_a_worker_sends_nothing(online: Session, worker: Worker, gateway: Served, token: str) -> None:
    online.configure("max_tokens", 1000, "test")
    worker.knows(VECTORNODE_API_KEY=token)
    with pytest.raises(BudgetError, match="budget, under which its worker processes send nothing"):
        worker.runs(Embedder(dimension=SMALL).fit_transform, TEXTS)
    assert not gateway.received


def test_where_a_requirement_was_not_met_a_worker_sends_nothing(
    online: Session, worker: Worker, gateway: Served, token: str
) -> None:
    online.unmet = "This lesson needs a pack."
    worker.knows(VECTORNODE_API_KEY=token)
    with pytest.raises(RequirementError, match="This lesson needs a pack"):
        worker.runs(Embedder(dimension=SMALL).fit_transform, TEXTS)
    assert not gateway.received


def test_a_pack_that_a_worker_does_not_have_is_not_replaced_by_the_gateway(
    online: Session, worker: Worker, gateway: Served, token: str, tmp_path: Path
) -> None:
    path = pack_file(tmp_path / "lesson.vnpack", recording(TEXTS))
    online.use_pack(path, strict=True, source="test")
    worker.knows(VECTORNODE_API_KEY=token)
    with pytest.raises(InputError, match="A worker process does not use the pack"):
        worker.runs(Embedder().fit_transform, TEXTS)
    worker.knows(VN_MAGIC_PACK=str(path))
    assert worker.runs(Embedder().fit_transform, TEXTS).shape == (3, 768)
    assert not gateway.received


# Processes that are nobody's workers

DUMP = """
import joblib, sys
from vn_magic.current import current_session
from vn_magic.sklearn import Embedder
session = current_session()
session.configure("offline", True, "test")
session.configure("dimension", 128, "test")
fitted = Embedder()
fitted.fit_transform(["a kettle", "a backpack", "an office chair"])
joblib.dump({"fitted": fitted, "fresh": Embedder(), "settled": Embedder(dimension=128)}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedders that a process has left in a file. Its session was offline, with a dimension of 128."""
    folder = tmp_path_factory.mktemp("dumped")
    path = folder / "embedders.joblib"
    output_of(DUMP, str(path), VN_MAGIC_CACHE=str(folder / "cache"))
    return path


@pytest.mark.usefixtures("current")
def test_a_fitted_embedder_from_a_file_embeds_where_it_was_fitted_and_as_it_was_fitted(dumped: Path) -> None:
    assert joblib.load(dumped)["fitted"].transform(TEXTS).shape == (3, SMALL)


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("which", ["fitted", "fresh", "settled"])
def test_an_embedder_from_a_file_does_not_take_its_session_along(dumped: Path, gateway: Served, which: str) -> None:
    embedder = joblib.load(dumped)[which]
    with pytest.raises(ProvenanceError, match="offline"):
        embedder.transform(TEXTS)
    assert not gateway.received


def test_what_another_process_has_settled_by_its_session_is_not_settled_otherwise(
    current: Session, dumped: Path
) -> None:
    loaded = joblib.load(dumped)
    for embedder in (loaded["fresh"], clone(loaded["fresh"])):
        for method in (embedder.fit, embedder.transform, embedder.fit_transform):
            with pytest.raises(ProvenanceError, match="dimension 128 there and 768 here") as raised:
                method(TEXTS)
            assert len(str(raised.value).splitlines()) == 2
    assert loaded["settled"].fit_transform(TEXTS).shape == (3, SMALL)
    current.configure("dimension", SMALL, "test")
    assert loaded["fresh"].fit_transform(TEXTS).shape == (3, SMALL)


def test_an_embedder_from_a_file_obeys_the_session_that_hands_it_to_a_worker(
    current: Session, dumped: Path, worker: Worker
) -> None:
    settled = joblib.load(dumped)["settled"]
    assert worker.runs(settled.fit_transform, TEXTS).shape == (3, SMALL)
    current.unmet = "This lesson needs a pack."
    with pytest.raises(RequirementError, match="This lesson needs a pack"):
        worker.runs(settled.fit_transform, TEXTS)
    current.unmet = ""
    current.configure("max_requests", 1000, "test")
    with pytest.raises(BudgetError, match="budget, under which its worker processes send nothing"):
        worker.runs(settled.fit_transform, ["a text that no cache has"])


def test_a_pickle_tells_places_apart_before_anything_was_embedded_as_pipelines_with_a_memory_need_it(
    tmp_path: Path,
) -> None:
    state = "from vn_magic.sklearn import Embedder; print(Embedder().__getstate__()['_delegation'].settings)"
    told = [output_of(state, VN_MAGIC_CACHE=str(tmp_path), VN_MAGIC_OFFLINE=switch) for switch in ("0", "1")]
    assert told[0] != told[1]


@pytest.mark.usefixtures("online")
def test_a_number_of_a_process_alone_makes_nobody_its_worker(dumped: Path, gateway: Served) -> None:
    stranger = joblib.load(dumped)["settled"]
    stranger._delegation = replace(stranger._delegation, process=os.getpid())
    with pytest.raises(ProvenanceError, match="comes from another process"):
        pickle.loads(pickle.dumps(stranger)).fit(TEXTS)
    assert not gateway.received


def test_a_pack_in_the_place_of_whom_another_process_asks_is_refused(
    current: Session, dumped: Path, tmp_path: Path
) -> None:
    current.use_pack(pack_file(tmp_path / "lesson.vnpack", recording(TEXTS)), strict=False, source="test")
    with pytest.raises(ProvenanceError, match=r"no pack there and lesson\.vnpack here"):
        joblib.load(dumped)["settled"].fit(TEXTS)


def test_another_address_than_a_strangers_counts_unless_nobody_is_asked_there(online: Session, gateway: Served) -> None:
    stranger = Embedder(dimension=SMALL)
    stranger._delegation = replace(Delegation.of(online), family="another")
    online.configure("base_url", "https://gateway.example", "test")
    with pytest.raises(ProvenanceError, match=f"base_url '{gateway.url}' there and 'https://gateway.example' here"):
        stranger.fit(TEXTS)
    online.configure("offline", True, "test")
    stranger._delegation = replace(Delegation.of(online), family="another")
    online.configure("base_url", gateway.url, "test")
    assert stranger.fit_transform(TEXTS).shape == (3, SMALL)


# In a notebook


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebook")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    with kernel(
        environ={**clean, "IPYTHONDIR": str(folder / "ipython"), "VN_MAGIC_CACHE": str(folder / "cache")}
    ) as one:
        assert one.run("%load_ext vn_magic\n%vn offline\n%config VnMagic.dimension = 128").status == "ok"
        yield one


CROSS_VALIDATED = """
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from vn_magic.sklearn import Embedder

texts = [f"{product} number {number}" for number in range(6) for product in ("kettle", "backpack", "chair")]
labels = ["kettle", "backpack", "chair"] * 6
union = FeatureUnion([("one", Embedder()), ("two", Embedder(task_type="CLUSTERING"))])
model = make_pipeline(union, LogisticRegression())
scores = [cross_val_score(model, texts, labels, cv=3, n_jobs=jobs, error_score="raise").tolist() for jobs in (1, 2)]
assert scores[0] == scores[1], scores
model[0].set_params(n_jobs=2)
model.fit(texts, labels)
assert model.score(texts, labels) == 1
assert [part.provenance_.source for _, part in model[0].transformer_list] == ["offline-lexical"] * 2
model
"""


def test_joblibs_workers_of_a_kernel_that_is_offline_are_offline_too_and_nothing_is_on_stderr(notebook: Kernel) -> None:
    reply = notebook.run(CROSS_VALIDATED, timeout=120)
    assert (reply.status, reply.error, reply.stderr, reply.stdout) == ("ok", [], "", "")
    assert reply.result is not None
    assert "Embedder" in reply.result["text/html"]


def test_a_refusal_is_short_in_a_notebook(notebook: Kernel) -> None:
    fitted = "from vn_magic.sklearn import Embedder\nfitted = Embedder().fit(['a'])"
    reply = notebook.run(f"{fitted}\n%vn offline off\nfitted.transform(['a'])")
    assert (reply.status, len(reply.error), reply.stderr) == ("error", 2, "")
    assert reply.error[0].startswith("ProvenanceError: This Embedder was fitted on ")
