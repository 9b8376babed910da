"""`/api/v1/datasets` over HTTP: what is kept, what is refused; a refusal leaves nothing behind."""

import gzip
import hashlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.testclient import TestClient

from service.api import datasets
from service.app import FILES_AT_ONCE
from service.artifacts.store import ArtifactStore
from service.auth.subjects import Scope
from service.datasets.ingest import Intake
from service.datasets.profile import profile_file
from service.db.engine import Database
from service.db.tables import Dataset, Job, Workspace
from service.errors import InsufficientStorageError
from service.settings import Settings
from tests.api.conftest import MakeKey, bearer

URL = "/api/v1/datasets"
TABLE = b"date,value\n" + b"".join(b"2024-01-%02d,%d\n" % (day, day) for day in range(1, 29))
BOUNDARY = "border"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def upload(
    client: TestClient,
    headers: dict[str, str],
    content: bytes = TABLE,
    filename: str = "sales.csv",
    **data: str,
) -> Any:
    return client.post(URL, headers=headers, files={"file": (filename, content)}, data=data)


def raw(client: TestClient, headers: dict[str, str], body: bytes, content_type: str = FORM) -> Any:
    return client.post(URL, headers={**headers, "Content-Type": content_type}, content=body)


def stream(client: TestClient, headers: dict[str, str], body: bytes) -> httpx.Response:
    """Sends the body in pieces, as a server receives it; the test client would join them."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as direct:
            return await direct.post(
                URL, headers={**headers, "Content-Type": FORM}, content=pieces()
            )

    assert client.portal is not None
    return client.portal.call(send)


def part(disposition: str | bytes, content: bytes = TABLE) -> bytes:
    if isinstance(disposition, str):
        disposition = disposition.encode()
    return (
        b"--border\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + content
    ) + b"\r\n"


END = b"--border--\r\n"


def files_of(settings: Settings) -> list[Path]:
    return [path for path in settings.artifact_dir.rglob("*") if path.is_file()]


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:reprise:problem:")


@pytest.fixture
def nothing_is_left(settings: Settings, database: Database) -> Iterator[None]:
    yield
    assert files_of(settings) == []
    with database.transaction() as db:
        assert db.query(Dataset).count() == 0


def test_an_upload_is_stored_described_and_found(
    client: TestClient, headers: dict[str, str], settings: Settings
) -> None:
    answer = upload(client, headers, name="Sales of January")
    assert answer.status_code == 201, answer.text
    dataset = answer.json()
    assert answer.headers["location"] == f"{URL}/{dataset['id']}"
    assert client.get(answer.headers["location"], headers=headers).json() == dataset
    assert dataset["name"] == "Sales of January"
    assert dataset["filename"] == "sales.csv"
    assert dataset["sha256"] == hashlib.sha256(TABLE).hexdigest()
    assert dataset["size_bytes"] == len(TABLE)
    assert dataset["tasks"] == ["time-series-forecasting"]
    assert dataset["profile"]["series"]["frequency"] == "1d"
    assert files_of(settings) == [settings.artifact_dir / "datasets" / dataset["sha256"]]
    preview = client.get(f"{URL}/{dataset['id']}/preview", headers=headers).json()
    assert preview["columns"] == ["date", "value"]
    assert preview["rows"][0] == {"date": "2024-01-01", "value": "1"}
    assert len(preview["rows"]) == settings.preview_rows


def test_the_list_is_newest_first_and_in_pages(client: TestClient, headers: dict[str, str]) -> None:
    ids = [upload(client, headers, filename=f"{i}.csv").json()["id"] for i in range(3)]
    first = client.get(URL, headers=headers, params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == ids[:0:-1]
    assert first["has_more"]
    assert "profile" not in first["data"][0]
    rest = client.get(URL, headers=headers, params={"after": ids[1]}).json()
    assert [one["id"] for one in rest["data"]] == ids[:1]
    assert not rest["has_more"]


def test_gzip_is_unpacked_and_equal_bytes_are_stored_once(
    client: TestClient, headers: dict[str, str], settings: Settings
) -> None:
    plain = upload(client, headers).json()
    packed = upload(client, headers, gzip.compress(TABLE), "sales.csv.gz").json()
    assert packed["sha256"] == plain["sha256"]
    assert packed["id"] != plain["id"]
    assert len(files_of(settings)) == 1


def test_a_deleted_dataset_is_hidden_and_its_bytes_stay(
    client: TestClient, headers: dict[str, str], settings: Settings
) -> None:
    url = f"{URL}/{upload(client, headers).json()['id']}"
    assert client.delete(url, headers=headers).status_code == 204
    for answer in (
        client.get(url, headers=headers),
        client.get(f"{url}/preview", headers=headers),
        client.delete(url, headers=headers),
    ):
        assert problem(answer) == (404, "not-found")
    assert client.get(URL, headers=headers).json()["data"] == []
    assert len(files_of(settings)) == 1


@pytest.mark.parametrize(
    ("state", "status"), [("queued", 409), ("running", 409), ("succeeded", 204), ("failed", 204)]
)
def test_a_dataset_that_a_job_uses_cannot_be_deleted(
    client: TestClient,
    headers: dict[str, str],
    database: Database,
    workspace: Workspace,
    state: str,
    status: int,
) -> None:
    dataset_id = upload(client, headers).json()["id"]
    with database.transaction() as db:
        job = Job(
            workspace_id=workspace.id,
            dataset_id=dataset_id,
            task="time-series-forecasting",
            model_name="m",
            config={},
            device="cpu",
            queue="cpu",
            state=state,
        )
        db.add(job)
    assert client.delete(f"{URL}/{dataset_id}", headers=headers).status_code == status


def test_another_workspace_sees_nothing(
    client: TestClient, headers: dict[str, str], make_key: MakeKey
) -> None:
    url = f"{URL}/{upload(client, headers).json()['id']}"
    other = bearer(make_key(workspace_name="other"))
    assert client.get(URL, headers=other).json()["data"] == []
    for method, path in (("GET", url), ("GET", f"{url}/preview"), ("DELETE", url)):
        assert problem(client.request(method, path, headers=other)) == (404, "not-found")


@pytest.mark.parametrize("id", [str(2**63), "-1", "%00", "x"])
def test_what_is_no_id_is_refused(client: TestClient, headers: dict[str, str], id: str) -> None:
    assert client.get(f"{URL}/{id}", headers=headers).status_code in (404, 422)
    assert client.delete(f"{URL}/{uuid4()}", headers=headers).status_code == 404


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize(
    ("filename", "content", "status", "type"),
    [
        ("a.csv", b"", 422, "dataset-empty"),
        ("a.csv", b"date,value\n", 422, "dataset-empty"),
        ("a.csv", TABLE + b"2024-01-30\n", 422, "dataset-unparseable"),
        ("a.csv", TABLE + b"2024-01-30,NaN\n", 422, "dataset-nonfinite"),
        ("a.csv", b",".join([b"1"] * 100_001) + b"\n", 422, "dataset-too-wide"),
        ("a.csv", b"text,label\na\0b,c\n", 422, "dataset-unsafe-text"),
        ("a.csv", b"PK\x03\x04" + bytes(40), 422, "archive-unsafe"),
        ("a.csv", b"PAR1" + bytes(40), 415, "unsupported-media-type"),
        ("a.csv.gz", gzip.compress(TABLE)[:-9], 422, "dataset-unparseable"),
        ("a.jsonl", b'{"a": ' * 100_000, 422, "dataset-unparseable"),
    ],
)
def test_a_bad_file_is_refused(
    client: TestClient,
    headers: dict[str, str],
    filename: str,
    content: bytes,
    status: int,
    type: str,
) -> None:
    assert problem(upload(client, headers, content, filename)) == (status, type)


def test_the_answer_names_row_and_column(client: TestClient, headers: dict[str, str]) -> None:
    answer = upload(client, headers, TABLE.replace(b"-07,7", b"-07,seven")).json()
    assert 'row 7 (line 8), column "value": "seven"' in answer["detail"]
    assert answer["errors"][0]["location"] == "body.file.7.value"


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(part('name="file"') + END, "multipart/form-data", id="no boundary"),
        pytest.param(b"hello", FORM, id="no multipart"),
        pytest.param(part('name="file"'), FORM, id="no end"),
        pytest.param(part('name="file"', b"")[:-2], FORM, id="cut off"),
        pytest.param(part('name="file"; filename="a"', b"") * 1001 + END, FORM, id="1001 files"),
        pytest.param(part('filename="a.csv"') + END, FORM, id="part without a name"),
        pytest.param(part(f'name="file"; filename="{"a" * 4096}"') + END, FORM, id="long filename"),
        pytest.param(part(f'name="file"; x="{"a" * 9000}"') + END, FORM, id="long header"),
        pytest.param(part('name="file"; filename="a\0b"') + END, FORM, id="NUL"),
        pytest.param(part('name="file"; filename="a\r\nb"') + END, FORM, id="CRLF"),
        pytest.param(part('name="file"; filename="a%0D%0Ab"') + END, FORM, id="escaped CRLF"),
        pytest.param(part(b'name="file"; filename="\xff"') + END, FORM, id="not UTF-8"),
        pytest.param(
            part('name="file"\r\nContent-Transfer-Encoding: base64') + END, FORM, id="encoded"
        ),
        pytest.param(
            part('name="file"' + "".join(f"\r\nX-{i}: 1" for i in range(50))) + END,
            FORM,
            id="50 headers",
        ),
    ],
)
def test_a_malformed_body_is_refused(
    client: TestClient, headers: dict[str, str], body: bytes, content_type: str
) -> None:
    assert problem(raw(client, headers, body, content_type)) == (400, "malformed-multipart")


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize(
    ("body", "location"),
    [
        (part('name="name"', b"x") + END, "body.file"),
        (part('name="file"') + part('name="url"', b"http://169.254.169.254/") + END, "body.url"),
        (part('name="name"', b" ") + part('name="file"') + END, "body.name"),
        (part('name="name"', b"a\0b") + part('name="file"') + END, "body.name"),
        (part('name="name"', b"a" * 201) + part('name="file"') + END, "body.name"),
        (part('name="name"', b"a" * 10**6) + part('name="file"') + END, "body.name"),
    ],
)
def test_a_form_with_wrong_parts_is_refused(
    client: TestClient, headers: dict[str, str], body: bytes, location: str
) -> None:
    answer = raw(client, headers, body)
    assert problem(answer) == (422, "validation-error")
    assert answer.json()["errors"][0]["location"] == location


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "application/json", "text/csv"]
)
def test_only_multipart_is_taken(
    client: TestClient, headers: dict[str, str], content_type: str
) -> None:
    answer = raw(client, headers, b"a=1&" * 100_000, content_type)
    assert problem(answer) == (415, "unsupported-media-type")


@pytest.mark.parametrize("filename", ["../../etc/cron.d/x", "/etc/passwd", "..\\x.csv", "."])
def test_a_filename_is_never_a_path(
    client: TestClient, headers: dict[str, str], settings: Settings, filename: str
) -> None:
    answer = upload(client, headers, filename=filename)
    assert answer.status_code == 201, answer.text
    expected = settings.artifact_dir / "datasets" / answer.json()["sha256"]
    everything = [path for path in settings.artifact_dir.parent.rglob("*") if path.is_file()]
    assert everything == [expected]


def test_a_name_is_kept_as_text(client: TestClient, headers: dict[str, str]) -> None:
    name = "<img src=x onerror=alert(1)>"
    answer = upload(client, headers, name=name)
    assert answer.json()["name"] == name


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"max_upload_bytes": 100_000})

    @pytest.mark.usefixtures("nothing_is_left")
    @pytest.mark.parametrize("streamed", [False, True])
    def test_a_body_beyond_the_limit(
        self, client: TestClient, headers: dict[str, str], streamed: bool
    ) -> None:
        body = part('name="file"', b"x" * 100_000) + END
        answer = stream(client, headers, body) if streamed else raw(client, headers, body)
        assert problem(answer) == (413, "body-too-large")

    @pytest.mark.usefixtures("nothing_is_left")
    def test_a_gzip_bomb(self, client: TestClient, headers: dict[str, str]) -> None:
        bomb = gzip.compress(bytes(50 * 2**20))
        assert problem(upload(client, headers, bomb)) == (413, "decompressed-too-large")


@pytest.mark.usefixtures("nothing_is_left")
def test_a_full_disk(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing, a small tmpfs, needs root: here the file system answers as it would."""

    def full(self: Intake, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Intake, "write", full)
    assert problem(upload(client, headers)) == (507, "insufficient-storage")


@pytest.mark.usefixtures("nothing_is_left")
def test_a_file_that_cannot_be_kept_leaves_no_row(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: ArtifactStore, temporary: Path, sha256: str) -> Path:
        raise InsufficientStorageError("full")

    monkeypatch.setattr(ArtifactStore, "keep_dataset", full)
    assert problem(upload(client, headers)) == (507, "insufficient-storage")


@pytest.mark.usefixtures("nothing_is_left")
def test_a_row_that_cannot_be_written_leaves_no_file(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in its place already when the transaction fails."""
    keep = ArtifactStore.keep_dataset

    def keep_and_fail(self: ArtifactStore, temporary: Path, sha256: str) -> Path:
        keep(self, temporary, sha256)
        raise InsufficientStorageError("the commit failed")

    monkeypatch.setattr(ArtifactStore, "keep_dataset", keep_and_fail)
    assert upload(client, headers).status_code == 507


def test_a_failure_spares_the_file_of_another_dataset(
    client: TestClient,
    headers: dict[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload(client, headers)

    def full(self: ArtifactStore, temporary: Path, sha256: str) -> Path:
        raise InsufficientStorageError("full")

    monkeypatch.setattr(ArtifactStore, "keep_dataset", full)
    assert upload(client, headers).status_code == 507
    assert len(files_of(settings)) == 1


def test_an_idempotency_key_makes_one_dataset_of_two_uploads(
    client: TestClient, headers: dict[str, str]
) -> None:
    once = {**headers, "Idempotency-Key": "upload-1"}
    first, second = upload(client, once), upload(client, once)
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    assert second.headers["idempotent-replayed"] == "true"
    assert len(client.get(URL, headers=headers).json()["data"]) == 1
    other = upload(client, once, TABLE + b"2024-01-30,1\n")
    assert problem(other) == (422, "idempotency-mismatch")


def test_a_failed_upload_gives_its_idempotency_key_back(
    client: TestClient, headers: dict[str, str]
) -> None:
    once = {**headers, "Idempotency-Key": "upload-1"}
    assert upload(client, once, b"a,b\n1\n").status_code == 422
    assert upload(client, once, b"a,b\n1\n").status_code == 422
    assert upload(client, once).status_code == 201


def test_equal_uploads_at_the_same_time(
    client: TestClient, headers: dict[str, str], settings: Settings
) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: upload(client, headers), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 8
    assert len(files_of(settings)) == 1


def test_few_files_are_read_at_once(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every upload took a thread of its own, and with all of them busy nothing else went on."""
    lock = Lock()
    running: list[int] = [0]

    def slow(*arguments: Any) -> dict[str, Any]:
        with lock:
            running.append(running[-1] + 1)
        sleep(0.05)
        with lock:
            running.append(running[-1] - 1)
        return profile_file(*arguments)

    monkeypatch.setattr(datasets, "profile_file", slow)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: upload(client, headers), range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert max(running) == FILES_AT_ONCE


def test_scopes_are_needed(client: TestClient, make_key: MakeKey) -> None:
    reader = bearer(make_key([Scope.DATASETS_READ]))
    writer = bearer(make_key([Scope.DATASETS_WRITE]))
    assert problem(upload(client, reader)) == (403, "forbidden")
    assert problem(client.get(URL, headers=writer)) == (403, "forbidden")
    assert problem(upload(client, {})) == (401, "unauthenticated")


def test_the_file_is_read_piece_by_piece(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = Intake.write

    def counted(self: Intake, data: bytes) -> None:
        sizes.append(len(data))
        write(self, data)

    monkeypatch.setattr(Intake, "write", counted)
    content = b"text,label\n" + b"some good words,a\nsome bad words,b\n" * 100_000
    body = part('name="file"; filename="a.csv"', content) + END
    answer = stream(client, headers, body)
    assert answer.status_code == 201
    assert answer.json()["rows"] == 200_000
    assert sum(sizes) == len(content)
    assert max(sizes) < 400_000
