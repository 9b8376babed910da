"""Bodies of /api/v1/keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from service.api.schemas.base import Name, StrictBody, View
from service.auth.subjects import Scope
from service.json_values import Timestamp


def _each_once(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("each scope may be named once")
    return scopes


Scopes = Annotated[
    list[Annotated[Scope, Field(strict=False)]],
    Field(min_length=1, max_length=len(Scope)),
    AfterValidator(_each_once),
]


class KeyCreation(StrictBody):
    name: Name = Field(description="For people; need not be unique.")
    scopes: Scopes = Field(description="At most those of the key that asks.")
    expires_at: Timestamp | None = Field(None, description="null: never.")
    not_before: Timestamp | None = Field(None, description="null: valid at once.")


class KeyView(View):
    id: UUID
    name: str
    public_id: str = Field(description="The middle part of the key itself.")
    scopes: list[Scope]
    created_at: datetime
    not_before: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Exact to a minute.")


class NewKeyView(KeyView):
    key: str = Field(description="The key. It is shown here and never again.")
