"""Which arithmetic a device gets."""

import pytest
import torch

from abet.errors import UsageError
from abet.training.precision import choose_arithmetic

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_a_cpu_trains_in_float32_without_loss_scaling() -> None:
    arithmetic = choose_arithmetic("auto", CPU)
    assert arithmetic.dtype is torch.float32
    assert not arithmetic.scaler().is_enabled()
    with arithmetic.autocast():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_on_a_cpu_is_refused(precision: str) -> None:
    with pytest.raises(UsageError, match=rf"training\.precision {precision}.*CPU trains in float32"):
        choose_arithmetic(precision, CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capability", "precision", "dtype"),
    [
        ((9, 0), "auto", torch.bfloat16),
        ((8, 0), "auto", torch.bfloat16),
        ((7, 5), "auto", torch.float16),
        ((7, 0), "float32", torch.float32),
        ((9, 0), "float16", torch.float16),
    ],
)
def test_a_gpu_gets_what_its_generation_is_good_at(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert choose_arithmetic(precision, GPU).dtype is dtype  # type: ignore[arg-type]


def test_bfloat16_on_an_older_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Tesla T4")
    with pytest.raises(UsageError, match="Tesla T4 is older than Ampere"):
        choose_arithmetic("bfloat16", GPU)
