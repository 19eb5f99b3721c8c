"""The stand-in over HTTP on loopback: what `vn-magic serve` runs."""

import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from vn_magic.offline.app import create_app
from vn_magic.offline.lexical import LABEL

HOST = "127.0.0.1"
TOKEN_VARIABLE = "VECTORNODE_API_KEY"  # noqa: S105 - the name of a variable, not a token
BASE_URL_VARIABLE = "VN_MAGIC_BASE_URL"


def serve(port: int, *, drops_dimension: bool, no_batch: bool, play: str | None, environ: Mapping[str, str]) -> int:
    """Serve the stand-in on 127.0.0.1 until Ctrl-C or SIGTERM. Call it from the main thread.

    Parameters
    ----------
    port
        TCP port; 0 takes a free one. The line that says "vn-magic stand-in on" names the real one, and once it
        is printed, connections are accepted.
    drops_dimension, no_batch, play
        As for `create_app`.
    environ
        The process's environment. ``VECTORNODE_API_KEY`` is the token to ask for; without it one is made and
        printed once. It is never an argument, because every user of a machine can list its processes' arguments.

    Returns
    -------
    int
        The exit code: 0 after Ctrl-C or SIGTERM, 1 when it could not start, with the reason on stderr.
    """
    given = environ.get(TOKEN_VARIABLE, "").strip()
    token = given or f"sk-offline-{secrets.token_hex(16)}"
    try:
        app = create_app(token=token, drops_dimension=drops_dimension, no_batch=no_batch, play=play)
        import uvicorn  # noqa: PLC0415 - an extra, wanted by this command alone

        from vn_magic.offline.punctual import PunctualProtocol  # noqa: PLC0415 - imports uvicorn
    except ValueError as error:
        _complain(str(error))
        return 1
    except ImportError:
        _complain('Serving needs uvicorn, which is not installed.\nInstall it: pip install "vn_magic[serve]"')
        return 1
    try:
        listener = listen(port)
    except (OSError, OverflowError) as error:
        _complain(
            f"Cannot serve on {HOST}:{port}: {error}\n"
            "Stop the program that has it, or take another port: vn-magic serve --port 0"
        )
        return 1
    config = uvicorn.Config(
        app,
        http=PunctualProtocol,
        log_level="error",  # what others send that is no HTTP is not news for whoever runs this
        access_log=False,  # it would hold the token of every caller who sends it as ?key=
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=2,
        # asyncio accepts so many in a row before the first of them is looked at, and turned away if it is one too many.
        backlog=PunctualProtocol.most_connections // 8,
    )
    server = uvicorn.Server(config)
    with listener, _on_signals(server.handle_exit):
        _announce(listener.getsockname()[1], token, given=bool(given))
        server.run(sockets=[listener])
    return 0


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; port 0 takes a free one. Raises OSError if it cannot."""
    listener = socket.create_server((HOST, port))
    # Accepted connections inherit this. asyncio would set it only on sockets that were made with an explicit
    # protocol, and without it each answer on a kept-alive connection waits 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _announce(port: int, token: str, *, given: bool) -> None:
    """Print where the server is and how to reach it. A token from the environment is known: it stays masked."""
    url = f"http://{HOST}:{port}"
    lines = [f"export {BASE_URL_VARIABLE}={url}"]
    if given:
        prefix = "sk-" if token.startswith("sk-") else ""
        masked = f"{prefix}…{token[-4:]}" if len(token) >= 12 else "…"
        lines.append(f"# token: {masked}, from {TOKEN_VARIABLE}")
    else:
        lines.append(f"export {TOKEN_VARIABLE}={token}")
    lines.append(f"vn-magic stand-in on {url} ({LABEL}: lexical likeness, not meaning)")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _complain(message: str) -> None:
    sys.stderr.write(message + "\n")


@contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call the handler.

    Uvicorn does so itself while it serves, but not yet when the ready line is out, and it raises the signal
    again when it is done: under the handlers of before, that would be a KeyboardInterrupt or a death by SIGTERM.
    """
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)
