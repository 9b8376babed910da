"""Models, versions and aliases over HTTP."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from rnn.kernels.library import Precision
from service.api.schemas.base import StrictBody, View
from service.registry.references import PRODUCTION


class AnsweringModel(View):
    """Which version gave an answer."""

    name: str
    version: int


class BaseModelView(View):
    """The version that a training started from, or will start from."""

    name: str
    version: int
    sha256: str = Field(description="Of its manifest, as long as there is one.")


class ModelView(View):
    id: UUID
    name: str
    task: str
    created_at: datetime
    latest_version: int
    aliases: dict[str, int] = Field(description="Each alias with the version it points at.")


class ModelFile(View):
    name: str
    sha256: str
    size_bytes: int


class ServingView(View):
    """How a version answers, chosen when it was published."""

    precision: Precision
    answers_in: Precision = Field(
        description="float32 where the kernels of this machine have no faster precision; a GPU"
        " computes int8 as bfloat16."
    )
    losses: dict[Precision, float | None] = Field(
        description="Mean held-out loss in each precision that was measured."
    )
    positions: int = Field(description="Tokens, texts or timesteps that the losses are means of.")
    max_loss_increase: float | None = Field(
        description="Share of the float32 loss that it may have lost; null: the job fixed it."
    )


class VersionView(View):
    """A trained network with all that it came from."""

    id: UUID
    model: str
    version: int
    task: str
    created_at: datetime
    aliases: list[str]
    job_id: UUID | None = Field(description="Null: it came with the program, see its card.")
    attempt: int = Field(description="Which execution of the job trained it.")
    dataset_id: UUID | None
    dataset_sha256: str | None
    base_model: BaseModelView | None = Field(description="Null: from random weights.")
    config: dict[str, Any] = Field(description="Every choice, as it was trained.")
    seed: int
    code_version: str
    metrics: dict[str, Any]
    parameters: int
    serving: ServingView | None = Field(
        description="Null: it was published before there was a choice, and answers in float32."
    )
    artifact_sha256: str = Field(description="Of the manifest, which holds every file's digest.")


class VersionDetail(VersionView):
    files: list[ModelFile]
    card: str | None = Field(
        description="Markdown: what it was made of, how good it is, what it must not be used for."
    )


class AliasMove(StrictBody):
    version: int = Field(ge=1, lt=2**63)


class CardText(StrictBody):
    card: str | None = Field(max_length=20_000, description="Markdown; null: no card.")


class Rollback(StrictBody):
    alias: str = Field(PRODUCTION, max_length=100)


class DeploymentView(View):
    """One move of an alias. `version` is null where it was removed."""

    id: UUID
    alias: str
    version: int | None
    previous_version: int | None
    reason: str
    created_at: datetime
