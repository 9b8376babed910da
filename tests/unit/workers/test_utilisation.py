"""Samples of processor, memory and GPUs; `nvidia-smi` is a script here."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workers.utilisation import Utilisation

TABLE = "0, GPU-aaaa-1, 93, 70000\n1, GPU-bbbb-2, [N/A], [N/A]\n2, GPU-cccc-3, 0, 3\n"
UNKNOWN = {"utilisation": None, "memory_used_mebibytes": None}


def gpu(name: str) -> dict[str, Any]:
    return {"id": name, "name": "NVIDIA H200", "memory_mebibytes": 143771}


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, the first on the path."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    answer_with(program, f"printf '%s' '{TABLE}'")
    return program


def answer_with(program: Path, script: str) -> None:
    """Counts its calls, and notes what it was asked."""
    program.write_text(f'#!/bin/sh\necho "$@" >> {program}.asked\n{script}\n')
    program.chmod(0o755)


def asked(program: Path) -> list[str]:
    return Path(f"{program}.asked").read_text().splitlines()


@pytest.fixture
def made() -> Iterator[list[Utilisation]]:
    """Those that are stopped at the end."""
    those: list[Utilisation] = []
    yield those
    for each in those:
        each.stop()


def answered(utilisation: Utilisation) -> dict[str, Any]:
    """A sample after the query before it has ended."""
    wait(utilisation)
    return utilisation.sample()


def wait(utilisation: Utilisation) -> None:
    query = utilisation._query
    assert query is not None
    query.wait(10)


def test_processor_and_memory_are_those_of_the_machine() -> None:
    utilisation = Utilisation({"cores": 2, "gpus": []})
    busy_until = time.process_time() + 0.2
    while time.process_time() < busy_until:
        pass
    sample = utilisation.sample()
    assert 0 < sample["processor_utilisation"] <= 1
    assert sample["memory_bytes"] == psutil.virtual_memory().total
    assert 0 < sample["memory_used_bytes"] < sample["memory_bytes"]
    assert (sample["cores"], sample["gpus"]) == (2, [])


def test_a_gpu_is_found_by_its_index_and_by_how_its_uuid_begins(
    nvidia_smi: Path, made: list[Utilisation]
) -> None:
    names = ["0", "GPU-bbbb", "GPU-cccc-3", "MIG-dddd"]
    made.append(Utilisation({"cores": 2, "gpus": [gpu(name) for name in names]}))
    assert answered(made[0])["gpus"] == [
        {**gpu("0"), "utilisation": 0.93, "memory_used_mebibytes": 70000},
        {**gpu("GPU-bbbb"), **UNKNOWN},
        {**gpu("GPU-cccc-3"), "utilisation": 0.0, "memory_used_mebibytes": 3},
        {**gpu("MIG-dddd"), **UNKNOWN},
    ]
    assert asked(nvidia_smi)[0] == (
        "--query-gpu=index,uuid,utilization.gpu,memory.used --format=csv,noheader,nounits"
    )


def test_each_sample_is_of_the_query_that_the_last_one_began(
    nvidia_smi: Path, made: list[Utilisation]
) -> None:
    made.append(Utilisation({"cores": 2, "gpus": [gpu("0")]}))
    wait(made[0])
    answer_with(nvidia_smi, "printf '0, GPU-aaaa-1, 5, 6\\n'")
    assert answered(made[0])["gpus"][0]["utilisation"] == 0.93
    assert answered(made[0])["gpus"][0]["utilisation"] == 0.05


def test_a_query_that_hangs_is_not_waited_for_nor_asked_again(
    nvidia_smi: Path, made: list[Utilisation]
) -> None:
    answer_with(nvidia_smi, "exec sleep 600")
    made.append(Utilisation({"cores": 2, "gpus": [gpu("0")]}))
    query = made[0]._query
    assert query is not None
    for _ in range(3):
        sample = made[0].sample()
        assert sample["gpus"] == [{**gpu("0"), **UNKNOWN}]
        assert sample["memory_bytes"] is not None
        assert made[0]._query is query
    made[0].stop()
    assert query.returncode == -9


@pytest.mark.parametrize("script", ["exit 9", f"printf '%s' '{TABLE}'; exit 9"])
def test_a_driver_that_fails_says_nothing(
    nvidia_smi: Path, made: list[Utilisation], script: str
) -> None:
    answer_with(nvidia_smi, script)
    made.append(Utilisation({"cores": 2, "gpus": [gpu("0")]}))
    wait(made[0])
    answer_with(nvidia_smi, f"printf '%s' '{TABLE}'")
    assert made[0].sample()["gpus"] == [{**gpu("0"), **UNKNOWN}]
    assert answered(made[0])["gpus"][0]["utilisation"] == 0.93  # it has come back


def test_a_program_that_cannot_be_started_is_not_tried_again(
    nvidia_smi: Path, made: list[Utilisation]
) -> None:
    made.append(Utilisation({"cores": 2, "gpus": [gpu("0")]}))
    nvidia_smi.unlink()
    answered(made[0])
    assert made[0].sample()["gpus"] == [{**gpu("0"), **UNKNOWN}]


def test_without_a_gpu_nothing_is_asked(nvidia_smi: Path, made: list[Utilisation]) -> None:
    made.append(Utilisation({"cores": 2, "gpus": []}))
    made[0].sample()
    assert not Path(f"{nvidia_smi}.asked").exists()


def test_what_the_kernel_hides_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        raise FileNotFoundError("/proc")

    monkeypatch.setattr(psutil, "cpu_percent", hidden)
    monkeypatch.setattr(psutil, "virtual_memory", hidden)
    sample = Utilisation({"cores": 2, "gpus": []}).sample()
    assert sample["processor_utilisation"] is sample["memory_used_bytes"] is None
