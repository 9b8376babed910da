"""Where networks are computed, and what is said where that cannot be."""

import logging

import pytest
import torch

from service.errors import UnavailableError
from service.inference import device
from service.inference.requests import DeviceChoice


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_without_a_gpu_it_is_the_cpu(
    wanted: DeviceChoice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert device.choose(wanted) == "cpu"
    assert [record.name for record in caplog.records] == ["service.inference.device"] * (
        wanted == "auto"
    )


@pytest.mark.parametrize(("wanted", "chosen"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_a_gpu_is_taken_where_it_may_be(
    wanted: DeviceChoice, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA T4")
    assert device.choose(wanted) == chosen


@pytest.mark.usefixtures("no_gpu")
def test_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(UnavailableError) as caught:
        device.choose("cuda")
    said = f"REPRISE_INFERENCE_DEVICE is cuda, but torch {torch.__version__} is built without CUDA."
    assert caught.value.detail == said


@pytest.mark.usefixtures("no_gpu")
def test_what_torch_says_of_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system.\nPlease check.")

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    with pytest.raises(UnavailableError, match=r"no GPU: Found no NVIDIA driver on your system\.$"):
        device.choose("cuda")


def test_a_broken_context_is_told_from_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert not device.is_lost()
    monkeypatch.setattr(torch.cuda, "synchronize", refuse)
    assert device.is_lost()
