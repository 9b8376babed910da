"""Hundreds of callers, many of whom leave, at a real server: `benchmarks.soak` in small."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from benchmarks.soak import soak
from service.artifacts.store import ArtifactStore
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import ALL_SCOPES
from service.db.engine import Database
from service.settings import Settings
from tests.integration.test_session_replicas import process
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION, publish

REQUESTS = 400
TASKS = (FORECASTING, CLASSIFICATION, GENERATION)


def test_everybody_is_told_what_they_would_be_told_alone_and_nothing_stays(
    settings: Settings, database: Database, trained: Mapping[str, Path]
) -> None:
    with database.transaction() as db:
        workspace = ensure_workspace(db, "default")
        _, key = create_key(db, workspace.id, "test", ALL_SCOPES)
    artifacts = ArtifactStore(settings.artifact_dir)
    for task, folder in trained.items():
        publish(database, artifacts, workspace.id, task, task, folder)
    patient = settings.model_copy(
        update={"requests_per_minute": 10**8, "max_concurrent_predictions": 512}
    )
    with process(patient) as (address, server):
        url = address.removesuffix("/api/v1/sessions")
        report = asyncio.run(soak(url, key, server.pid, TASKS, REQUESTS))
    assert report.wrong == []
    assert report.requests.total() >= REQUESTS
    assert report.requests.keys() == {"forecast", "labels", "text", "stream", "session", "step"}
    assert report.left
    assert report.sessions == 0
    first, last = report.gauges[0], report.gauges[-1]
    assert last["reprise_predictions_in_flight"] == last["reprise_decode_slots_in_use"] == 0
    assert last["reprise_prefix_cache_bytes"] == first["reprise_prefix_cache_bytes"] > 0
    for _, *sizes in report.memory:
        assert all(sizes), "the processes were found"
