"""The pages of models without a browser."""

from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.api.schemas.models import VersionView
from service.artifacts.store import ArtifactStore
from service.auth.subjects import Scope
from service.dashboard.cards import markdown
from service.dashboard.model_pages import metric_names
from service.db.engine import Database
from service.db.tables import Dataset, Job, ModelVersion, Workspace
from service.settings import Settings
from tests.api.conftest import MakeKey, bearer
from tests.serving import FORECASTING, publish

SCRIPT = "<script>alert(1)</script>"
HTML = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def demand(
    trained: Mapping[str, Path], database: Database, settings: Settings, workspace: Workspace
) -> str:
    """The page of a model whose second version was trained from its first."""
    artifacts = ArtifactStore(settings.artifact_dir)
    folder = trained[FORECASTING]
    first = publish(database, artifacts, workspace.id, "demand", FORECASTING, folder)
    second = publish(database, artifacts, workspace.id, "demand", FORECASTING, folder)
    base: dict[str, Any] = {"name": "demand", "version": 1, "sha256": first.artifact_sha256}
    with database.transaction() as db:
        db.get_one(ModelVersion, second.id).base = base
        db.get_one(ModelVersion, second.id).card = f"# demand {SCRIPT}"
        db.get_one(Dataset, db.get_one(Job, second.job_id).dataset_id).name = SCRIPT
    return "/models/demand"


def page(client: TestClient, key: str, path: str) -> str:
    """The main part of a page."""
    answer = client.get(path, headers={**HTML, **bearer(key)})
    assert answer.status_code == 200, answer.text
    return answer.text.partition("<main")[2]


def test_the_list_and_the_overview_lead_to_a_model(
    client: TestClient, key: str, demand: str
) -> None:
    for path in ("/models", "/"):
        assert f'<a href="{demand}">demand</a>' in page(client, key, path)
    assert f'href="{demand}?version=2"' in page(client, key, "/jobs")


def test_the_version_in_production_is_shown_or_the_one_asked_for(
    client: TestClient, key: str, demand: str
) -> None:
    assert "Where version 2 came from" in page(client, key, demand)
    assert "Where version 1 came from" in page(client, key, f"{demand}?version=1")
    assert client.get(f"{demand}?version=3", headers=bearer(key)).status_code == 404
    assert client.get("/models/other", headers=bearer(key)).status_code == 404


def test_the_lineage_begins_with_the_first_base(
    client: TestClient, key: str, demand: str, database: Database
) -> None:
    lineage = page(client, key, demand).partition('id="lineage"')[2].partition("</section>")[0]
    assert lineage.index("?version=1") < lineage.index("weights of") < lineage.index("?version=2")
    assert lineage.count('href="/jobs/') == lineage.count('href="/datasets/') == 2
    with database.transaction() as db:  # another network has the name of the base now
        second = db.query(ModelVersion).filter_by(version=2).one()
        second.base = {**(second.base or {}), "sha256": "0" * 64}
    lineage = page(client, key, demand).partition('id="lineage"')[2].partition("</section>")[0]
    assert "not looked at" in lineage
    assert lineage.count('href="/jobs/') == 1


def test_names_and_cards_are_text(client: TestClient, key: str, demand: str) -> None:
    """bad_inputs dashboard-01."""
    text = page(client, key, demand)
    assert SCRIPT not in text
    assert text.count("&lt;script&gt;alert(1)") == 3  # a data set, the card, its source


def test_a_card_is_markdown_below_the_headings_of_its_page() -> None:
    html = markdown("# A\n\n#### B\n\n**strong** and `code <b>`\n\n|x|y|\n|--:|---|\n|1|2|\n")
    assert "<h4>A</h4>" in html
    assert "<h6>B</h6>" in html
    assert "<strong>strong</strong> and <code>code &lt;b&gt;</code>" in html
    assert "<th>x</th>" in html  # without an inline style
    assert markdown("> " * 5_000 + "deep")  # whatever its depth


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT,
        "<img src=x onerror=alert(1)>",
        "</title><svg onload=alert(1)>",
        "a <b onmouseover=alert(1)>b</b>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](&#106;avascript:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "[a](//evil.example)",
        "<javascript:alert(1)>",
        "[a]\n\n[a]: vbscript:alert(1)",
        "![a](https://evil.example/pixel.png)",
        "![a](data:image/png;base64,AAAA)",
        "[![a](https://evil.example/pixel.png)](javascript:alert(1))",
        '```x" onload="alert(1)\n</code><script>alert(1)</script>\n```',
    ],
)
def test_a_card_has_no_tag_and_no_link_of_its_author(text: str) -> None:
    """bad_inputs dashboard-01, dashboard-02."""
    found = Tags(markdown(text))
    assert found.names <= {"p", "code", "pre"}
    assert found.attributes <= {"class"}


def test_links_of_a_card_lead_out_and_say_nothing_of_where_from() -> None:
    html = markdown('<https://example.org> [b](mailto:a@b.example "\\" onclick=\\"x")')
    found = Tags(html)
    assert found.names == {"p", "a"}
    assert found.attributes == {"href", "rel", "title"}
    assert html.count('rel="nofollow noreferrer"') == 2


class Tags(HTMLParser):
    """The names of all tags and attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_key_without_data_sets_sees_no_names_of_them(
    client: TestClient, make_key: MakeKey, demand: str
) -> None:
    text = page(client, make_key([Scope.MODELS_READ]), demand)
    assert "generated" not in text
    assert "Where version 2 came from" in text


def test_versions_come_in_pages(client: TestClient, key: str, demand: str) -> None:
    first = page(client, key, f"{demand}?limit=1")
    older = first.partition('aria-label="Pages"')[2].partition('href="')[2].partition('"')[0]
    assert 'id="version-1"' not in first
    assert 'id="version-1"' in page(client, key, older)


def test_only_single_figures_are_metrics(client: TestClient, key: str, demand: str) -> None:
    versions = client.get(f"/api/v1{demand}/versions", headers=bearer(key)).json()["data"]
    version = _version(versions[0], {"loss": 0.5, "by_label": {"a": 1}, "exact": True, "n": 3})
    assert metric_names([version, _version(versions[1], {"n": 4, "more": 1.0})]) == [
        "loss",
        "n",
        "more",
    ]


def _version(fields: dict[str, Any], metrics: dict[str, Any]) -> VersionView:
    return VersionView.model_validate({**fields, "metrics": metrics})
