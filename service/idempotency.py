"""Makes the repetition of a creating request harmless: the first answer is stored and replayed.

A reservation is a row without an answer. It is committed before the request is carried out, so of
many equal requests at the same time one wins and the others are told that it is still running. A
process that dies with a reservation leaves it behind; after a lease the next request takes it over.

A route that stores its answer in the transaction that does the work (`Reservation.keep`) does it
once, whenever its process dies: either both are there or none, and whoever was taken over can
commit nothing any more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import IdempotencyKey
from service.errors import (
    IdempotencyInProgressError,
    IdempotencyKeyInvalidError,
    IdempotencyMismatchError,
)
from service.settings import Settings

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
LEASE = timedelta(minutes=1)  # of requests whose answer is kept with their work
LONG_LEASE = timedelta(minutes=10)  # of the others: longer than the check of a large file

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_STORED_HEADERS = ("content-type", "location")


@dataclass(frozen=True)
class StoredAnswer:
    """An answer as it was sent, without the headers that every answer gets."""

    status: int
    body: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, body: bytes, headers: Mapping[str, str]) -> "StoredAnswer":
        kept = {name: headers[name] for name in _STORED_HEADERS if name in headers}
        return cls(status, body.decode("utf-8"), kept)


def read_key(values: Sequence[str]) -> str | None:
    """The key of a request's headers; None where there is none."""
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise IdempotencyKeyInvalidError(
            f"Send one {HEADER} of 1 to 255 visible ASCII characters, such as a UUID."
        )
    return values[0]


def reserve(
    db: Session,
    workspace_id: UUID,
    key: str,
    request_sha256: str,
    *,
    lifetime: timedelta,
    lease: timedelta,
) -> StoredAnswer | datetime:
    """Takes the key for this request, or gives the answer of the one that had it first.

    Returns the moment of the reservation, which tells it from a later one under the same key.

    Raises IdempotencyInProgressError while the first is running and IdempotencyMismatchError where
    the key belongs to another request. The reservation counts once the transaction is committed.
    """
    row = IdempotencyKey
    its_row = (row.workspace_id == workspace_id, row.key == key)
    abandoned = (row.status.is_(None)) & (row.created_at < func.now() - lease)
    db.execute(delete(row).where(*its_row, or_(row.created_at < func.now() - lifetime, abandoned)))
    reservation = insert(row).values(
        workspace_id=workspace_id, key=key, request_sha256=request_sha256
    )
    taken_at: datetime | None = db.scalar(
        reservation.on_conflict_do_nothing().returning(row.created_at)
    )
    if taken_at is not None:
        return taken_at
    first = db.scalar(select(row).where(*its_row))
    if first is None or (first.status is None and first.request_sha256 == request_sha256):
        raise IdempotencyInProgressError(
            "The first request with this key has not ended.", retry_after_seconds=1
        )
    if first.request_sha256 != request_sha256:
        raise IdempotencyMismatchError("This key came with another body or path before.")
    assert first.status is not None
    assert first.body is not None
    return StoredAnswer(first.status, first.body, dict(first.headers or {}))


def complete(
    db: Session, workspace_id: UUID, key: str, taken_at: datetime, answer: StoredAnswer
) -> bool:
    """Stores the answer under a reserved key.

    False where there is one already, or where the key was taken over.
    """
    stored = db.scalar(
        update(IdempotencyKey)
        .where(*_reserved(workspace_id, key, taken_at))
        .values(status=answer.status, body=answer.body, headers=dict(answer.headers))
        .returning(IdempotencyKey.key)
    )
    return stored is not None


def release(db: Session, workspace_id: UUID, key: str, taken_at: datetime) -> None:
    """Frees a key whose request failed, so that it can be tried again."""
    db.execute(delete(IdempotencyKey).where(*_reserved(workspace_id, key, taken_at)))


def _reserved(workspace_id: UUID, key: str, taken_at: datetime) -> tuple[ColumnElement[bool], ...]:
    """The row of a reservation that was not taken over and has no answer."""
    return (
        IdempotencyKey.workspace_id == workspace_id,
        IdempotencyKey.key == key,
        IdempotencyKey.created_at == taken_at,
        IdempotencyKey.status.is_(None),
    )


def delete_expired(db: Session, lifetime: timedelta) -> None:
    """Forgets the keys of all workspaces whose time is over."""
    db.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - lifetime))


class Reservation:
    """One request's claim to a key. Each step but `keep` is a transaction of its own."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        workspace_id: UUID,
        key: str,
        lease: timedelta,
    ) -> None:
        self._database = database
        self._lifetime = timedelta(hours=settings.idempotency_hours)
        self._lease = lease
        self._workspace_id, self._key = workspace_id, key
        self._taken_at: datetime | None = None

    def reserve(self, request_sha256: str) -> StoredAnswer | None:
        """The answer of the request that had the key first; None: this one is to be carried out."""
        with self._database.transaction() as db:
            found = reserve(
                db,
                self._workspace_id,
                self._key,
                request_sha256,
                lifetime=self._lifetime,
                lease=self._lease,
            )
        if isinstance(found, StoredAnswer):
            return found
        self._taken_at = found
        return None

    def keep(self, db: Session, answer: StoredAnswer) -> None:
        """Stores the answer in the transaction that does the work.

        Raises IdempotencyInProgressError where another request has taken the key over: the work
        must not be committed then.
        """
        assert self._taken_at is not None
        if not complete(db, self._workspace_id, self._key, self._taken_at, answer):
            raise IdempotencyInProgressError(
                "It took so long that another request took its key over.", retry_after_seconds=1
            )

    def complete(self, answer: StoredAnswer) -> None:
        """Stores the answer, if it was not kept."""
        assert self._taken_at is not None
        with self._database.transaction() as db:
            complete(db, self._workspace_id, self._key, self._taken_at, answer)

    def release(self) -> None:
        assert self._taken_at is not None
        with self._database.transaction() as db:
            release(db, self._workspace_id, self._key, self._taken_at)
