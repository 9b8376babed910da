"""References to versions on a real database: numbering, races, and what the resolver keeps."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.artifacts.store import ArtifactStore
from service.auth.store import ensure_workspace
from service.db.engine import Database
from service.db.paging import PageRequest
from service.db.tables import Workspace
from service.errors import ModelNotReadyError, NotFoundError, ValidationError
from service.registry import resolver as resolver_module
from service.registry import store
from service.registry.references import parse_reference
from service.registry.resolver import ModelResolver
from service.settings import Settings
from tests.serving import GENERATION, publish


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.artifact_dir)


@pytest.fixture
def workspace(database: Database) -> Workspace:
    with database.transaction() as db:
        return ensure_workspace(db, "default")


@pytest.fixture
def two_versions(
    database: Database,
    artifacts: ArtifactStore,
    workspace: Workspace,
    trained: Mapping[str, Path],
) -> str:
    for _ in range(2):
        publish(database, artifacts, workspace.id, "verses", GENERATION, trained[GENERATION])
    return "verses"


def resolved(database: Database, workspace: Workspace, reference: str) -> int:
    with database.transaction() as db:
        return store.resolve(db, workspace.id, reference)[1].version


def move(database: Database, workspace: Workspace, alias: str, number: int) -> None:
    with database.transaction() as db:
        store.move_alias(db, workspace.id, "verses", alias, number)


@pytest.mark.usefixtures("two_versions")
def test_the_three_ways_to_name_a_version(database: Database, workspace: Workspace) -> None:
    move(database, workspace, "canary", 1)
    for reference, number in (
        ("verses", 2),
        ("verses@production", 2),
        ("verses@canary", 1),
        ("verses:1", 1),
        ("verses:2", 2),
    ):
        assert resolved(database, workspace, reference) == number
    for unknown in ("verses:3", "verses@gone", "poems", f"verses:{10**17}"):
        with pytest.raises(NotFoundError):
            resolved(database, workspace, unknown)


@pytest.mark.parametrize(
    "text", ["", "a b", "../x", "a/b", "A", "a@", "a:", "a:0", "a:-1", "a:1@b", "a@B", "a\n", ".a"]
)
def test_what_names_no_model(text: str) -> None:
    with pytest.raises(ValidationError):
        parse_reference(text)


def test_versions_registered_at_once_have_different_numbers(
    database: Database,
    artifacts: ArtifactStore,
    workspace: Workspace,
    trained: Mapping[str, Path],
) -> None:
    def make(_: int) -> int:
        folder = trained[GENERATION]
        return publish(database, artifacts, workspace.id, "verses", GENERATION, folder).version

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == [1, 2, 3, 4, 5, 6]
    # The alias is where the log says that it was moved last.
    with database.transaction() as db:
        model = store.get_model(db, workspace.id, "verses")
        numbers = store.version_numbers(db, model)
        (last, *_), _ = store.list_deployments(db, model, PageRequest(limit=1))
        assert last.version_id is not None
        assert numbers[last.version_id] == store.aliases_of(db, [model.id])[model.id]["production"]


@pytest.mark.usefixtures("two_versions")
class TestResolver:
    def test_it_keeps_what_it_found_until_told(
        self, database: Database, artifacts: ArtifactStore, workspace: Workspace
    ) -> None:
        resolver = ModelResolver(database, artifacts)
        assert resolver.kept(workspace.id, "verses") is None
        found = resolver.find(workspace.id, "verses")
        assert found.version == 2
        assert found.folder.joinpath("manifest.json").exists()
        assert resolver.kept(workspace.id, "verses") == found
        move(database, workspace, "production", 1)
        assert resolver.kept(workspace.id, "verses") == found  # nobody said anything yet
        resolver.forget()
        assert resolver.kept(workspace.id, "verses") is None
        assert resolver.find(workspace.id, "verses").version == 1

    def test_what_it_found_grows_old(
        self,
        database: Database,
        artifacts: ArtifactStore,
        workspace: Workspace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(resolver_module, "KEEP_SECONDS", 0.0)
        resolver = ModelResolver(database, artifacts)
        resolver.find(workspace.id, "verses")
        assert resolver.kept(workspace.id, "verses") is None

    def test_what_is_asked_again_is_looked_up_before_it_is_old(
        self,
        database: Database,
        artifacts: ArtifactStore,
        workspace: Workspace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """And nobody waits for that."""
        monkeypatch.setattr(resolver_module, "DUE_SECONDS", 0.0)
        resolver = ModelResolver(database, artifacts)
        found = resolver.find(workspace.id, "verses")
        move(database, workspace, "production", 1)

        async def scenario() -> None:
            assert resolver.kept(workspace.id, "verses") == found
            await asyncio.gather(*resolver._asking.values())
            await asyncio.sleep(0)
            now = resolver.kept(workspace.id, "verses")
            assert now is not None
            assert now.version == 1
            await asyncio.gather(*resolver._asking.values())

        asyncio.run(scenario())

    def test_what_was_read_while_an_alias_moved_is_not_kept(
        self,
        database: Database,
        artifacts: ArtifactStore,
        workspace: Workspace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        resolver = ModelResolver(database, artifacts)
        read, moved = threading.Event(), threading.Event()
        resolve = store.resolve

        def slow(*arguments: object) -> object:
            answer = resolve(*arguments)  # type: ignore[arg-type]
            read.set()
            assert moved.wait(5)
            return answer

        monkeypatch.setattr(resolver_module, "resolve", slow)
        with ThreadPoolExecutor(1) as pool:
            finding = pool.submit(resolver.find, workspace.id, "verses")
            assert read.wait(5)
            resolver.forget()
            moved.set()
            assert finding.result().version == 2
        assert resolver.kept(workspace.id, "verses") is None

    def test_who_asks_at_the_same_time_shares_a_look_up(
        self,
        database: Database,
        artifacts: ArtifactStore,
        workspace: Workspace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        resolver = ModelResolver(database, artifacts)
        go_on = threading.Event()
        resolve = store.resolve
        look_ups: list[object] = []

        def slow(*arguments: object) -> object:
            look_ups.append(arguments)
            assert go_on.wait(5)
            return resolve(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(resolver_module, "resolve", slow)

        async def scenario() -> None:
            asked = [asyncio.create_task(resolver.ask(workspace.id, "verses")) for _ in range(9)]
            await asyncio.sleep(0)
            asked.pop().cancel()
            await asyncio.sleep(0)
            resolver.forget()
            late = asyncio.create_task(resolver.ask(workspace.id, "verses"))
            await asyncio.sleep(0)
            go_on.set()
            answers = await asyncio.gather(*asked, late)
            assert {found.version for found in answers} == {2}

        asyncio.run(scenario())
        assert len(look_ups) == 2  # the second by who came after a move
        assert resolver.kept(workspace.id, "verses") is not None

    def test_nothing_is_kept_of_what_is_not_there(
        self, database: Database, artifacts: ArtifactStore, workspace: Workspace
    ) -> None:
        resolver = ModelResolver(database, artifacts)
        for _ in range(2):
            with pytest.raises((NotFoundError, ModelNotReadyError)):
                resolver.find(workspace.id, "soon")
        assert resolver.kept(workspace.id, "soon") is None
