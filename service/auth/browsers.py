"""Browsers that signed in with a key: a random token in a cookie stands for the key.

Only the hash of a token is stored. It ends with its time, with a sign-out, or with its key.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.auth.store import is_valid
from service.auth.subjects import Scope, Subject
from service.db.tables import ApiKey, BrowserSession
from service.errors import CsrfError, UnauthenticatedError

TOKEN_BYTES = 32
ENDED = "The browser is not signed in any more."


def sign_in(db: Session, key_id: UUID, seconds: float) -> str:
    """The token of a new sign-in, which nobody can find out again."""
    db.execute(delete(BrowserSession).where(BrowserSession.expires_at < func.now()))
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = BrowserSession(
        token_sha256=_digest(token),
        key_id=key_id,
        expires_at=func.now() + timedelta(seconds=seconds),
    )
    db.add(row)
    return token


def subject_of(db: Session, token: str) -> Subject:
    """Who signed in. Raises UnauthenticatedError, the same for every reason."""
    key = db.scalar(
        select(ApiKey)
        .join(BrowserSession, BrowserSession.key_id == ApiKey.id)
        .where(
            BrowserSession.token_sha256 == _digest(token),
            BrowserSession.expires_at > func.now(),
            is_valid(),
        )
    )
    if key is None:
        raise UnauthenticatedError(ENDED)
    return Subject(
        key_id=key.id,
        workspace_id=key.workspace_id,
        scopes=frozenset(Scope(scope) for scope in key.scopes),
    )


def sign_out(db: Session, token: str) -> None:
    """Ends one sign-in. Twice is no error."""
    db.execute(delete(BrowserSession).where(BrowserSession.token_sha256 == _digest(token)))


def sign_out_everywhere(db: Session, key_id: UUID) -> None:
    """Ends every sign-in with a key."""
    db.execute(delete(BrowserSession).where(BrowserSession.key_id == key_id))


def csrf_token(token: str) -> str:
    """What a page must send along with a request that changes something.

    Another site can make a browser send the cookie, but can read neither it nor our pages.
    """
    return hashlib.sha256(f"csrf {token}".encode()).hexdigest()


def check_csrf(token: str, given: str | None) -> None:
    """Raises CsrfError unless the request comes from a page of ours."""
    if given is None or not hmac.compare_digest(csrf_token(token), given):
        raise CsrfError("A request with a browser's cookie needs the X-CSRF-Token of its page.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
