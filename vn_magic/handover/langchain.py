"""LangChain's `Embeddings`: for its vector stores, retrievers and whatever else takes one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import MissingExtraError
from vn_magic.handover.retrieval import Retrieval
from vn_magic.settings import TaskType

try:
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError(
        'vn_magic.handover.langchain needs langchain-core.\nNext: pip install "vn_magic[langchain]"'
    ) from None


class VectorNodeEmbeddings(Embeddings):
    """Embeddings of the current session, for LangChain.

    Every call is a job of the session that is current then: its token, cache, pace and budget, the gateway or the
    stand-in. Nothing of it is kept, so a pickle holds no token. Documents that were embedded once come from the cache.

    Parameters
    ----------
    model, dimension
        What to ask for; None means the session's setting at the time when this is made.
    document_task, query_task
        Task types. None means ``RETRIEVAL_DOCUMENT`` and ``RETRIEVAL_QUERY``, for models that have tasks.
    source
        Where all vectors must come from: a gateway's host, or ``offline-lexical``. None means where the first have come
        from. A store that outlives this process should name it, for LangChain keeps no note of it.

    Raises
    ------
    InputError, SettingsError
        When the model has no such dimension or task, or the source is no host.
    ProvenanceError
        When vectors of the two tasks cannot be compared; later, when the session has gone to another place than the
        one that the first vectors are from.

    Examples
    --------
    >>> import vn_magic
    >>> vn_magic.current_session().configure("offline", True, "this example")
    >>> from langchain_core.vectorstores import InMemoryVectorStore
    >>> from vn_magic.handover.langchain import VectorNodeEmbeddings
    >>> texts = ["The cat sat on the mat.", "Shares fell sharply today."]
    >>> store = InMemoryVectorStore.from_texts(texts, VectorNodeEmbeddings(dimension=256))
    >>> store.similarity_search("a cat on a mat", k=1)[0].page_content
    'The cat sat on the mat.'
    """

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
            model=model, dimension=dimension, document_task=document_task, query_task=query_task, source=source
        )

    def __repr__(self) -> str:
        made_of = self._retrieval.as_json().items()
        return f"VectorNodeEmbeddings({', '.join(f'{name}={value!r}' for name, value in made_of)})"

    @property
    def source(self) -> str | None:
        """Where the vectors are from: a gateway's host, or ``offline-lexical``; None before the first have come."""
        return self._retrieval.source

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of ``dimension`` numbers for each text, unit length, in their order; none for no texts.

        Raises
        ------
        InputError
            When a text is blank or no text, naming its row. Nothing was sent.
        VnMagicError
            See `vn_magic.embed`. Finished texts are in the cache.
        """
        return _lists(self._retrieval.embed(texts, self._retrieval.document_task))

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question, of ``dimension`` numbers; see `embed_documents`."""
        return _lists(self._retrieval.embed([text], self._retrieval.query_task))[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Do `embed_documents` without blocking the caller's event loop; cancelling the task stops the job."""
        return _lists(await self._retrieval.aembed(texts, self._retrieval.document_task))

    async def aembed_query(self, text: str) -> list[float]:
        """Do `embed_query` without blocking the caller's event loop; cancelling the task stops the job."""
        return _lists(await self._retrieval.aembed([text], self._retrieval.query_task))[0]


def _lists(matrix: NDArray[np.float32]) -> list[list[float]]:
    lists: list[list[float]] = matrix.tolist()
    return lists
