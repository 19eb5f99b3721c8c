"""An embedding function for chromadb. A collection stores it: what makes its vectors comparable, and no token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vn_magic.current import current_session
from vn_magic.exceptions import MissingExtraError, ProvenanceError
from vn_magic.handover.retrieval import Retrieval
from vn_magic.models import OFFLINE_MODEL
from vn_magic.settings import TaskType

_MISSING = 'vn_magic.handover.chroma needs chromadb 1.1 or newer.\nNext: pip install "vn_magic[chroma]"'

try:
    from chromadb.api.types import Documents, EmbeddingFunction, Space
    from chromadb.utils.embedding_functions import register_embedding_function
except ImportError as error:
    if (error.name or "").partition(".")[0] != "chromadb":
        raise
    raise MissingExtraError(_MISSING) from None
if not hasattr(EmbeddingFunction, "embed_query"):  # before 1.1 questions were embedded as documents are
    raise MissingExtraError(_MISSING)

_CONFIGURED = {"source", "model", "dimension", "document_task", "query_task", "unit_length"}


@register_embedding_function
class VectorNodeEmbeddingFunction(EmbeddingFunction[Documents]):
    """Embeddings of the current session, for chromadb: documents and queries of a collection, in cosine space.

    Every call is a job of the session that is current then: its token, cache, pace and budget, the gateway or the
    stand-in. A collection stores what this is made of, and never a token. Once this module is imported,
    ``client.get_collection(name)`` makes it anew. Create a collection once, and open it so ever after: whoever gives a
    function again, there or to ``get_or_create_collection``, may mix models or gateways without a word, for chroma
    compares nothing but the names of functions.

    Parameters
    ----------
    model, dimension
        What to ask for; None means the session's setting at the time when this is made.
    document_task, query_task
        Task types. None means ``RETRIEVAL_DOCUMENT`` and ``RETRIEVAL_QUERY``, for models that have tasks.
    source
        Where all vectors must come from: a gateway's host, or ``offline-lexical``. None means where the session is at
        the time when this is made; where a pack alone answers, whence the pack is.

    Raises
    ------
    InputError, SettingsError
        When the model has no such dimension or task, or the source is no host.
    ProvenanceError
        When vectors of the two tasks cannot be compared; later, when the session has gone to another place than
        ``source``.

    Examples
    --------
    >>> import chromadb, vn_magic
    >>> from vn_magic.handover.chroma import VectorNodeEmbeddingFunction
    >>> client = chromadb.PersistentClient("my_vectors")
    >>> notes = client.create_collection("notes", embedding_function=VectorNodeEmbeddingFunction(dimension=256))
    >>> notes.add(ids=["a", "b"], documents=["The cat sat on the mat.", "Shares fell sharply today."])
    >>> notes.query(query_texts=["a cat on a mat"], n_results=1)["ids"]
    [['a']]
    """

    def __new__(  # noqa: PYI034 - where the stand-in answers it is another class, which Self would deny
        cls, *, source: str | None = None, **_settings: object
    ) -> VectorNodeEmbeddingFunction:
        """Return a function whose name is another one where the stand-in answers; see `_OfflineEmbeddingFunction`."""
        made: VectorNodeEmbeddingFunction
        place = current_session().expected_source if source is None else source
        # Of a class that a user derives this would be no instance, and Python would not run `__init__`.
        of_ours = cls is VectorNodeEmbeddingFunction and place == OFFLINE_MODEL
        made = object.__new__(_OfflineEmbeddingFunction if of_ours else cls)
        return made

    def __init__(
        self,
        *,
        model: str | None = None,
        dimension: int | None = None,
        document_task: TaskType | None = None,
        query_task: TaskType | None = None,
        source: str | None = None,
    ) -> None:
        self._retrieval = Retrieval(
            model=model,
            dimension=dimension,
            document_task=document_task,
            query_task=query_task,
            source=current_session().expected_source if source is None else source,
        )

    def __call__(self, input: Documents) -> list[NDArray[np.float32]]:  # noqa: A002 - chroma looks at the name
        """Return a vector for each document, float32 ``(dimension,)``, unit length, in their order.

        Raises
        ------
        InputError
            When a document is blank or no text, naming its row. Nothing was sent.
        VnMagicError
            See `vn_magic.embed`. Finished texts are in the cache.
        """
        return list(self._retrieval.embed(input, self._retrieval.document_task))

    def embed_query(self, input: Documents) -> list[NDArray[np.float32]]:  # noqa: A002 - as above
        """Return a vector for each question; as for documents, but of the task for queries."""
        return list(self._retrieval.embed(input, self._retrieval.query_task))

    def __reduce__(self) -> tuple[object, ...]:
        return self.build_from_config, (self.get_config(),)

    @staticmethod
    def name() -> str:
        """Return what chroma knows this by."""
        return "vn_magic"

    def get_config(self) -> dict[str, Any]:
        """Return what a collection stores: all that makes its vectors comparable."""
        return {**self._retrieval.as_json(), "unit_length": True}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> VectorNodeEmbeddingFunction:
        """Return the function that a collection has stored.

        Raises
        ------
        ProvenanceError
            When something is missing, or there is more than is known of.
        """
        VectorNodeEmbeddingFunction.validate_config(config)
        return VectorNodeEmbeddingFunction(**{name: config[name] for name in _CONFIGURED if name != "unit_length"})

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Refuse what `get_config` has not written; see `build_from_config`."""
        if set(config) != _CONFIGURED or config["unit_length"] is not True:
            raise ProvenanceError(
                f"This is not what vn_magic stores in a collection, {', '.join(sorted(_CONFIGURED))}: {config!r}.\n"
                "Next: install the version of vn_magic that the collection was made with, or make it anew."
            )

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Complain of another function than that of the vectors which are there. chroma asks when it has stored it.

        Raises
        ------
        ProvenanceError
            When anything differs, with the way to put the old one back.
        """
        if old_config != new_config:
            raise ProvenanceError(
                f"This function is not that of the collection's vectors, but chroma has stored it: {new_config}.\n"
                "Next: put the old one back, and make another collection for this one: collection.modify(configuration="
                f"{{'embedding_function': VectorNodeEmbeddingFunction.build_from_config({old_config})}})"
            )

    def default_space(self) -> Space:
        """Return the space of collections that name none."""
        return "cosine"

    def supported_spaces(self) -> list[Space]:
        """Return all spaces: they rank vectors of unit length alike."""
        return ["cosine", "l2", "ip"]


@register_embedding_function
class _OfflineEmbeddingFunction(VectorNodeEmbeddingFunction):
    """What `VectorNodeEmbeddingFunction` returns where the stand-in answers: its vectors are lexical, and labelled so.

    chroma compares the name of a function that ``get_collection`` is given with the stored one, and nothing else: by a
    name of its own, lexical vectors are refused by collections of a gateway's, and the other way round.
    """

    @staticmethod
    def name() -> str:
        """Return what chroma knows this by."""
        return "vn_magic_offline"
