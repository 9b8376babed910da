"""The files of data sets, as they are stored."""

import gzip
import hashlib

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import MakeKey, bearer, problem
from tests.api.job_requests import REVIEWS, upload

CONTENT = REVIEWS.encode()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def path(client: TestClient, headers: dict[str, str]) -> str:
    return f"/api/v1/datasets/{upload(client, headers, 'reviews.csv', REVIEWS)}/content"


def test_the_bytes_are_those_that_were_sent(
    client: TestClient, headers: dict[str, str], path: str
) -> None:
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.headers["digest"] == f"sha-256={DIGEST}"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="reviews.csv"'


def test_a_packed_file_comes_unpacked(client: TestClient, headers: dict[str, str]) -> None:
    files = {"file": ("reviews.csv.gz", gzip.compress(CONTENT)), "name": (None, "mine")}
    dataset = client.post("/api/v1/datasets", files=files, headers=headers).json()["id"]
    answer = client.get(f"/api/v1/datasets/{dataset}/content", headers=headers)
    assert answer.content == CONTENT
    assert answer.headers["content-disposition"] == 'attachment; filename="reviews.csv"'


@pytest.mark.parametrize(
    ("asked", "content", "said"),
    [
        ("bytes=0-3", CONTENT[:4], f"bytes 0-3/{len(CONTENT)}"),
        ("bytes=10-", CONTENT[10:], f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}"),
        ("bytes=-5", CONTENT[-5:], f"bytes {len(CONTENT) - 5}-{len(CONTENT) - 1}/{len(CONTENT)}"),
    ],
)
def test_a_part_of_it(
    client: TestClient, headers: dict[str, str], path: str, asked: str, content: bytes, said: str
) -> None:
    answer = client.get(path, headers={**headers, "Range": asked, "If-Range": f'"{DIGEST}"'})
    assert (answer.status_code, answer.content) == (206, content)
    assert answer.headers["content-range"] == said


def test_a_part_of_other_bytes_is_the_whole(
    client: TestClient, headers: dict[str, str], path: str
) -> None:
    answer = client.get(path, headers={**headers, "Range": "bytes=0-3", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_part_that_is_not_there(client: TestClient, headers: dict[str, str], path: str) -> None:
    answer = client.get(path, headers={**headers, "Range": f"bytes={len(CONTENT)}-"})
    assert problem(answer) == "range-not-satisfiable"


def test_whoever_has_it_gets_nothing(
    client: TestClient, headers: dict[str, str], path: str
) -> None:
    for known in (f'"{DIGEST}"', f'"other", W/"{DIGEST}"', "*"):
        answer = client.get(path, headers={**headers, "If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{DIGEST}"'
    answer = client.get(path, headers={**headers, "If-None-Match": '"other"'})
    assert answer.status_code == 200


def test_nobody_else_gets_it(
    client: TestClient, headers: dict[str, str], path: str, make_key: MakeKey
) -> None:
    stranger = bearer(make_key(workspace_name="another"))
    assert problem(client.get(path, headers=stranger)) == "not-found"
    dataset = path.removesuffix("/content")
    assert client.delete(dataset, headers=headers).status_code == 204
    assert problem(client.get(path, headers=headers)) == "not-found"
