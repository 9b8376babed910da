"""`/datasets`: files are taken in, validated and described; afterwards they never change."""

import hashlib
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from service.api.deps import Services, ServicesDep
from service.api.downloads import MEDIA_TYPE, download
from service.api.multipart import UploadForm, UploadParser
from service.api.pagination import Page, PageDep
from service.api.routing import (
    answer_once,
    idempotent,
    produces,
    protected_router,
    requires,
    uploads,
)
from service.api.schemas.datasets import DatasetDetail, DatasetPreview, DatasetView
from service.auth.subjects import Scope, Subject
from service.datasets.ingest import Intake, Received
from service.datasets.limits import Limits
from service.datasets.profile import profile_file
from service.datasets.reading import preview
from service.datasets.store import (
    create_dataset,
    delete_dataset,
    get_dataset,
    has_bytes,
    list_datasets,
    lock_bytes,
)
from service.db.tables import Dataset

router = protected_router("/datasets", tags=["datasets"])

PIECE_BYTES = 256 * 1024  # handed to a thread at once
_SUFFIXES = {"csv": ".csv", "jsonl": ".jsonl", "text": ".txt"}

_UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 200,
                        "description": "Without it: the file's name.",
                    },
                },
            }
        }
    },
}


@router.post(
    "",
    status_code=201,
    responses={201: {"model": DatasetDetail}},
    response_class=Response,
    openapi_extra={"requestBody": _UPLOAD_BODY},
)
@uploads
@idempotent
async def upload_dataset(
    request: Request,
    subject: Annotated[Subject, requires(Scope.DATASETS_WRITE)],
    services: ServicesDep,
) -> Response:
    """Stores a CSV, JSON Lines or plain text file (gzip is unpacked) after checking all of it.

    An error names row, line, column and value; row 1 is the first row of data. Nothing is stored
    then.
    """
    with services.artifacts.temporary_file() as (path, file):
        intake = Intake(file, services.settings.max_upload_bytes)
        form = await _receive(request, intake)
        received = await run_in_threadpool(intake.finish)
        upload = _Upload(request, services, subject, path, form, received)
        return await answer_once(request, _request_digest(request, form, received), upload.store)


@router.get("")
def list_all(
    page: PageDep,
    subject: Annotated[Subject, requires(Scope.DATASETS_READ)],
    services: ServicesDep,
) -> Page[DatasetView]:
    """Data sets, newest first."""
    with services.database.transaction() as db:
        datasets, has_more = list_datasets(db, subject.workspace_id, page)
        views = [DatasetView(**_fields(dataset)) for dataset in datasets]
    return Page(data=views, has_more=has_more)


@router.get("/{dataset_id}")
def read(
    dataset_id: UUID,
    subject: Annotated[Subject, requires(Scope.DATASETS_READ)],
    services: ServicesDep,
) -> DatasetDetail:
    """A data set and what was found in it."""
    with services.database.transaction() as db:
        return _detail(get_dataset(db, subject.workspace_id, dataset_id))


@router.get("/{dataset_id}/content", response_class=FileResponse)
@produces(MEDIA_TYPE)
def read_content(
    request: Request,
    dataset_id: UUID,
    subject: Annotated[Subject, requires(Scope.DATASETS_READ)],
    services: ServicesDep,
) -> Response:
    """The whole file, as it is stored: unpacked. Its `ETag` is its digest."""
    with services.database.transaction() as db:
        dataset = get_dataset(db, subject.workspace_id, dataset_id)
    path = services.artifacts.dataset_path(dataset.sha256)
    filename = (dataset.filename or dataset.name).removesuffix(".gz")
    if dataset.filename is None:
        filename += _SUFFIXES[dataset.format]
    return download(request, path, filename=filename, sha256=dataset.sha256)


@router.get("/{dataset_id}/preview")
def read_preview(
    dataset_id: UUID,
    subject: Annotated[Subject, requires(Scope.DATASETS_READ)],
    services: ServicesDep,
    rows: Annotated[
        int | None, Query(ge=1, le=1_000, description="At most; null: as the server is set.")
    ] = None,
) -> DatasetPreview:
    """The first rows."""
    with services.database.transaction() as db:
        dataset = get_dataset(db, subject.workspace_id, dataset_id)
    path = services.artifacts.dataset_path(dataset.sha256)
    first = preview(path, dataset.profile, rows or services.settings.preview_rows)
    columns = [column["name"] for column in dataset.profile["columns"]] or ["text"]
    return DatasetPreview(columns=columns, rows=first)


@router.delete("/{dataset_id}", status_code=204)
def delete(
    dataset_id: UUID,
    subject: Annotated[Subject, requires(Scope.DATASETS_WRITE)],
    services: ServicesDep,
) -> None:
    """Hides a data set. Models trained on it stay; 409 while an alias or a job uses it."""
    with services.database.transaction() as db:
        delete_dataset(db, subject.workspace_id, dataset_id)


async def _receive(request: Request, intake: Intake) -> UploadForm:
    """Takes the body in, piece by piece, off the event loop: unpacking and hashing take time."""
    parser = UploadParser(request.headers["content-type"], intake.write)
    pieces = bytearray()
    async for chunk in request.stream():
        pieces += chunk
        if len(pieces) >= PIECE_BYTES:
            await run_in_threadpool(parser.write, bytes(pieces))
            pieces.clear()
    await run_in_threadpool(parser.write, bytes(pieces))
    return parser.finish()


def _request_digest(request: Request, form: UploadForm, received: Received) -> str:
    """What makes two uploads the same request."""
    parts = [request.method, request.scope["path"], received.sha256]
    parts += [repr(form.name), repr(form.filename)]
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()


class _Upload:
    """A received file on its way to being a data set."""

    def __init__(
        self,
        request: Request,
        services: Services,
        subject: Subject,
        path: Path,
        form: UploadForm,
        received: Received,
    ) -> None:
        self._request = request
        self._services = services
        self._subject = subject
        self._path = path
        self._form = form
        self._received = received

    async def store(self) -> Response:
        """Validates it and answers 201."""
        limits = Limits.of(self._services.settings)
        profile = await to_thread.run_sync(
            profile_file,
            self._path,
            self._form.filename,
            limits,
            limiter=self._services.file_work,
        )
        dataset = await run_in_threadpool(self._record, profile)
        return Response(
            _detail(dataset).model_dump_json(),
            status_code=201,
            headers={"Location": f"{self._request.scope['path']}/{dataset.id}"},
            media_type="application/json",
        )

    def _record(self, profile: dict[str, Any]) -> Dataset:
        """The row and the file together; should either fail, there is neither."""
        sha256 = self._received.sha256
        try:
            with self._services.database.transaction() as db:
                lock_bytes(db, sha256)
                dataset = create_dataset(
                    db,
                    self._subject.workspace_id,
                    name=self._form.name or self._form.filename or "unnamed",
                    filename=self._form.filename,
                    size_bytes=self._received.size_bytes,
                    sha256=sha256,
                    profile=profile,
                )
                self._services.artifacts.keep_dataset(self._path, sha256)
                return dataset
        except Exception:
            with self._services.database.transaction() as db:
                lock_bytes(db, sha256)
                if not has_bytes(db, sha256):
                    self._services.artifacts.remove_dataset(sha256)
            raise


def _fields(dataset: Dataset) -> dict[str, Any]:
    found = dataset.profile
    return {
        "id": dataset.id,
        "name": dataset.name,
        "filename": dataset.filename,
        "format": dataset.format,
        "size_bytes": dataset.size_bytes,
        "sha256": dataset.sha256,
        "rows": found["rows"],
        "duplicates": found["duplicates"],
        "tasks": found["tasks"],
        "created_at": dataset.created_at,
    }


def _detail(dataset: Dataset) -> DatasetDetail:
    return DatasetDetail.model_validate({**_fields(dataset), "profile": dataset.profile})
