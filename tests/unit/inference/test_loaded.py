"""What is in memory, with the loading itself counted."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rnn.checkpoint import manifest_sha256
from rnn.generation.predictor import Generator
from service.errors import OverloadedError, UnavailableError
from service.inference import loaded
from service.inference.loaded import LoadedModels
from service.inference.requests import Network

MakeModels = Callable[[int], "Borrowers"]


class FakeModel:
    def __init__(self, name: str) -> None:
        self.name = name


class Borrowers:
    """Those who borrow, by name; they get their networks when `settle` is called."""

    def __init__(self, max_loaded: int) -> None:
        self._woken = threading.Semaphore(0)
        self.models: LoadedModels[str] = LoadedModels(
            max_loaded, threads=1, wake=self._woken.release
        )
        self.got: dict[str, object] = {}

    def borrow(self, user: str, sha256: str, folder: Path = Path("folder")) -> None:
        model = self.models.borrow(Network(folder, sha256), user)
        if model is not None:
            self.got[user] = model

    def settle(self) -> None:
        """Waits for one network."""
        assert self._woken.acquire(timeout=30)
        self.got.update(self.models.arrived())

    def use(self, sha256: str) -> object:
        """Borrows, waits where it has to, and gives back."""
        self.borrow("use", sha256)
        if "use" not in self.got:
            self.settle()
        self.models.give_back(sha256)
        return self.got.pop("use")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests in the order in which they were loaded; `bad` cannot be."""
    done: list[str] = []

    def load(folder: Path, sha256: str) -> FakeModel:
        done.append(sha256)
        if sha256 == "bad":
            raise ValueError("no such thing")
        return FakeModel(sha256)

    monkeypatch.setattr(loaded, "_load_and_warm", load)
    return done


@pytest.fixture
def make() -> Iterator[MakeModels]:
    made: list[Borrowers] = []

    def make(max_loaded: int) -> Borrowers:
        made.append(Borrowers(max_loaded))
        return made[-1]

    yield make
    for borrowers in made:
        borrowers.models.close()


def test_many_callers_load_once(loads: list[str], make: MakeModels) -> None:
    borrowers = make(2)
    for user in "xyz":
        borrowers.borrow(user, "a")
    assert borrowers.got == {}
    borrowers.settle()
    assert len(borrowers.got) == 3
    borrowers.borrow("late", "a")
    assert len({id(model) for model in borrowers.got.values()}) == 1
    assert loads == ["a"]


def test_the_least_recently_used_makes_room(loads: list[str], make: MakeModels) -> None:
    borrowers = make(2)
    for sha256 in ("a", "b", "a", "c"):
        borrowers.use(sha256)
    assert "a" in borrowers.models
    assert "b" not in borrowers.models
    assert len(borrowers.models) == 2
    assert loads == ["a", "b", "c"]


@pytest.mark.parametrize("settled", [True, False])
def test_one_in_use_or_being_loaded_is_not_unloaded(
    loads: list[str], make: MakeModels, settled: bool
) -> None:
    borrowers = make(1)
    borrowers.borrow("x", "a")
    if settled:
        borrowers.settle()
    else:
        borrowers.models.give_back("a")  # nobody waits any more
    with pytest.raises(OverloadedError) as caught:
        borrowers.borrow("y", "b")
    assert caught.value.retry_after_seconds
    if settled:
        borrowers.models.give_back("a")
    else:
        borrowers.settle()
    borrowers.use("b")
    assert "a" not in borrowers.models
    assert loads == ["a", "b"]


@pytest.mark.usefixtures("loads")
def test_a_replaced_version_goes_with_its_last_request(make: MakeModels) -> None:
    borrowers = make(4)
    borrowers.borrow("x", "a")
    borrowers.borrow("y", "a")
    borrowers.settle()
    borrowers.models.replace("a")
    borrowers.models.give_back("a")
    assert "a" in borrowers.models
    borrowers.models.give_back("a")
    assert "a" not in borrowers.models
    borrowers.use("b")
    borrowers.models.replace("b")
    assert "b" not in borrowers.models


@pytest.mark.usefixtures("loads")
def test_a_version_that_is_replaced_while_it_is_loaded_goes_where_nobody_waits(
    make: MakeModels,
) -> None:
    borrowers = make(4)
    borrowers.borrow("x", "a")
    borrowers.models.give_back("a")
    borrowers.models.replace("a")
    borrowers.settle()
    assert "a" not in borrowers.models


@pytest.mark.usefixtures("loads")
def test_a_replaced_version_that_is_asked_again_stays(make: MakeModels) -> None:
    borrowers = make(4)
    borrowers.borrow("x", "a")
    borrowers.settle()
    borrowers.models.replace("a")
    borrowers.use("a")
    borrowers.models.give_back("a")
    assert "a" in borrowers.models


def test_a_failed_load_is_told_and_tried_again(loads: list[str], make: MakeModels) -> None:
    borrowers = make(1)
    for _ in range(2):
        borrowers.borrow("x", "bad")
        borrowers.settle()
        assert isinstance(borrowers.got.pop("x"), UnavailableError)
        assert "bad" not in borrowers.models
    assert loads == ["bad", "bad"]


def test_a_real_folder_is_loaded_only_as_what_its_digest_says(
    generator_folder: Path, make: MakeModels
) -> None:
    borrowers = make(2)
    borrowers.borrow("x", manifest_sha256(generator_folder), generator_folder)
    borrowers.settle()
    assert isinstance(borrowers.got["x"], Generator)
    borrowers.borrow("y", "0" * 64, generator_folder)
    borrowers.settle()
    assert isinstance(borrowers.got["y"], UnavailableError)
