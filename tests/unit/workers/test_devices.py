import os
from pathlib import Path

import pytest

from service.settings import Settings
from workers.devices import NoDeviceError, find_devices, trainer_threads
from workers.trainer_process import environment

TABLE = "0, NVIDIA H200, 143771\n1, NVIDIA H200, [N/A]\n"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name which prints a table, the only one on the path."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '%s' '{TABLE}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def with_device(settings: Settings, device: str) -> Settings:
    return settings.model_copy(update={"device": device})


@pytest.mark.usefixtures("nvidia_smi")
def test_gpus_are_found(settings: Settings) -> None:
    devices = find_devices(with_device(settings, "auto"))
    assert (devices.queue, devices.gpus) == ("gpu", ("0", "1"))
    assert devices.description["gpus"] == [
        {"id": "0", "name": "NVIDIA H200", "memory_mebibytes": 143771},
        {"id": "1", "name": "NVIDIA H200", "memory_mebibytes": None},
    ]


@pytest.mark.usefixtures("nvidia_smi")
def test_cpu_means_no_gpu(settings: Settings) -> None:
    assert find_devices(with_device(settings, "cpu"))[:2] == ("cpu", ())


@pytest.mark.parametrize(("visible", "gpus"), [("1", ("1",)), ("GPU-x", ("GPU-x",)), ("", ())])
@pytest.mark.usefixtures("nvidia_smi")
def test_only_visible_gpus_count(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, visible: str, gpus: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_devices(with_device(settings, "auto")).gpus == gpus


def test_a_driver_that_does_not_answer_is_no_gpu(settings: Settings, nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\nexit 9\n")
    assert find_devices(with_device(settings, "auto")).queue == "cpu"
    with pytest.raises(NoDeviceError, match="nvidia-smi finds no GPU"):
        find_devices(with_device(settings, "cuda"))


def test_threads(settings: Settings) -> None:
    cores = len(os.sched_getaffinity(0))
    assert trainer_threads(settings.model_copy(update={"worker_slots": 1})) == cores
    assert trainer_threads(settings.model_copy(update={"worker_slots": 10 * cores})) == 1
    assert trainer_threads(settings.model_copy(update={"trainer_threads": 3})) == 3


def test_a_trainer_gets_no_secret_and_one_gpu() -> None:
    own = {"PATH": "/bin", "REPRISE_DATABASE_URL": "postgresql://u:secret@h/d", "X": "y"}
    given = environment(own, threads=2, gpu="1", keeps_memory=True)
    assert not any(name.startswith("REPRISE_") for name in given)
    assert (given["PATH"], given["X"]) == ("/bin", "y")
    assert (given["OMP_NUM_THREADS"], given["CUDA_VISIBLE_DEVICES"]) == ("2", "1")
    assert environment(own, threads=2, gpu=None, keeps_memory=True)["CUDA_VISIBLE_DEVICES"] == ""


def test_a_trainers_threads_sleep_while_they_wait_unless_told_otherwise() -> None:
    assert environment({}, threads=2, gpu=None, keeps_memory=True)["OMP_WAIT_POLICY"] == "PASSIVE"
    told = environment({"OMP_WAIT_POLICY": "ACTIVE"}, threads=2, gpu=None, keeps_memory=True)
    assert told["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_trainer_keeps_the_memory_that_it_has_freed_unless_it_is_bounded() -> None:
    """docs/decisions/0024."""
    name = "MALLOC_TRIM_THRESHOLD_"
    assert int(environment({}, threads=2, gpu=None, keeps_memory=True)[name]) > 100 << 20
    assert name not in environment({}, threads=2, gpu=None, keeps_memory=False)
    assert environment({name: "1"}, threads=2, gpu=None, keeps_memory=True)[name] == "1"
