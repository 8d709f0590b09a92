"""Settings that belong to the process are changed for a moment and put back."""

import pytest
import torch

from abet.models.precision import at_least_float32, full_precision, reproducible

CPU = torch.device("cpu")


def settings() -> tuple[object, ...]:
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    matmuls = (torch.backends.cuda.matmul.fp32_precision, mkldnn.matmul.fp32_precision)
    return (*matmuls, cudnn.conv.fp32_precision, mkldnn.conv.fp32_precision, cudnn.deterministic, cudnn.benchmark)


def test_reproducible_asks_for_exact_deterministic_kernels_and_restores_what_was() -> None:
    before = settings()
    with reproducible(CPU):
        assert settings() == ("ieee", "ieee", "ieee", "ieee", True, False)
    assert settings() == before


def test_an_error_inside_restores_too() -> None:
    before = settings()
    with pytest.raises(RuntimeError, match="inside"), reproducible(CPU):
        raise RuntimeError("inside")
    assert settings() == before


def test_full_precision_switches_autocast_off() -> None:
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision(CPU):
            assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize(("given", "computed"), [("bfloat16", "float32"), ("float32", "float32"), ("float64",) * 2])
def test_half_precision_is_computed_in_float32(given: str, computed: str) -> None:
    assert at_least_float32(torch.ones(1, dtype=getattr(torch, given))) == getattr(torch, computed)
