"""Where Triton's kernels are used, and what is said where they do not work."""

from collections.abc import Iterator

import pytest
import torch

from abet.models import kernel_choice
from abet.models.kernel_choice import kernels_on, use_kernels

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test finds out is nothing to the next."""
    monkeypatch.delenv("ABET_KERNELS", raising=False)
    kernel_choice._work.cache_clear()
    yield
    kernel_choice._work.cache_clear()


def test_a_processor_has_none() -> None:
    assert not use_kernels(torch.ones(1))


def test_they_are_used_where_they_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "_wrong", lambda _device: "")
    assert kernels_on(GPU)
    monkeypatch.setenv("ABET_KERNELS", "0")
    assert not kernels_on(GPU)


def test_amd_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "_wrong", lambda _device: "")
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert not kernels_on(GPU)


@pytest.mark.parametrize("said", ["neighbour_products gives 3.0", "Failed to find C compiler"])
def test_wrong_results_and_failures_are_said_once(
    said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(_device: torch.device) -> str:
        if "gives" in said:
            return said
        raise RuntimeError(f"at 1:1\n{said}")

    monkeypatch.setattr(kernel_choice, "_wrong", wrong)
    assert not kernels_on(GPU)
    assert not kernels_on(GPU)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"do not work on cuda:0, slower operations take over: {said}. They need Triton, a C compiler" in line


def test_too_little_memory_says_nothing_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_device: torch.device) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(kernel_choice, "_wrong", full)
    with pytest.raises(torch.OutOfMemoryError):
        kernels_on(GPU)
    monkeypatch.setattr(kernel_choice, "_wrong", lambda _device: "")
    assert kernels_on(GPU)
