"""API keys of a workspace. A key's secret is in one answer only: the one that made it.

That is why making one takes no Idempotency-Key: its answer must not be stored.
"""

from typing import Annotated
from uuid import UUID

from fastapi import Response

from service.api.deps import ServicesDep
from service.api.pagination import Page, PageDep
from service.api.routing import protected_router, requires
from service.api.schemas.keys import KeyCreation, KeyView, NewKeyView
from service.auth import store
from service.auth.subjects import Scope, Subject
from service.db.paging import read_page
from service.db.tables import ApiKey
from service.errors import ForbiddenError

router = protected_router("/keys", tags=["keys"])

KeyAdmin = Annotated[Subject, requires(Scope.KEYS_ADMIN)]


@router.post("", status_code=201)
def create_key(
    body: KeyCreation, response: Response, subject: KeyAdmin, services: ServicesDep
) -> NewKeyView:
    """Makes a key with at most the scopes of the one that asks."""
    missing = sorted(set(body.scopes) - subject.scopes)
    if missing:
        raise ForbiddenError(f"The key lacks what it would give: {', '.join(missing)}.")
    with services.database.transaction() as db:
        key, plain = store.create_key(
            db,
            subject.workspace_id,
            body.name,
            body.scopes,
            expires_at=body.expires_at,
            not_before=body.not_before,
        )
    response.headers["Location"] = f"/api/v1/keys/{key.id}"
    return NewKeyView(**KeyView.model_validate(key).model_dump(), key=plain)


@router.get("")
def list_keys(page: PageDep, subject: KeyAdmin, services: ServicesDep) -> Page[KeyView]:
    """All keys of the workspace, also revoked and expired ones."""
    with services.database.transaction() as db:
        keys, has_more = read_page(db, ApiKey, ApiKey.workspace_id == subject.workspace_id, page)
    return Page(data=[KeyView.model_validate(key) for key in keys], has_more=has_more)


@router.get("/{key_id}")
def get_key(key_id: UUID, subject: KeyAdmin, services: ServicesDep) -> KeyView:
    with services.database.transaction() as db:
        return KeyView.model_validate(store.get_key(db, subject.workspace_id, key_id))


@router.delete("/{key_id}", status_code=204)
def revoke_key(key_id: UUID, subject: KeyAdmin, services: ServicesDep) -> None:
    """Ends a key. Other processes notice within `REPRISE_KEY_CACHE_SECONDS`."""
    with services.database.transaction() as db:
        store.revoke_key(db, subject.workspace_id, key_id)
    services.authenticator.forget(key_id)
