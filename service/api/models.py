"""Models with their versions, aliases, history and files."""

import shutil
from collections.abc import Sequence
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.orm import Session
from starlette.responses import FileResponse

from rnn.kernels import library
from service.api.deps import Services, ServicesDep
from service.api.downloads import MEDIA_TYPE, download
from service.api.pagination import Page, PageDep
from service.api.routing import OnceDep, idempotent, produces, protected_router, requires
from service.api.schemas.models import (
    AliasMove,
    BaseModelView,
    CardText,
    DeploymentView,
    ModelFile,
    ModelView,
    Rollback,
    ServingView,
    VersionDetail,
    VersionView,
)
from service.auth.subjects import Scope, Subject
from service.db.tables import Model, ModelVersion
from service.inference.requests import Device, Network
from service.registry import files, store
from service.registry.references import ALIAS_PATTERN
from service.registry.rollout import roll_out

router: APIRouter = protected_router("/models", tags=["models"])

Reader = Annotated[Subject, requires(Scope.MODELS_READ)]
Writer = Annotated[Subject, requires(Scope.MODELS_WRITE)]
Number = Annotated[int, Path(ge=1, lt=2**63, description="A version.")]
Alias = Annotated[str, Path(pattern=ALIAS_PATTERN)]


@router.get("")
def list_models(subject: Reader, page: PageDep, services: ServicesDep) -> Page[ModelView]:
    with services.database.transaction() as db:
        models, has_more = store.list_models(db, subject.workspace_id, page)
        return Page(data=_views(db, models), has_more=has_more)


@router.get("/{name}")
def get_model(name: str, subject: Reader, services: ServicesDep) -> ModelView:
    with services.database.transaction() as db:
        return _views(db, [store.get_model(db, subject.workspace_id, name)])[0]


@router.delete("/{name}", status_code=204)
def delete_model(name: str, subject: Writer, services: ServicesDep) -> None:
    """Removes all versions with their files. Jobs and data sets stay."""
    with services.database.transaction() as db:
        folders = store.delete_model(db, subject.workspace_id, name)
    services.models.forget()
    for folder in folders:
        shutil.rmtree(services.artifacts.absolute(folder), ignore_errors=True)


@router.get("/{name}/versions")
def list_versions(
    name: str, subject: Reader, page: PageDep, services: ServicesDep
) -> Page[VersionView]:
    with services.database.transaction() as db:
        model = store.get_model(db, subject.workspace_id, name)
        versions, has_more = store.list_versions(db, model, page)
        aliases = store.aliases_of(db, [model.id])[model.id]
    device = services.engine.device
    data = [_lineage(model, version, aliases, device) for version in versions]
    return Page(data=data, has_more=has_more)


@router.get("/{name}/versions/{number}")
def get_version(name: str, number: Number, subject: Reader, services: ServicesDep) -> VersionDetail:
    """A version with all that it came from, and its files."""
    model, version, aliases = _version(services, subject, name, number)
    folder = services.artifacts.absolute(version.artifact_path)
    return VersionDetail(
        **_lineage(model, version, aliases, services.engine.device).model_dump(),
        files=[ModelFile.model_validate(file) for file in files.list_files(folder)],
        card=version.card,
    )


@router.put("/{name}/versions/{number}/card")
def write_card(
    name: str, number: Number, body: CardText, subject: Writer, services: ServicesDep
) -> VersionDetail:
    """What people should know of a version. It may be written anew; all else of a version stays."""
    with services.database.transaction() as db:
        store.write_card(db, subject.workspace_id, name, number, body.card)
    return get_version(name, number, subject, services)


@router.get("/{name}/versions/{number}/files/{file}", response_class=FileResponse)
@produces(MEDIA_TYPE)
def download_file(
    request: Request,
    name: str,
    number: Number,
    file: str,
    subject: Reader,
    services: ServicesDep,
) -> Response:
    """One of the files that the version lists."""
    _, version, _ = _version(services, subject, name, number)
    folder = services.artifacts.absolute(version.artifact_path)
    found = files.find_file(folder, file)
    return download(request, folder / found.name, filename=found.name, sha256=found.sha256)


@router.put("/{name}/aliases/{alias}")
def move_alias(
    name: str, alias: Alias, body: AliasMove, subject: Writer, services: ServicesDep
) -> ModelView:
    """Points an alias at a version that is in memory by then; requests that name it see it at
    once. 503 where it cannot be loaded: the alias stays where it is."""
    with services.database.transaction() as db:
        model = store.get_model(db, subject.workspace_id, name)
        target = store.get_version(db, model, body.version)
    _load(services, target)
    with services.database.transaction() as db:
        view = _views(db, [store.move_alias(db, subject.workspace_id, name, alias, body.version)])[
            0
        ]
    services.models.forget()
    return view


@router.delete("/{name}/aliases/{alias}", status_code=204)
def remove_alias(name: str, alias: Alias, subject: Writer, services: ServicesDep) -> None:
    with services.database.transaction() as db:
        store.remove_alias(db, subject.workspace_id, name, alias)
    services.models.forget()


@router.post("/{name}/rollback")
@idempotent
def roll_back(
    name: str, subject: Writer, services: ServicesDep, once: OnceDep, body: Rollback | None = None
) -> ModelView:
    """Takes back the last move of an alias, `production` if none is named, as `PUT` moves one."""
    alias = (body or Rollback()).alias
    with services.database.transaction() as db:
        target = store.earlier_version(db, subject.workspace_id, name, alias)
    _load(services, target)
    with services.database.transaction() as db:
        view = _views(db, [store.roll_back(db, subject.workspace_id, name, alias)])[0]
        once.keep(db, view)
    services.models.forget()
    return view


@router.get("/{name}/deployments")
def list_deployments(
    name: str, subject: Reader, page: PageDep, services: ServicesDep
) -> Page[DeploymentView]:
    """The log of alias moves, newest first. It is only ever appended to."""
    with services.database.transaction() as db:
        model = store.get_model(db, subject.workspace_id, name)
        moves, has_more = store.list_deployments(db, model, page)
        numbers = store.version_numbers(db, model)
    data = [
        DeploymentView(
            id=move.id,
            alias=move.alias,
            version=numbers[move.version_id] if move.version_id else None,
            previous_version=(
                numbers[move.previous_version_id] if move.previous_version_id else None
            ),
            reason=move.reason,
            created_at=move.created_at,
        )
        for move in moves
    ]
    return Page(data=data, has_more=has_more)


def _load(services: Services, version: ModelVersion) -> None:
    """Waits until the engines of all API processes have it, that of this one in any case.

    Raises OverloadedError or UnavailableError where that one cannot load it.
    """
    folder = services.artifacts.absolute(version.artifact_path)
    from_thread.run(services.engine.load, Network(folder, version.artifact_sha256))

    def announce(number: str) -> None:
        with services.database.transaction() as db:
            store.announce(db, version.artifact_path, version.artifact_sha256, number)

    roll_out(services.settings.database_url.get_secret_value(), announce)


def _version(
    services: Services, subject: Subject, name: str, number: int
) -> tuple[Model, ModelVersion, dict[str, int]]:
    with services.database.transaction() as db:
        model = store.get_model(db, subject.workspace_id, name)
        version = store.get_version(db, model, number)
        return model, version, store.aliases_of(db, [model.id])[model.id]


def _views(db: Session, models: Sequence[Model]) -> list[ModelView]:
    ids = [model.id for model in models]
    aliases, latest = store.aliases_of(db, ids), store.latest_versions(db, ids)
    return [
        ModelView(
            id=model.id,
            name=model.name,
            task=model.task,
            created_at=model.created_at,
            latest_version=latest[model.id],
            aliases=aliases[model.id],
        )
        for model in models
    ]


def _serving(recorded: dict[str, Any] | None, device: Device | None) -> ServingView | None:
    if recorded is None:
        return None
    on_gpu = device == "cuda"
    answers_in = library.precision_on_gpu if on_gpu else library.precision_here
    return ServingView(**recorded, answers_in=answers_in(recorded["precision"]))


def _lineage(
    model: Model, version: ModelVersion, aliases: dict[str, int], device: Device | None
) -> VersionView:
    return VersionView(
        id=version.id,
        model=model.name,
        version=version.version,
        task=model.task,
        created_at=version.created_at,
        aliases=[alias for alias, number in aliases.items() if number == version.version],
        job_id=version.job_id,
        attempt=version.attempt,
        dataset_id=version.dataset_id,
        dataset_sha256=version.dataset_sha256,
        base_model=BaseModelView(**version.base) if version.base else None,
        config=version.config,
        seed=version.seed,
        code_version=version.code_version,
        metrics=version.metrics,
        parameters=version.parameters,
        serving=_serving(version.serving, device),
        artifact_sha256=version.artifact_sha256,
    )
