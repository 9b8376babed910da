"""A session as it is kept: what it is pinned to, where it stands, and its last answer."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

RECORD_BYTES = 4_096  # of all but the state, the last answer and the metadata


@dataclass(frozen=True)
class Pinned:
    """What does not change between two steps.

    Attributes:
        sha256: digest of the version's manifest.
        begun: what the first state was made of.
        migratable: whether inputs are kept, to make the state again for another version.
    """

    model: str
    version: int
    task: str
    sha256: str
    ttl_seconds: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, Any] = field(default_factory=dict)
    migratable: bool = False

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Pinned":
        return cls(**json.loads(data))

    def copied(self, ttl_seconds: int, metadata: Mapping[str, str]) -> "Pinned":
        """For another session, of whose inputs nothing is kept."""
        return replace(self, ttl_seconds=ttl_seconds, metadata=metadata, migratable=False)

    def moved(self, version: int, sha256: str) -> "Pinned":
        """To another version of the model."""
        return replace(self, version=version, sha256=sha256)


@dataclass(frozen=True)
class Session:
    """A session between two steps.

    Attributes:
        seq: number of the last step; 0: there was none.
        revision: counts the changes, so that one that was made meanwhile is noticed.
        snapshots: how many were ever made.
    """

    workspace_id: UUID
    id: str
    made_at_ms: int
    pinned: Pinned
    seq: int
    revision: int
    expires_at_ms: int
    snapshots: int

    @property
    def created_at(self) -> datetime:
        return time_of(self.made_at_ms)

    @property
    def expires_at(self) -> datetime:
        return time_of(self.expires_at_ms)


@dataclass(frozen=True)
class Held:
    """A session with all that a step needs.

    Attributes:
        state: what is kept of the network.
        digest: of the last step's body.
        answer: to it.
    """

    session: Session
    state: bytes
    digest: bytes
    answer: bytes

    @property
    def size_bytes(self) -> int:
        """About as much as it takes in memory."""
        pinned = self.session.pinned
        metadata = sum(len(key) + len(value) for key, value in pinned.metadata.items())
        return RECORD_BYTES + metadata + len(self.state) + len(self.answer)


def time_of(milliseconds: int) -> datetime:
    """Of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
