"""Session: what lives as long as the kernel. Settings, token, and the one way to run a job.

The magics, the panel and the Python API are doors to one of these.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any, Self, TypeVar, Unpack

from vn_magic.credentials import FoundToken, Token, TokenStore
from vn_magic.door import presentable
from vn_magic.embedder import EmbeddingJob
from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import EmbeddingInterruptedError
from vn_magic.forks import ForkGuard
from vn_magic.gateway.probe import Probe
from vn_magic.lookup import Plan, plan_job
from vn_magic.models import OFFLINE_MODEL
from vn_magic.progress import ProgressEvent, ProgressListener, Totals
from vn_magic.request import EmbedOptions, Request, Vectors, settle
from vn_magic.runtime import Runtime, origin_for
from vn_magic.settings import Settings, origin_of
from vn_magic.texts import checked_texts

T = TypeVar("T")

OFFLINE_NOTICE = (
    "Offline stand-in: these vectors are lexical, not semantic. They show which texts share words and spellings, "
    "not which mean the same."
)


def _nothing() -> None:
    """Do nothing."""


def _unheard(_event: ProgressEvent) -> None:
    """Listen to nothing."""


class Session:
    """Settings, token, cache and connection, shared by everything that embeds.

    Nothing is opened, read or started before the first use.

    Parameters
    ----------
    base_url, offline
        As the settings of these names; None leaves them to the environment.
    token
        For the base URL's origin; None leaves it to the environment.
    environ
        Where variables are looked up.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        offline: bool | None = None,
        token: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = Settings()  # a session that is never finished has something to show, too
        try:
            own = None if token is None else Token(token)
        finally:
            del token  # whatever is raised here, its frames are looked into
        self._environ = os.environ if environ is None else environ
        self._settings = Settings.from_environment(self._environ)
        self._lock = ForkGuard()
        self._told: set[str] = set()
        self._runtime, self._runtime_process = self._new_runtime(), os.getpid()
        self.tokens = TokenStore(self._environ)
        self.totals = Totals()
        self.debug = False
        # One listener is enough: the traits that show the settings in IPython.
        self.on_configure: Callable[[], None] = _nothing
        if base_url is not None:
            self.configure("base_url", base_url, "Session(base_url=…)")
        if offline is not None:
            self.configure("offline", offline, "Session(offline=…)")
        if own is not None:
            self.log_in(own, "Session(token=…)")

    def __repr__(self) -> str:
        return f"<Session {'offline' if self.settings.offline else self.settings.base_url}>"

    @property
    def settings(self) -> Settings:
        """The settings in force; change them with `configure`."""
        return self._settings

    def configure(self, name: str, value: Any, source: str) -> None:  # noqa: ANN401 - settings differ in type
        """Change one setting and note where the value came from.

        Raises
        ------
        SettingsError
            When there is no such setting, or the value is impossible.
        """
        with self._lock:
            self._settings = self._settings.with_value(name, value, source)
        self.on_configure()

    def log_in(self, token: Token, source: str) -> None:
        """Hold a token for the origin of the present base URL."""
        self.tokens.log_in(token, source, origin_of(self.settings.base_url))

    def log_out(self) -> None:
        """Forget the session's own token, and the connections that were made with it."""
        token = self.tokens.log_out()
        if token is not None:
            # The mask comes off last: what happens to a connection while it is closed may be logged.
            self.runtime.forget(token, lambda: self.tokens.unmask(token))

    def find_token(self) -> FoundToken | None:
        """Return the token for the present base URL and where it is from, or None."""
        return self.guard(lambda: self.tokens.find(origin_of(self.settings.base_url)))

    async def probe(
        self, candidate: Token | None = None, *, settings: Settings | None = None, needs_token: bool = True
    ) -> Probe:
        """Check base URL and token with a free request. Runs on the loop of the session's portal.

        Parameters
        ----------
        candidate
            A token to try instead of the session's, which is not kept.
        settings
            The settings that the candidate was given under; None for the session's present ones.
        needs_token
            False asks without a token where there is none; the answer still tells whether somebody is there.

        Raises
        ------
        TokenError
            When there is no token.
        GatewayError
            When the gateway cannot be reached or answers strangely.
        """
        settings, tokens = settings or self.settings, self.tokens
        if candidate is not None:
            tokens = TokenStore({})
            tokens.log_in(candidate, "candidate", origin_of(settings.base_url))
        try:
            return await (await self.runtime.client(settings, tokens, needs_token=needs_token)).probe()
        finally:
            if candidate is not None:
                tokens.log_out()
                self.runtime.forget(candidate, tokens.unmask)

    @property
    def runtime(self) -> Runtime:
        """The open parts; new ones in a forked child, which has neither threads nor a right to the connections."""
        with self._lock:
            if self._runtime_process != os.getpid():
                self._runtime, self._runtime_process = self._new_runtime(), os.getpid()
            return self._runtime

    def close(self) -> None:
        """Close connections and threads. Settings and token stay; the next use opens again."""
        self.runtime.close()
        self.tokens.unmask()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def run_job(self, request: Request, report: ProgressListener = _unheard) -> Embeddings:
        """Embed the rows of a request. Runs on the loop of the session's portal and nowhere else.

        Raises
        ------
        InputError
            When rows cannot be sent.
        VnMagicError
            See `EmbeddingJob.run`.
        """
        recipe, options = request.recipe, request.options
        texts, refused = checked_texts(request.source.values, options.on_error)
        settings, runtime = self.settings, self.runtime
        client = await runtime.client(settings, self.tokens)
        job = EmbeddingJob(
            texts,
            refused,
            recipe,
            options,
            origin=origin_for(settings),
            client=client,
            cache=runtime.cache if options.use_cache else None,
            underway=runtime.underway,
            totals=self.totals,
            report=report,
        )
        with client.pace.limited_to(options.requests_per_minute):
            embeddings = await job.run()
        offline = [OFFLINE_NOTICE] if embeddings.provenance.source == OFFLINE_MODEL else []
        notices = self.untold([*client.notices, *runtime.cache.notices, *offline])
        return replace(embeddings, summary=replace(embeddings.summary, notices=notices))

    async def plan_job(self, request: Request) -> tuple[Plan, Sequence[str | None]]:
        """Return what `run_job` would do, and the texts, without sending anything; needs no token."""
        texts, _ = checked_texts(request.source.values, request.options.on_error)
        cache = self.runtime.cache if request.options.use_cache else None
        return await plan_job(texts, request.recipe, origin_for(self.settings), cache), texts

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's loop from this thread; Ctrl-C cancels it.

        Raises
        ------
        VnMagicError, EmbeddingInterruptedError
            Short in a notebook, with nothing of the inside attached.
        """
        return self.guard(lambda: self.runtime.portal.run(coroutine))

    def run_request(
        self, request: Request, report: ProgressListener = _unheard, on_tick: Callable[[], None] | None = None
    ) -> Embeddings:
        """Do `run_job` from another thread and wait for it; ``on_tick`` is called there, some ten times a second.

        Raises
        ------
        EmbeddingInterruptedError
            On Ctrl-C, or when somebody closes the session meanwhile, saying what was kept.
        VnMagicError
            See `run_job`.
        """
        try:
            return self.runtime.portal.run(self.run_job(request, report), on_tick=on_tick)
        except (KeyboardInterrupt, CancelledError) as error:
            why = "Stopped." if isinstance(error, KeyboardInterrupt) else "Stopped, because the session was closed."
            kept = "Rows that had arrived are in the cache; run again for the rest."
            nothing = "Nothing of it was kept, because the cache is off."
            raise EmbeddingInterruptedError(f"{why} {kept if request.options.use_cache else nothing}") from None

    def prepare(self, texts: object, **options: Unpack[EmbedOptions]) -> Request:
        """Settle a call under the session's settings; see `vn_magic.request.settle`."""
        return settle(texts, self.settings, **options)

    def embed(self, texts: object, **options: Unpack[EmbedOptions]) -> Vectors:
        """Embed texts and wait for them; see `vn_magic.embed`."""

        def embed() -> Vectors:
            request = self.prepare(texts, **options)
            return request.shaped(self.run_request(request))

        return self.guard(embed)

    async def aembed(self, texts: object, **options: Unpack[EmbedOptions]) -> Vectors:
        """Embed texts without blocking the caller's loop; see `vn_magic.embed`."""
        try:
            request = self.prepare(texts, **options)
            return request.shaped(await self.runtime.portal.join(self.run_job(request)))
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is told short and clean
            told = presentable(error, self.tokens.scrub, debug=self.debug)
        raise told  # outside the block: see `presentable`

    def guard(self, work: Callable[[], T]) -> T:
        """Do the work of a door; exceptions leave in the form that users see, see `vn_magic.door.presentable`."""
        try:
            return work()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is told short and clean
            told = presentable(error, self.tokens.scrub, debug=self.debug)
        raise told  # outside the block: see `presentable`

    def _new_runtime(self) -> Runtime:
        runtime = Runtime(self._environ)
        # At exit, and for sessions that are dropped: an open connection would complain on stderr.
        atexit.register(runtime.close)
        weakref.finalize(self, runtime.end).atexit = False
        return runtime

    def untold(self, notices: Iterable[str]) -> tuple[str, ...]:
        """Return the notices that this session has not shown yet; whoever asks shows them."""
        with self._lock:
            new = tuple(dict.fromkeys(notice for notice in notices if notice not in self._told))
            self._told.update(new)
            return new
