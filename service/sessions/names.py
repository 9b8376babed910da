"""Ids of sessions: nobody can guess one, and one that was given out here is known again.

An id is the millisecond in which it was made, 128 random bits, and a signature of both and of the
workspace. So of an id without a session it can be said whether there was one, with nothing stored.
"""

import base64
import binascii
import hmac
import secrets
from uuid import UUID

from service.sessions.signing import Signer

PREFIX = "ses_"
LENGTH = len(PREFIX) + 43

_TIME_BYTES, _RANDOM_BYTES, _SIGNATURE_BYTES = 6, 16, 10


class Names:
    """Makes and knows ids."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def new(self, workspace_id: UUID, made_at_ms: int) -> str:
        """An id that was never there."""
        made_at = made_at_ms.to_bytes(_TIME_BYTES, "big")
        return self._written(workspace_id, made_at + secrets.token_bytes(_RANDOM_BYTES))

    def made_at_ms(self, workspace_id: UUID, session_id: str) -> int | None:
        """When an id was made in this workspace, in milliseconds since 1970; None: it was not."""
        if len(session_id) != LENGTH or not session_id.startswith(PREFIX):
            return None
        try:
            signed = base64.b64decode(
                session_id.removeprefix(PREFIX) + "=", altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            return None
        given = signed[:-_SIGNATURE_BYTES]
        expected = self._written(workspace_id, given)
        if not hmac.compare_digest(session_id.encode(), expected.encode()):
            return None
        return int.from_bytes(given[:_TIME_BYTES], "big")

    def _written(self, workspace_id: UUID, given: bytes) -> str:
        signature = self._signer.sign("session id", workspace_id.bytes, given)[:_SIGNATURE_BYTES]
        return PREFIX + base64.urlsafe_b64encode(given + signature).decode().rstrip("=")
