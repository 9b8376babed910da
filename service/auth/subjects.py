"""Who is asking, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Scope(StrEnum):
    """One kind of access that a key can be given."""

    DATASETS_READ = "datasets:read"
    DATASETS_WRITE = "datasets:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    PREDICT = "predict"
    KEYS_ADMIN = "keys:admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Subject:
    """An authenticated caller: a key of a workspace. Having one is the proof of the check."""

    key_id: UUID
    workspace_id: UUID
    scopes: frozenset[Scope]
