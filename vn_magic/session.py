"""Session: what lives as long as the kernel. Settings, token, and the one way to run a job.

The magics, the panel and the Python API are doors to one of these.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

from vn_magic.budget import session_budget
from vn_magic.cache_thread import CacheThread
from vn_magic.credentials import FoundToken, Token, TokenStore
from vn_magic.door import presentable
from vn_magic.embedder import EmbeddingJob
from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import EmbeddingInterruptedError, InputError, PackError, RequirementError
from vn_magic.forks import ForkGuard
from vn_magic.gateway.probe import Probe
from vn_magic.history import History
from vn_magic.lookup import Plan, plan_job
from vn_magic.models import OFFLINE_MODEL
from vn_magic.pack import PACK_VARIABLE, Pack, PackInUse
from vn_magic.progress import ProgressEvent, ProgressListener, Totals
from vn_magic.request import EmbedOptions, Request, Vectors, settle
from vn_magic.runtime import Runtime, origin_for
from vn_magic.settings import JobOptions, Settings, origin_of
from vn_magic.texts import checked_texts
from vn_magic.trace import Trace

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
        self.history = History()
        self.last_job: Trace | None = None
        self.debug = False
        # What a notebook required in vain. Graders run the cells below all the same, which must not cost anything.
        self.unmet = ""
        self._pack: PackInUse | None = None
        self._looks_for_pack = True
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
        if name in ("offline", "base_url"):
            self.unmet = ""
        self.on_configure()

    def log_in(self, token: Token, source: str) -> None:
        """Hold a token for the origin of the present base URL."""
        self.unmet = ""
        self.tokens.log_in(token, source, origin_of(self.settings.base_url))

    def log_out(self) -> None:
        """Forget the session's own token, and the connections that were made with it."""
        token = self.tokens.log_out()
        if token is not None:
            # The mask comes off last: what happens to a connection while it is closed may be logged.
            self.runtime.forget(token, lambda: self.tokens.unmask(token))

    @property
    def pack(self) -> PackInUse | None:
        """The pack of `use_pack`, else the one that ``$VN_MAGIC_PACK`` names, read when it is first asked for.

        Raises
        ------
        PackError
            When the one that the environment names cannot be used.
        """
        named = self._environ.get(PACK_VARIABLE, "").strip()
        if not self._looks_for_pack or not named:
            return self._pack
        try:
            found = PackInUse(Pack.read(Path(named)), strict=True, source=f"${PACK_VARIABLE}")
        except PackError as error:
            raise PackError(f"${PACK_VARIABLE}: {error}") from None
        with self._lock:
            if self._looks_for_pack:  # else somebody has said meanwhile what is to be used
                self._pack, self._looks_for_pack = found, False
        return self._pack

    @property
    def asks_nobody(self) -> bool:
        """Whether a pack alone answers: no token, no network, no cache."""
        return self.pack is not None and self.pack.strict

    @property
    def expected_source(self) -> str:
        """Whose vectors come: of whoever is asked, or was asked for the pack that alone answers."""
        pack = self.pack
        sources = {group.source for group in pack.pack.manifest.groups} if pack is not None and pack.strict else set()
        return sources.pop() if len(sources) == 1 else origin_for(self.settings).source

    def use_pack(self, path: Path, *, strict: bool, source: str) -> Pack:
        """Answer from a pack what the cache does not have, in the place of an earlier pack.

        Parameters
        ----------
        path
            The file; all of it is read now.
        strict
            Answer from the pack alone: no token, no network, no cache.
        source
            Who said so.

        Raises
        ------
        PackError
            When it cannot be used; an earlier pack stays. If it alone was to answer, nothing is embedded until somebody
            changes who answers: graders go on after an error.
        """
        try:
            pack = self.guard(lambda: Pack.read(path))
        except PackError as error:
            if strict:
                self.unmet = str(error)
            raise
        with self._lock:
            self._pack, self._looks_for_pack, self.unmet = PackInUse(pack, strict, source), False, ""
        return pack

    def drop_pack(self) -> None:
        """Use no pack any more, that of the environment included."""
        with self._lock:
            self._pack, self._looks_for_pack, self.unmet = None, False, ""

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
        RequirementError
            When `vn_magic.require` has failed, and nothing has been changed since about who answers.
        VnMagicError
            See `EmbeddingJob.run`.
        """
        recipe, options = request.recipe, request.options
        if self.unmet:
            raise RequirementError(self.unmet)
        texts, refused = checked_texts(request.source.values, options.on_error, request.first_row)
        settings, runtime = self.settings, self.runtime
        cache, pack = self._stores(options)
        client = None if pack is not None and pack.strict else await runtime.client(settings, self.tokens)
        origin = origin_for(settings)
        job = EmbeddingJob(
            texts,
            refused,
            recipe,
            options,
            origin=origin,
            client=client,
            cache=cache,
            pack=pack,
            underway=runtime.underway,
            totals=self.totals,
            budget=session_budget(settings),
            report=report,
            first_row=request.first_row,
        )
        self.last_job = job.trace
        self.history.add(origin, recipe, texts, kept=cache is not None)
        with client.pace.limited_to(options.requests_per_minute) if client else nullcontext():
            embeddings = await job.run()
        offline = [OFFLINE_NOTICE] if embeddings.provenance.source == OFFLINE_MODEL else []
        notices = self.untold([*(client.notices if client else ()), *runtime.cache.notices, *offline])
        summary = replace(embeddings.summary, price_per_million=settings.price_per_million, notices=notices)
        return replace(embeddings, summary=summary)

    async def plan_job(self, request: Request) -> tuple[Plan, Sequence[str | None]]:
        """Return what `run_job` would do, and the texts, without sending anything; needs no token."""
        texts, _ = checked_texts(request.source.values, request.options.on_error)
        cache, pack = self._stores(request.options)
        if request.options.refresh:
            cache = pack = None
        return await plan_job(texts, request.recipe, origin_for(self.settings), cache, pack), texts

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

    def _stores(self, options: JobOptions) -> tuple[CacheThread | None, PackInUse | None]:
        """Return what may answer a job before the gateway is asked."""
        pack = self.pack
        if pack is None or not pack.strict:
            return self.runtime.cache if options.use_cache else None, pack
        if options.refresh:
            raise InputError(
                "--refresh would send every text, but a pack alone answers here.\n"
                "Next: leave it out, or `%vn pack off`."
            )
        return None, pack

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
