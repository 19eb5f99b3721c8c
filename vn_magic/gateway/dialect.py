"""How one gateway is asked and what its answers mean: it learns what this gateway leaves out of the contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vn_magic.exceptions import (
    BadAnswerError,
    BatchUnavailableError,
    DimensionError,
    GatewayError,
    LongWaitError,
    RateLimitedError,
    WrongAddressError,
)
from vn_magic.gateway.envelopes import Envelope, error_from, quote
from vn_magic.gateway.transport import Reply
from vn_magic.gateway.wire import (
    OFFLINE_LABEL_HEADER,
    REQUEST_ID_HEADER,
    Answer,
    DimensionSpelling,
    Vector,
    batch_body,
    batch_path,
    embed_body,
    embed_path,
    largest_body,
    parse_batch,
    parse_embedding,
)
from vn_magic.models import facts_of
from vn_magic.settings import Recipe

# The first batch finds out whether there are batches: where there are none, it is in vain.
TEXTS_OF_FIRST_BATCH = 2


@dataclass(frozen=True, slots=True)
class Question:
    """A request for the vectors of so many texts."""

    path: str
    body: bytes
    texts: int
    recipe: Recipe
    spelling: DimensionSpelling

    @property
    def is_batch(self) -> bool:
        """Whether it is asked by ``:batchEmbedContents``."""
        return self.texts > 1

    @property
    def largest_answer(self) -> int:
        """The most bytes that its answer may have."""
        return largest_body(self.texts)


class Dialect:
    """What is known of one gateway's ways. Touches no network.

    Parameters
    ----------
    host
        Who made the vectors, unless an answer signs for itself.
    scrub
        Masks the token in what the gateway says.
    longest_wait
        Seconds; a gateway that names a longer one has said that it is no use to wait.

    Attributes
    ----------
    notices
        Sentences that the user should see once.
    has_batches
        Whether it embeds several texts in one request; None before that was tried.
    """

    def __init__(self, host: str, scrub: Callable[[str], str], *, longest_wait: float) -> None:
        self.notices: list[str] = []
        self.has_batches: bool | None = None
        self._host = host
        self._scrub = scrub
        self._longest_wait = longest_wait
        self._spelling = DimensionSpelling.DOCUMENTED

    def batch_size(self, wanted: int) -> int:
        """Return how many texts a request may carry where so many are wanted."""
        if self.has_batches is None:
            return min(wanted, TEXTS_OF_FIRST_BATCH)
        return wanted if self.has_batches else 1

    def do_without_batches(self, error: BatchUnavailableError) -> None:
        """Ask for one text a request from now on."""
        if self.has_batches is not False:
            self.has_batches = False
            self.notices.append(f"{str(error).splitlines()[0]} From now on each is sent alone.")

    def question(self, texts: Sequence[str], recipe: Recipe) -> Question:
        """Return the request for some texts.

        Raises
        ------
        InputError
            When a text cannot be sent.
        """
        if len(texts) > 1:
            path, body = batch_path(recipe.model), batch_body(texts, recipe, self._spelling)
        else:
            path, body = embed_path(recipe.model), embed_body(texts[0], recipe, self._spelling)
        return Question(path, body, len(texts), recipe, self._spelling)

    def outcomes(self, question: Question, reply: Reply) -> Sequence[Answer | GatewayError]:
        """Return each text's vector, or why this one has none although others may.

        Raises
        ------
        GatewayError
            When none has.
        """
        self._check_success(question, reply)
        try:
            return self._read(question, reply)
        except BadAnswerError:
            if Envelope.read(reply.body) is None:
                raise
        raise self.error(reply)

    def _read(self, question: Question, reply: Reply) -> Sequence[Answer | GatewayError]:
        source = reply.headers.get(OFFLINE_LABEL_HEADER) or self._host
        request_id = reply.headers.get(REQUEST_ID_HEADER)
        if not question.is_batch:
            vector, tokens = parse_embedding(reply.body)
            self._check_dimension(len(vector), question)
            return [Answer(vector, source, tokens, request_id)]
        vectors, total = parse_batch(reply.body, question.texts)
        if self.has_batches is None:  # one that was on its way when another was refused changes nothing
            self.has_batches = True
        shares = _shared_out(total, question.texts)
        return [
            outcome if isinstance(outcome, GatewayError) else Answer(outcome, source, share, request_id)
            for outcome, share in zip((self._checked(vector, question) for vector in vectors), shares, strict=True)
        ]

    def error(self, reply: Reply) -> GatewayError:
        """Return the exception that an answer stands for."""
        error = error_from(reply.status, reply.headers, reply.body, now=time.time(), scrub=self._scrub)
        wait = error.retry_after or 0.0
        if isinstance(error, RateLimitedError) and wait >= self._longest_wait:
            told = LongWaitError.because(f"{wait:,.0f} s", status=error.status)
            told.code, told.request_id, told.retry_after = error.code, error.request_id, wait
            return told
        return error

    def _check_success(self, question: Question, reply: Reply) -> None:
        # A page instead of JSON is what gateways show for every path that they do not know.
        is_page = reply.status == 200 and not reply.is_json
        if question.is_batch and (is_page or reply.status in (404, 405)):
            raise BatchUnavailableError.because(f"HTTP {reply.status}", status=reply.status)
        if is_page:
            kind = quote(reply.headers.get("content-type", "nothing"))
            raise WrongAddressError.because(f"HTTP 200, but {kind} instead of JSON", status=200)
        if reply.status != 200:
            raise self.error(reply)

    def _checked(self, vector: Vector | GatewayError, question: Question) -> Vector | GatewayError:
        if isinstance(vector, GatewayError):
            return vector
        try:
            self._check_dimension(len(vector), question)
        except DimensionError as error:
            return error
        return vector

    def _check_dimension(self, length: int, question: Question) -> None:
        recipe = question.recipe
        if length == recipe.dimension:
            return
        first = question.spelling is self._spelling is DimensionSpelling.DOCUMENTED
        if length > recipe.dimension and first:
            self._spelling = DimensionSpelling.CAMEL_CASE
        told = f"asked {recipe.dimension}, got {length} from {recipe.model}"
        if length < recipe.dimension or not facts_of(recipe.model).prefixes_are_vectors:
            raise DimensionError.because(told, status=200)
        if not recipe.unit_length:
            # Whether the gateway would have normalised the shorter vector is not known: no prefix is "as received".
            raise DimensionError(
                f"{DimensionError.meaning} ({told}), and --raw cannot cut it.\n"
                "Next: run it again (the dimension's other spelling is used from now on), or leave out --raw.",
                status=200,
            )
        if first:
            self.notices.append(
                f"The gateway ignored output_dimensionality and sent {length} values: their first "
                f"{recipe.dimension} are the vector. From now on outputDimensionality is used; nothing is sent twice."
            )


def _shared_out(tokens: int | None, count: int) -> list[int | None]:
    """Return shares of a batch's tokens that add up to them; how many each text had is not told."""
    if tokens is None:
        return [None] * count
    share, rest = divmod(tokens, count)
    return [share + (at < rest) for at in range(count)]
