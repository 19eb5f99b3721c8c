"""The gateway, played locally: lexical vectors behind the documented endpoint, for work without a token or a network.

Imports nothing else of the package. A server that shared the client's code would agree with its mistakes.
"""

from vn_magic.offline.app import STAND_IN_HEADER, create_app
from vn_magic.offline.envelopes import ENVELOPES
from vn_magic.offline.lexical import LABEL, VERSION, embed

__all__ = ["ENVELOPES", "LABEL", "STAND_IN_HEADER", "VERSION", "create_app", "embed"]
