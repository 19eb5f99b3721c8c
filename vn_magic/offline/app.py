"""The gateway's embedding endpoints as an ASGI app.

It needs no socket and no lifespan, so httpx's ASGI transport can run it inside a process, and any ASGI server can
serve it. Vectors are computed in the event loop, where other callers wait for one text's vector, never for a whole
batch: a millisecond for a sentence, 70 for forty thousand characters, and once 50 for the JSON of a hundred vectors.
"""

import asyncio
import hmac
import json
from collections.abc import Mapping
from typing import NoReturn, TypeVar, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from vn_magic.offline import envelopes
from vn_magic.offline.envelopes import ENVELOPES, RefusedError, RequestIdMiddleware
from vn_magic.offline.guard import GuardMiddleware
from vn_magic.offline.lexical import DIMENSION, LABEL, embed

STAND_IN_HEADER = "X-Offline-Stand-In"
"""On every answer that carries vectors; its value, `offline-lexical`, is what a client should call them."""

LARGEST_BODY = 4 * 1024 * 1024
# A client that is still writing would see a broken connection instead of the answer, so a body that is too large is
# read on, but not for ever.
LONGEST_BODY_READ = 4 * LARGEST_BODY
LARGEST_BATCH = 100
MODELS = ("gemini-embedding-001", LABEL)

_FIELDS = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})
_SNAKE_CASE = {"output_dimensionality": "outputDimensionality", "task_type": "taskType"}
_TASK_TYPES = frozenset(
    {
        "TASK_TYPE_UNSPECIFIED",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "RETRIEVAL_DOCUMENT",
        "RETRIEVAL_QUERY",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    }
)

_T = TypeVar("_T")


def create_app(
    *, token: str | None = None, drops_dimension: bool = False, no_batch: bool = False, play: str | None = None
) -> Starlette:
    """Return the stand-in: the documented endpoint, its siblings and their errors, with lexical vectors.

    It answers ``POST /v1beta/models/{model}:embedContent`` and ``:batchEmbedContents``, ``GET /v1/models`` and
    ``GET /v1beta/models``; the POSTs also under ``/v1``. Success bodies have the documented shape and nothing else.
    A header `STAND_IN_HEADER` beside them says what the vectors are. They depend on text and title alone: the task
    type is checked, as the real model checks it, and moves nothing, for words are the same whatever the task.

    A batch takes 1 to 100 texts; its vectors are those of the texts sent alone, in their order. One text that cannot be
    embedded is a 400 for all of them, as is likely of Google, whose answer has no place for an error of one.

    Parameters
    ----------
    token
        The one accepted token, looked for in ``x-goog-api-key``, then ``?key=``, then ``Authorization: Bearer``.
        None accepts every caller.
    drops_dimension
        Decode only the fields that QuantumNous/new-api decodes: ``output_dimensionality`` and everything else
        unknown is dropped without an error, and the answer has 3072 values. False is as strict as Google: both
        spellings are understood, both at once and unknown fields are refused.
    no_batch
        Answer ``:batchEmbedContents`` by a 404, as gateways do that have only the other method.
    play
        Name of one of `ENVELOPES`. Every embedding request with an accepted token is answered by it.

    Raises
    ------
    ValueError
        `play` is not a name in `ENVELOPES`.
    """
    if play is not None and play not in ENVELOPES:
        raise ValueError(f"no error is called {play!r}.\nThose that can be played: {', '.join(ENVELOPES)}.")
    gateway = _Gateway(token, play, strict=not drops_dimension, batches=not no_batch)
    routes = [
        Route("/v1/models", gateway.list_openai, methods=["GET"]),
        Route("/v1beta/models", gateway.list_google, methods=["GET"]),
    ]
    for version in ("/v1beta", "/v1"):
        routes.append(Route(version + "/models/{model}:embedContent", gateway.embed_content, methods=["POST"]))
        if not no_batch:
            routes.append(Route(version + "/models/{model}:batchEmbedContents", gateway.embed_batch, methods=["POST"]))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(RequestIdMiddleware), Middleware(GuardMiddleware)],
        exception_handlers={RefusedError: envelopes.refused, ClientDisconnect: _gone, 404: _nowhere, 405: _nowhere},
    )
    app.router.redirect_slashes = False
    return app


class _Gateway:
    def __init__(self, token: str | None, play: str | None, *, strict: bool, batches: bool) -> None:
        self.token = token
        self.play = play
        self.strict = strict
        self.methods = ["embedContent", "batchEmbedContents"] if batches else ["embedContent"]

    async def list_openai(self, request: Request) -> Response:
        self._check_token(request)
        data = [{"id": model, "object": "model", "created": 1626777600, "owned_by": LABEL} for model in MODELS]
        return JSONResponse({"object": "list", "data": data})

    async def list_google(self, request: Request) -> Response:
        self._check_token(request)
        named = [{"name": f"models/{model}", "supportedGenerationMethods": self.methods} for model in MODELS]
        return JSONResponse({"models": named})

    async def embed_content(self, request: Request) -> Response:
        model = self._admit(request)
        return _vectors({"embedding": {"values": self._values(await _read_json(request), model, unnamed=model)}})

    async def embed_batch(self, request: Request) -> Response:
        model = self._admit(request)
        batch = _expect(await _read_json(request), dict, "the body")
        if self.strict:
            _check_names(batch, frozenset({"requests"}))
        requests = _expect(batch.get("requests") or [], list, "requests")
        if not 1 <= len(requests) <= LARGEST_BATCH:
            _bad_argument(f"* BatchEmbedContentsRequest.requests: between 1 and 100 requests, got {len(requests)}")
        # Google asks each request of a batch for its model, where a single one may leave it to the path.
        embeddings = []
        for item in requests:
            embeddings.append({"values": self._values(item, model, unnamed="")})
            await asyncio.sleep(0)  # other callers' turn
        return _vectors({"embeddings": embeddings})

    def _admit(self, request: Request) -> str:
        """Check in the gateway's order what can be refused without reading the body; return the model."""
        self._check_token(request)
        if self.play is not None:
            raise RefusedError(ENVELOPES[self.play])
        model = str(request.path_params["model"])
        if model not in MODELS:
            raise RefusedError(envelopes.no_channel(model))
        return model

    def _check_token(self, request: Request) -> None:
        if self.token is None:
            return
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = (
            request.headers.get("x-goog-api-key")
            or request.query_params.get("key")
            or (bearer.strip() if scheme.lower() == "bearer" else "")
        )
        if not given:
            raise RefusedError(envelopes.MISSING_TOKEN)
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise RefusedError(envelopes.WRONG_TOKEN)

    def _values(self, body: object, model: str, *, unnamed: str) -> list[float]:
        """Check one embedding request as Google does and return its vector's values."""
        item = _expect(body, dict, "the request")
        if self.strict:
            item = _camel_case(item)
            _check_names(item, _FIELDS)
            if _field(item, "model", str, unnamed) not in {model, f"models/{model}"}:
                _bad_argument(f"* EmbedContentRequest.model: expected models/{model}, as in the path")
        task_type = _field(item, "taskType", str, "TASK_TYPE_UNSPECIFIED")
        title = _field(item, "title", str, "")
        dimension = _field(item, "outputDimensionality", int, DIMENSION)
        content = _field(item, "content", dict, {})
        if task_type not in _TASK_TYPES:
            _bad_argument(f"Invalid value at 'task_type' (TaskType), {json.dumps(task_type)}")
        if title and task_type != "RETRIEVAL_DOCUMENT":
            _bad_argument("* EmbedContentRequest.title: a title goes only with the task type RETRIEVAL_DOCUMENT")
        if not 1 <= dimension <= DIMENSION:
            _bad_argument(f"* EmbedContentRequest.output_dimensionality: between 1 and {DIMENSION}, got {dimension}")
        return cast("list[float]", embed(self._text(content), dimension, title).tolist())

    def _text(self, content: Mapping[str, object]) -> str:
        """Return the text of a content. Its parts make one text, hence one vector, as in the real API."""
        parts = _field(content, "parts", list, [])
        texts = [_field(_expect(part, dict, "content.parts[]"), "text", str, "") for part in parts]
        _field(content, "role", str, "")
        if self.strict:
            _check_names(content, frozenset({"parts", "role"}))
            for part in parts:
                _check_names(part, frozenset({"text"}))
        if not texts or not all(texts):
            raise RefusedError(ENVELOPES["bad-argument"])
        return "\n".join(texts)


async def _read_json(request: Request) -> object:
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= LARGEST_BODY:
            body += chunk
        elif size > LONGEST_BODY_READ:
            break
    if size > LARGEST_BODY:
        raise RefusedError(envelopes.BODY_TOO_LARGE)
    try:
        return json.loads(body.decode(), parse_constant=_no_such_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(envelopes.relay(500, f"malformed JSON: {error}", "invalid_request")) from None


def _no_such_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _expect(value: object, kind: type[_T], name: str) -> _T:
    """Return the value if it is exactly of this kind; a bool is no int here."""
    if type(value) is not kind:
        message = f"cannot unmarshal {type(value).__name__} into {name} of type {kind.__name__}"
        raise RefusedError(envelopes.relay(500, message, "invalid_request"))
    return value


def _field(item: Mapping[str, object], name: str, kind: type[_T], default: _T) -> _T:
    value = item.get(name)
    return default if value is None else _expect(value, kind, name)


def _camel_case(item: Mapping[str, object]) -> dict[str, object]:
    """Accept the proto3 spelling of a field in place of its JSON spelling, and not beside it."""
    for snake, camel in _SNAKE_CASE.items():
        if snake in item and camel in item:
            _bad_argument(f"Invalid value (oneof), field '{snake}' is already set. Cannot set '{camel}'")
    return {_SNAKE_CASE.get(name, name): value for name, value in item.items()}


def _check_names(item: Mapping[str, object], known: frozenset[str]) -> None:
    for name in item:
        if name not in known:
            _bad_argument(f"Invalid JSON payload received. Unknown name {json.dumps(name)}: Cannot find field.")


def _bad_argument(message: str) -> NoReturn:
    raise RefusedError(envelopes.upstream(400, message))


def _vectors(answer: Mapping[str, object]) -> Response:
    return JSONResponse(answer, headers={STAND_IN_HEADER: LABEL})


async def _gone(_request: Request, _error: Exception) -> Response:
    """Answer a caller who hung up in the middle of a request; nobody reads it."""
    return Response(status_code=400)


async def _nowhere(request: Request, _error: Exception) -> Response:
    """Answer a path that is not served: JSON under /v1 and /v1beta, the gateway's web page elsewhere."""
    path = str(request.scope["path"])
    if path.startswith("/v1"):
        message = f"Invalid URL ({request.method} {path})"
        error = {"message": message, "type": "invalid_request_error", "param": "", "code": ""}
        return JSONResponse({"error": error}, status_code=404)
    return HTMLResponse(f"<!doctype html><title>vn-magic stand-in</title><p>{LABEL}: the API is under /v1beta.</p>")
