"""Records of workspaces and keys."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, any_, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.auth.keys import PlainKey, is_secret_of, new_key
from service.auth.subjects import Scope, Subject
from service.db.tables import ApiKey, Workspace
from service.errors import (
    ConflictError,
    Fault,
    NotFoundError,
    UnauthenticatedError,
    ValidationError,
)

WRONG_KEY = "The API key is not valid."
USE_RESOLUTION = timedelta(minutes=1)  # how exact `last_used_at` is, to spare writes


@dataclass(frozen=True)
class Authenticated:
    """A subject, and how long its key stays valid by the database's clock."""

    subject: Subject
    seconds_left: float | None


def create_workspace(db: Session, name: str) -> Workspace | None:
    """A new workspace, or None where there is one of this name."""
    return db.scalar(
        insert(Workspace).values(name=name).on_conflict_do_nothing().returning(Workspace)
    )


def ensure_workspace(db: Session, name: str) -> Workspace:
    """The workspace of this name, made if there is none."""
    return create_workspace(db, name) or get_workspace(db, name)


def workspace_ids(db: Session) -> Sequence[UUID]:
    return db.scalars(select(Workspace.id)).all()


def get_workspace(db: Session, name: str) -> Workspace:
    """The workspace of this name. Raises NotFoundError."""
    workspace = db.scalars(select(Workspace).where(Workspace.name == name)).one_or_none()
    if workspace is None:
        raise NotFoundError(f"There is no workspace {name!r}.")
    return workspace


def create_key(
    db: Session,
    workspace_id: UUID,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
    not_before: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its plain text, which nobody can find out again."""
    now: datetime = db.scalars(select(func.now())).one()
    if expires_at is not None and expires_at <= max(now, not_before or now):
        fault = Fault(("body", "expires_at"), "must be in the future and after not_before")
        raise ValidationError("The key would never be valid.", faults=[fault])
    plain = new_key()
    key = ApiKey(
        workspace_id=workspace_id,
        name=name,
        scopes=sorted(scopes),
        public_id=plain.public_id,
        secret_sha256=plain.secret_sha256,
        not_before=not_before,
        expires_at=expires_at,
    )
    db.add(key)
    db.flush()
    return key, plain.text


def get_key(db: Session, workspace_id: UUID, key_id: UUID) -> ApiKey:
    key = db.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.workspace_id == workspace_id))
    if key is None:
        raise NotFoundError("There is no such key in this workspace.")
    return key


def key_names(db: Session, workspace_id: UUID) -> dict[UUID, str]:
    """Of all keys of a workspace, also revoked ones, by their ids."""
    keys = select(ApiKey.id, ApiKey.name).where(ApiKey.workspace_id == workspace_id)
    return dict(db.execute(keys).all())


def revoke_key(db: Session, workspace_id: UUID, key_id: UUID) -> ApiKey:
    """Ends a key now. Twice is no error; the last key that can make others cannot be revoked."""
    # One at a time for each workspace: two admins must not revoke each other's last key.
    db.execute(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update())
    key = get_key(db, workspace_id, key_id)
    if key.revoked_at is not None:
        return key
    if Scope.KEYS_ADMIN in key.scopes and not _has_other_admin(db, key):
        raise ConflictError("This is the last key that can manage keys; make another one first.")
    key.revoked_at = db.scalars(select(func.now())).one()
    db.flush()
    return key


def authenticate(db: Session, plain: PlainKey) -> Authenticated:
    """The subject of a key; raises UnauthenticatedError, the same for every reason."""
    row = db.execute(
        select(
            ApiKey,
            is_valid(),
            func.extract("epoch", ApiKey.expires_at - func.now()),
        ).where(ApiKey.public_id == plain.public_id)
    ).one_or_none()
    key, valid, seconds_left = row if row is not None else (None, False, None)
    if not is_secret_of(plain, key.secret_sha256 if key is not None else None) or not valid:
        raise UnauthenticatedError(WRONG_KEY)
    assert key is not None
    db.execute(
        update(ApiKey)
        .where(ApiKey.id == key.id)
        .where(
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - USE_RESOLUTION)
        )
        .values(last_used_at=func.now())
    )
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    return Authenticated(
        Subject(key_id=key.id, workspace_id=key.workspace_id, scopes=scopes),
        seconds_left=None if seconds_left is None else float(seconds_left),
    )


def is_valid() -> ColumnElement[bool]:
    """Of a key's row: it counts now."""
    return and_(
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.not_before.is_(None), ApiKey.not_before <= func.now()),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
    )


def _has_other_admin(db: Session, key: ApiKey) -> bool:
    """Whether another key that is valid now can manage keys."""
    other = select(ApiKey.id).where(
        ApiKey.workspace_id == key.workspace_id,
        ApiKey.id != key.id,
        literal(Scope.KEYS_ADMIN.value) == any_(ApiKey.scopes),
        is_valid(),
    )
    return db.scalar(other.limit(1)) is not None
