"""The dashboard's pages and sign-ins without a browser."""

import pytest
from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.db.engine import Database
from service.db.tables import BrowserSession
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.job_requests import SERIES, upload

HTML = {"Accept": "text/html,*/*;q=0.8"}


def sign_in(client: TestClient, key: str) -> str:
    """Signs the client in; the CSRF token of its pages."""
    assert client.post("/api/v1/browser-sessions", headers=bearer(key)).status_code == 204
    text = client.get("/", headers=HTML).text
    return text.partition('name="csrf-token" content="')[2].partition('"')[0]


def test_who_is_not_signed_in_is_sent_to_where_he_can(client: TestClient) -> None:
    answer = client.get("/jobs?state=failed", headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fjobs%3Fstate%3Dfailed"
    assert problem(client.get("/jobs")) == "unauthenticated"


def test_a_sign_in_gives_a_cookie_that_no_script_reads(client: TestClient, key: str) -> None:
    """bad_inputs dashboard-09."""
    answer = client.post("/api/v1/browser-sessions", headers=bearer(key))
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("reprise=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert key not in cookie
    assert client.get("/", headers=HTML).status_code == 200


def test_over_https_the_cookie_belongs_to_this_host_alone(make_app: MakeApp, key: str) -> None:
    """bad_inputs dashboard-09."""
    with TestClient(make_app(), base_url="https://localhost") as client:
        cookie = client.post("/api/v1/browser-sessions", headers=bearer(key)).headers["set-cookie"]
        assert cookie.startswith("__Host-reprise=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert client.get("/", headers=HTML).status_code == 200


def test_each_sign_in_has_an_id_of_its_own(client: TestClient, key: str) -> None:
    """bad_inputs dashboard-18."""
    client.cookies.set("reprise", "chosen-by-somebody-else", domain="localhost.local")
    assert client.get("/", headers=HTML, follow_redirects=False).status_code == 303
    client.post("/api/v1/browser-sessions", headers=bearer(key))
    first = client.cookies["reprise"]
    client.post("/api/v1/browser-sessions", headers=bearer(key))
    assert len({first, client.cookies["reprise"], "chosen-by-somebody-else"}) == 3


def test_only_the_hash_of_a_cookie_is_kept(
    client: TestClient, key: str, database: Database
) -> None:
    sign_in(client, key)
    with database.transaction() as db:
        kept = db.query(BrowserSession).one()
        assert client.cookies["reprise"].encode() not in kept.token_sha256


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]
)
def test_what_another_site_sends_with_the_cookie_is_refused(
    client: TestClient, key: str, media_type: str
) -> None:
    """bad_inputs dashboard-10."""
    sign_in(client, key)
    headers = {"Content-Type": media_type, "Origin": "https://evil.example"}
    answer = client.post("/api/v1/keys", content=b"name=x", headers=headers)
    assert answer.status_code == 403
    assert problem(answer) == "csrf"
    wrong = client.delete("/api/v1/browser-sessions", headers={"X-CSRF-Token": "0" * 64})
    assert problem(wrong) == "csrf"


def test_a_page_of_ours_can_do_what_its_key_can(client: TestClient, make_key: MakeKey) -> None:
    csrf = sign_in(client, make_key([Scope.JOBS_READ, Scope.MODELS_READ]))
    headers = {"X-CSRF-Token": csrf}
    assert problem(client.post("/api/v1/keys", json={}, headers=headers)) == "forbidden"
    assert client.delete("/api/v1/browser-sessions/current", headers=headers).status_code == 204


def test_a_page_without_the_scope_says_so(client: TestClient, make_key: MakeKey) -> None:
    client.post("/api/v1/browser-sessions", headers=bearer(make_key([Scope.PREDICT])))
    answer = client.get("/jobs", headers=HTML)
    assert answer.status_code == 403
    assert "jobs:read" in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_a_cookie_does_not_stand_for_a_wrong_key(client: TestClient, key: str) -> None:
    sign_in(client, key)
    assert problem(client.get("/api/v1/jobs", headers=bearer("rp_wrong"))) == "unauthenticated"
    assert client.get("/api/v1/jobs").status_code == 200


def test_a_sign_in_ends_with_its_sign_out_and_with_its_key(
    client: TestClient, key: str, make_key: MakeKey
) -> None:
    """bad_inputs dashboard-17."""
    csrf = sign_in(client, key)
    kept = client.cookies["reprise"]
    client.delete("/api/v1/browser-sessions/current", headers={"X-CSRF-Token": csrf})
    client.cookies.set("reprise", kept, domain="localhost.local")
    assert problem(client.get("/api/v1/jobs")) == "unauthenticated"

    other = make_key()
    client.cookies.clear()
    sign_in(client, other)
    admin = bearer(key)
    keys = client.get("/api/v1/keys", headers=admin).json()["data"]
    newest = max(keys, key=lambda each: each["created_at"])["id"]
    assert client.delete(f"/api/v1/keys/{newest}", headers=admin).status_code == 204
    assert problem(client.get("/api/v1/jobs")) == "unauthenticated"


def test_a_sign_in_ends_with_its_time(make_app: MakeApp, key: str) -> None:
    with TestClient(make_app(browser_session_hours=1e-9), base_url="http://localhost") as client:
        client.post("/api/v1/browser-sessions", headers=bearer(key))
        assert problem(client.get("/api/v1/jobs")) == "unauthenticated"


def test_pages_are_strict_and_kept_nowhere(client: TestClient, key: str) -> None:
    """bad_inputs dashboard-06, dashboard-07, dashboard-36."""
    sign_in(client, key)
    headers = client.get("/", headers=HTML).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "data:" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_job_of_somebody_else_is_not_there(client: TestClient, key: str) -> None:
    """bad_inputs dashboard-20."""
    sign_in(client, key)
    answer = client.get("/jobs/0199a2b4-0000-7000-8000-000000000000", headers=HTML)
    assert answer.status_code == 404
    assert "text/html" in answer.headers["content-type"]
    assert client.get("/nothing", headers=HTML).status_code == 404


@pytest.mark.parametrize(
    "path", ["../pages.py", "%2e%2e/pages.py", "..%5cpages.py", "../../../../etc/passwd", "a%00b"]
)
def test_only_static_files_are_static(client: TestClient, path: str) -> None:
    """bad_inputs dashboard-21."""
    answer = client.get(f"/static/{path}")
    assert answer.status_code in (401, 404)
    assert b"import" not in answer.content


def test_static_files_are_kept_by_their_digest(client: TestClient) -> None:
    page = client.get("/sign-in").text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert "immutable" in client.get(address).headers["cache-control"]
    assert client.get("/static/style.css").headers["cache-control"] == "no-cache"
    ranges = {"Range": "bytes=" + ",".join(["0-"] * 5_000)}  # bad_inputs dashboard-22
    answer = client.get("/static/style.css", headers=ranges)
    assert answer.status_code == 200
    assert answer.content == client.get(address).content


def test_who_guesses_keys_at_the_sign_in_learns_nothing_and_is_stopped(
    make_app: MakeApp, key: str
) -> None:
    """bad_inputs dashboard-14, dashboard-15."""
    right, _, secret = key.removeprefix("rp_").partition("_")
    guesses = [f"rp_{right}_{'x' * len(secret)}", f"rp_{'x' * len(right)}_{secret}", "password"]
    with TestClient(make_app(failed_logins_per_minute=5), base_url="http://localhost") as client:
        answers = [
            client.post("/api/v1/browser-sessions", headers=bearer(guess)) for guess in guesses * 34
        ]
        told = {answer.json()["detail"] for answer in answers[: len(guesses)]}
        assert len(told) == 1
        assert [answer.status_code for answer in answers[:5]] == [401] * 5
        assert {answer.status_code for answer in answers[8:]} == {429}
        assert problem(answers[-1]) == "rate-limited"
        assert not client.cookies


def test_what_a_client_sends_comes_back_as_no_page(
    client: TestClient, headers: dict[str, str]
) -> None:
    """bad_inputs dashboard-03."""
    ugly = {**headers, "Content-Type": "text/<script>alert(1)</script>", "Accept": "text/html"}
    answer = client.post("/api/v1/jobs", content=b"{}", headers=ugly)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ['a"b; filename=c.html', "x\u202efdp.csv"])
def test_a_file_of_any_name_is_downloaded_as_that_file(
    client: TestClient, headers: dict[str, str], name: str
) -> None:
    """bad_inputs dashboard-25. One with a line break is not taken in."""
    dataset = upload(client, headers, name, SERIES)
    answer = client.get(f"/api/v1/datasets/{dataset}/content", headers=headers)
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename")
    assert disposition.isascii()
    assert disposition.isprintable()
    assert disposition.count('"') in (0, 2)


def test_without_scripts_the_pages_say_so(client: TestClient) -> None:
    """bad_inputs dashboard-40."""
    page = client.get("/sign-in").text
    assert "need JavaScript" in page.partition("<noscript>")[2].partition("</noscript>")[0]
