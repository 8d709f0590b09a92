"""What a GPU is doing: asked where there is one, and no failure where its library is not."""

from typing import Any

import pynvml
import pytest
import torch

from abet.training.gpu import gpu_figures

CUDA = torch.device("cuda", 0)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A GPU of which 3 GiB were used at most; returns what was asked of it."""
    asked: list[str] = []

    def reset(_device: Any) -> None:
        asked.append("reset")

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "utilization", lambda _device: 85)
    return asked


def test_a_cpu_has_none() -> None:
    assert gpu_figures(torch.device("cpu")) == {}


def test_peak_memory_since_the_last_row_and_utilisation(card: list[str]) -> None:
    assert gpu_figures(CUDA) == {"gpu_memory_gib": 3.0, "gpu_utilisation": 0.85}
    assert card == ["reset"]


@pytest.mark.parametrize("error", [ModuleNotFoundError("pynvml"), RuntimeError("NVML"), pynvml.NVMLError(3)])
def test_a_library_that_does_not_answer_costs_the_utilisation_alone(
    card: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_device: Any) -> int:
        raise error

    monkeypatch.setattr(torch.cuda, "utilization", fail)
    assert gpu_figures(CUDA) == {"gpu_memory_gib": 3.0}
