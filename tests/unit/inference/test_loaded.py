"""What is in memory, with the loading itself counted."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rnn.checkpoint import manifest_sha256
from rnn.generation.predictor import Generator
from service.errors import OverloadedError, UnavailableError
from service.inference import loaded
from service.inference.loaded import Loaded, LoadedModels
from service.inference.requests import Device, Network

MakeModels = Callable[[float], "Borrowers"]

SIZE = 2**20  # of a network
LARGER = {"large": 1.5, "huge": 2.5}  # times that


class FakeModel:
    def __init__(self, name: str) -> None:
        self.name = name


class Borrowers:
    """Those who borrow, by name; they get their networks when `settle` is called."""

    def __init__(self, max_networks: float) -> None:
        self._woken = threading.Semaphore(0)
        self.models: LoadedModels[str] = LoadedModels(
            int(max_networks * SIZE), wake=self._woken.release
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

    def load(folder: Path, sha256: str, device: Device) -> Loaded:
        done.append(sha256)
        if sha256 == "short":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if sha256 == "bad":
            raise ValueError("no such thing")
        size_bytes = int(LARGER.get(sha256, 1) * SIZE)
        return Loaded(FakeModel(sha256), size_bytes)  # type: ignore[arg-type]

    monkeypatch.setattr(loaded, "_load_and_warm", load)
    return done


@pytest.fixture
def make() -> Iterator[MakeModels]:
    made: list[Borrowers] = []

    def make(max_networks: float) -> Borrowers:
        made.append(Borrowers(max_networks))
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


def test_as_many_make_room_as_have_to(loads: list[str], make: MakeModels) -> None:
    borrowers = make(3)
    for sha256 in ("a", "b", "c", "large"):
        borrowers.use(sha256)
    assert [name in borrowers.models for name in ("a", "b", "c", "large")] == [False] * 2 + [
        True
    ] * 2
    assert borrowers.models.size_bytes == 2.5 * SIZE
    borrowers.use("a")
    assert "c" not in borrowers.models
    assert loads == ["a", "b", "c", "large", "a"]
    for sha256 in ("a", "large"):
        borrowers.models.replace(sha256)
    assert borrowers.models.size_bytes == 0


@pytest.mark.usefixtures("loads")
def test_one_that_turns_out_to_have_no_room_waits_for_those_in_use(make: MakeModels) -> None:
    borrowers = make(2)
    borrowers.use("idle")
    borrowers.borrow("x", "a")
    borrowers.settle()
    borrowers.borrow("y", "large")
    borrowers.settle()
    refusal = borrowers.got["y"]
    assert isinstance(refusal, OverloadedError)
    assert "REPRISE_MODEL_CACHE_BYTES" in refusal.detail
    assert "a" in borrowers.models
    assert "large" not in borrowers.models
    assert borrowers.models.size_bytes == SIZE
    borrowers.models.give_back("a")
    assert isinstance(borrowers.use("large"), FakeModel)
    assert "a" not in borrowers.models


def test_one_that_can_never_have_room_is_refused(
    loads: list[str], make: MakeModels, tmp_path: Path
) -> None:
    """By its files if they say so already, and else once it is loaded."""
    borrowers = make(2)
    borrowers.use("a")
    borrowers.borrow("x", "huge")
    borrowers.settle()
    refusal = borrowers.got["x"]
    assert isinstance(refusal, UnavailableError)
    assert f"{int(2.5 * SIZE):,} bytes" in refusal.detail
    assert f"{2 * SIZE:,}" in refusal.detail
    assert "a" in borrowers.models
    assert borrowers.models.size_bytes == SIZE
    with (tmp_path / "tensors").open("wb") as file:
        file.truncate(3 * SIZE)
    with pytest.raises(UnavailableError, match="REPRISE_MODEL_CACHE_BYTES"):
        borrowers.borrow("y", "b", tmp_path)
    assert loads == ["a", "huge"]


@pytest.mark.parametrize("settled", [True, False])
def test_one_in_use_or_being_loaded_is_not_unloaded(
    loads: list[str], make: MakeModels, settled: bool, tmp_path: Path
) -> None:
    borrowers = make(1)
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "tensors").write_bytes(b"0")
    borrowers.borrow("x", "a", folder)
    if settled:
        borrowers.settle()
    else:
        borrowers.models.give_back("a")  # nobody waits any more
    (folder / "tensors").write_bytes(b"0" * SIZE)
    with pytest.raises(OverloadedError) as caught:
        borrowers.borrow("y", "b", folder)
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


def test_idle_ones_leave_where_the_machine_has_no_room(loads: list[str], make: MakeModels) -> None:
    borrowers = make(4)
    borrowers.use("idle")
    borrowers.borrow("x", "a")
    borrowers.settle()
    borrowers.borrow("y", "short")
    borrowers.settle()
    refusal = borrowers.got["y"]
    assert isinstance(refusal, UnavailableError)
    assert "not enough memory" in refusal.detail
    assert "idle" not in borrowers.models
    assert "a" in borrowers.models
    assert borrowers.models.size_bytes == SIZE
    assert loads == ["idle", "a", "short"]


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
