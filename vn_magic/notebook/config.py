"""``%config VnMagic.name = value``: the session's settings as traits that IPython knows how to set and list."""

from __future__ import annotations

from typing import Any, get_args

from traitlets import Bool, Enum, Float, Int, Unicode, observe, validate
from traitlets.config import Config, Configurable

from vn_magic.session import Session
from vn_magic.settings import OnError, Settings, TaskType


class VnMagic(Configurable):
    """Settings of vn_magic, with the values that are in force.

    Parameters
    ----------
    session
        Receives every change.
    config
        What ``ipython_config.py`` says; None where the session has been configured before.
    """

    base_url = Unicode(help="The gateway's address; the bare host is enough.").tag(config=True)
    offline = Bool(help="Use the embedded stand-in: lexical vectors, labelled so; no network, no token.").tag(
        config=True
    )
    model = Unicode(help="The model to ask for.").tag(config=True)
    dimension = Int(help="Values in a vector, 128 to 3072.").tag(config=True)
    task_type = Enum(get_args(TaskType), help="What the vectors are for.").tag(config=True)
    unit_length = Bool(help="Normalise every vector to length one.").tag(config=True)
    on_error = Enum(get_args(OnError), help="Stop at the first failing row, or keep going and mark it.").tag(
        config=True
    )
    concurrency = Int(
        allow_none=True, help="Requests under way at once, at most; None lets the gateway's answers decide."
    ).tag(config=True)
    requests_per_minute = Int(allow_none=True, help="Never start more in a minute; None for no limit.").tag(config=True)
    batch_size = Int(help="Texts in one request, 1 to 100, where the gateway has batches.").tag(config=True)
    request_timeout = Float(help="Seconds for one request from first byte to last.").tag(config=True)
    row_timeout = Float(help="Seconds after which no further attempt is made for a row.").tag(config=True)
    allow_plain_http = Bool(help="Send the token over plain http to another machine. Risky.").tag(config=True)

    max_requests = Int(
        allow_none=True, help="The most requests that the session may send, retries included; None for no budget."
    ).tag(config=True)
    max_tokens = Int(
        allow_none=True, help="The most tokens that the session may send, estimated (≈); None for no budget."
    ).tag(config=True)
    price_per_million = Float(
        allow_none=True, help="What a million tokens cost, in your own currency; cards then show money, marked ≈."
    ).tag(config=True)

    def __init__(self, session: Session, config: Config | None = None) -> None:
        super().__init__()
        self._session = session
        self._source = "ipython_config.py"
        self.follow()
        if config is not None:
            self.config = config
        self._source = "%config"
        session.on_configure = self.follow

    def follow(self) -> None:
        """Take over the session's values, which other doors may have changed."""
        for name in Settings.names():
            setattr(self, name, getattr(self._session.settings, name))

    @validate(*Settings.names())
    def _check(self, proposal: dict[str, Any]) -> Any:  # noqa: ANN401 - traits differ in type
        name, value = proposal["trait"].name, proposal["value"]
        return getattr(self._session.settings.with_value(name, value, self._source), name)

    @observe(*Settings.names())
    def _apply(self, change: dict[str, Any]) -> None:
        name, value = change["name"], change["new"]
        if getattr(self._session.settings, name) != value:
            self._session.configure(name, value, self._source)
