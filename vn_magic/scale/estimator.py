"""Texts to vectors as a step of scikit-learn; its public name is `vn_magic.sklearn.Embedder`."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from vn_magic.current import current_session
from vn_magic.embeddings import Provenance
from vn_magic.exceptions import BudgetError, ProvenanceError
from vn_magic.models import OFFLINE_MODEL
from vn_magic.request import Request
from vn_magic.runtime import origin_for
from vn_magic.scale.delegation import Delegation
from vn_magic.scale.sessions import expected_provenance
from vn_magic.scale.text_column import texts_of
from vn_magic.session import Session
from vn_magic.settings import Recipe, TaskType

# What changes a vector: where these are None, the session decides, and `fit` keeps what it decided.
_RECIPE = ("model", "dimension", "task_type", "unit_length")
# What does not.
_SENDING = ("batch_size", "concurrency", "requests_per_minute", "cache")


class Embedder(TransformerMixin, BaseEstimator):
    """Turn a column of texts into their vectors, one row each.

    A stateless transformer: `transform` needs no `fit`. What `fit` keeps is where the vectors come from, and a fitted
    Embedder refuses to embed anywhere else or in any other way, for what was learnt from one model's vectors is of no
    use with another's. The session does the work, as for `vn_magic.embed`: its base URL, token, cache and pace. None of
    it is a parameter, and no token is ever in one, in a pickle, or sent to a worker process.

    With ``n_jobs`` above one, workers take over the settings of the session that hands them the work; the token they
    find in their environment (``VECTORNODE_API_KEY``, ``VECTORNODE_API_KEY_FILE``). Texts that a cross-validation meets
    again come from the cache. Workers that begin with an empty one may each send the same text: let this Embedder
    `transform` all texts before. Under a session's budget workers send nothing.

    Parameters
    ----------
    model, dimension, task_type, unit_length
        What to ask for, as in `vn_magic.embed`. None means the session's setting, as it was at `fit`. In a grid put the
        largest dimension first: of a model whose shorter vectors are beginnings of longer ones, each text is sent once.
    batch_size, concurrency, requests_per_minute
        How to send, as in `vn_magic.embed`. None means the session's setting.
    cache
        False neither reads nor writes the cache: each fold pays for its texts again.

    Attributes
    ----------
    provenance_ : Provenance
        Of the vectors that `fit_transform` made. After a plain `fit`, which sends nothing: what it would ask for.
    n_features_in_ : int
        1, the column of texts.
    feature_names_in_ : ndarray of str, ``(1,)``
        Its name, where `fit` was given a DataFrame.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from vn_magic.sklearn import Embedder
    >>> stars = make_pipeline(Embedder(dimension=256, task_type="CLASSIFICATION"), LogisticRegression())
    >>> stars.fit(reviews["review"], reviews["stars"])
    """

    # Who has handed this over, where another process has; see `__setstate__`.
    _delegation: Delegation | None = None

    def __init__(
        self,
        *,
        model: str | None = None,
        dimension: int | None = None,
        task_type: TaskType | None = None,
        unit_length: bool | None = None,
        batch_size: int | None = None,
        concurrency: int | None = None,
        requests_per_minute: int | None = None,
        cache: bool = True,
    ) -> None:
        self.model = model
        self.dimension = dimension
        self.task_type = task_type
        self.unit_length = unit_length
        self.batch_size = batch_size
        self.concurrency = concurrency
        self.requests_per_minute = requests_per_minute
        self.cache = cache

    def fit(self, X: object, y: object = None) -> Self:  # noqa: N803, ARG002 - scikit-learn's names and signature
        """Check texts and parameters, and keep where vectors will come from. Sends nothing.

        Parameters
        ----------
        X
            Texts: a list, tuple, one-dimensional array or Series of str, or a frame or array with one column of them.
        y
            Not used.

        Raises
        ------
        InputError
            When it is not texts, or a row has none; names the rows.
        SettingsError
            When a parameter has an impossible value.
        ProvenanceError
            When this Embedder comes from another process, whose session embeds elsewhere.
        """
        texts_of(X)
        session = self._session()
        self._check_agreement(session)
        request = self._request([], session, None)
        validate_data(self, X, skip_check_array=True, ensure_2d=False)  # the column's name
        self.n_features_in_ = 1
        self._recipe, self._place = request.recipe, _place_of(session)
        self._asked = self.provenance_ = expected_provenance(session, request.recipe)
        self._has_seen = False
        return self

    def fit_transform(self, X: object, y: object = None) -> NDArray[np.float32]:  # noqa: N803 - as above
        """Do `fit` and `transform`, and keep the provenance of what came."""
        self.fit(X, y)
        vectors, provenance = self._embedded(X)
        self.provenance_, self._has_seen = provenance, True
        return vectors

    def transform(self, X: object) -> NDArray[np.float32]:  # noqa: N803 - as above
        """Embed texts; those that the cache has, without asking anybody.

        Parameters
        ----------
        X
            Texts, as for `fit`.

        Returns
        -------
        ndarray
            float32 ``(n_samples, dimension)``, C-contiguous; a frame where `set_output` has asked for one.

        Raises
        ------
        InputError
            When it is not texts, or a row has none; names the rows. Nothing was sent.
        ProvenanceError
            When this session's vectors cannot be mixed with those that were fitted.
        TokenError
            When there is no token.
        GatewayError
            When a row could not be embedded: none is ever left out. Finished ones are in the cache.
        """
        if hasattr(X, "columns") and hasattr(self, "feature_names_in_"):
            validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
        vectors, provenance = self._embedded(X)
        if self._is_fitted and self._has_seen:
            _check_mixable(self.provenance_, provenance)
        return vectors

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:  # noqa: ARG002 - as above
        """Return the columns' names: ``embedding0``, ``embedding1`` and so on. Object ``(dimension,)``."""
        recipe = self._recipe if self._is_fitted else self._request([], self._session(), None).recipe
        return np.asarray([f"embedding{number}" for number in range(recipe.dimension)], dtype=object)

    def _embedded(self, X: object) -> tuple[NDArray[np.float32], Provenance]:  # noqa: N803 - as above
        texts, session = texts_of(X), self._session()
        request = self._request(texts, session, self._recipe if self._is_fitted else None)
        if self._is_fitted:
            self._check_place(expected_provenance(session, request.recipe), session)
        else:
            self._check_agreement(session)
        try:
            embeddings = session.guard(lambda: session.run_request(request))
        except BudgetError:
            if not self._is_delegated:
                raise
            told = BudgetError(
                "The session has a budget, under which its worker processes send nothing, and not all of these texts "
                "are in the cache.\nNext: embed them before, by the Embedder's transform, or use one process: n_jobs=1."
            )
        else:
            return np.asarray(request.shaped(embeddings)), embeddings.provenance
        raise told  # outside the block, as `Session.guard` does it

    def _request(self, texts: list[str], session: Session, fitted: Recipe | None) -> Request:
        """Settle a call; for what is None here, the fitted recipe decides, else the session."""
        options: dict[str, Any] = {name: getattr(self, name) for name in (*_RECIPE, *_SENDING)}
        options |= {name: getattr(fitted, name) for name in _RECIPE if fitted and options[name] is None}
        return session.prepare(texts, result="numpy", on_error="stop", **options)

    @property
    def _is_fitted(self) -> bool:
        return hasattr(self, "provenance_")

    @property
    def _is_delegated(self) -> bool:
        return self._delegation is not None and self._delegation.is_of_family

    def _session(self) -> Session:
        return self._delegation.session() if self._delegation and self._is_delegated else current_session()

    def _check_place(self, asked: Provenance, session: Session) -> None:
        """Refuse before a request is paid for, where it is clear already that its vectors could not be mixed."""
        if self._place == _place_of(session):
            _check_mixable(self._asked, asked)
        elif not self._has_seen:
            raise _elsewhere(self._place, _place_of(session))
        elif not session.asks_nobody:
            _check_mixable(self.provenance_, asked)

    def _check_agreement(self, session: Session) -> None:
        """Refuse to settle by this session what that of a stranger has settled otherwise.

        A stranger's process may be the user's own, and this one a worker of his cluster, which nobody has told of it.
        """
        if self._delegation is None or self._is_delegated:
            return
        names = [name for name in _RECIPE if getattr(self, name) is None]
        told = self._delegation.disagreements(session, names)
        if told:
            raise ProvenanceError(
                f"This Embedder comes from another process, whose session differs: {'; '.join(told)}.\n"
                "Next: make a new Embedder here, or, in a worker, set $VN_MAGIC_OFFLINE or $VN_MAGIC_BASE_URL before "
                "it starts, and give model and dimension to the Embedder."
            )

    def __sklearn_clone__(self) -> Self:
        twin = type(self)(**deepcopy(self.get_params(deep=False)))
        for name in ("_delegation", "_sklearn_output_config"):
            if name in vars(self):
                setattr(twin, name, deepcopy(getattr(self, name)))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Add what a worker process has to know: a session does not travel, for it has a token."""
        state: dict[str, Any] = super().__getstate__()
        session, stranger = current_session(), self._delegation
        names = [name for name in _RECIPE if getattr(self, name) is None]
        if stranger is None or not (stranger.is_of_family or stranger.disagreements(session, names)):
            state = {**state, "_delegation": Delegation.of(session)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        delegation = state.get("_delegation")
        if delegation is not None and delegation.is_from_here:  # a copy, or what has come back from a worker
            state = {name: value for name, value in state.items() if name != "_delegation"}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []  # texts come, float32 goes
        return tags


def _place_of(session: Session) -> str:
    """Return who answers, as far as it is known before anybody is asked."""
    source, in_use = origin_for(session.settings).source, session.pack
    return source if in_use is None else f"{source} with the pack {in_use.pack.name}"


def _check_mixable(fitted: Provenance, other: Provenance) -> None:
    with suppress(ProvenanceError):
        fitted.check_comparable(other)
        return
    raise _elsewhere(str(fitted), str(other))


def _elsewhere(fitted: str, here: str) -> ProvenanceError:
    was_offline, is_offline = (OFFLINE_MODEL in told for told in (fitted, here))
    switch = "on" if was_offline else "off"
    back = "go back to what it was fitted on" if was_offline == is_offline else f"`%vn offline {switch}`"
    return ProvenanceError(
        f"This Embedder was fitted on {fitted}, and now gets {here}: they cannot be mixed.\nNext: {back}, or fit again."
    )
