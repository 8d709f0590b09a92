"""Settings that belong to the process are changed for a moment and put back."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch

from abet.models.precision import at_least_float32, fastest_convolutions, full_precision, reproducible

Region = Callable[[torch.device], AbstractContextManager[None]]
CPU = torch.device("cpu")
GPU = torch.device("cuda")


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


@pytest.fixture
def restored() -> Iterator[None]:
    """Whatever a test sets, the next one starts with nothing set."""
    matmuls = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = torch.backends.fp32_precision, *(backend.fp32_precision for backend in matmuls)
    yield
    for backend, value in zip((torch.backends, *matmuls), before, strict=True):
        backend.fp32_precision = value


@pytest.mark.usefixtures("restored")
def test_explicit_settings_are_replaced_and_put_back() -> None:
    torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = "tf32", "bf16"
    with full_precision(CPU):
        assert settings()[:2] == ("ieee", "ieee")
    assert settings()[:2] == ("tf32", "bf16")


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("region", [full_precision, reproducible])
def test_what_was_inherited_is_inherited_again(region: Region) -> None:
    torch.backends.fp32_precision = "tf32"
    with region(CPU):
        assert settings()[:2] == ("ieee", "ieee")
    assert settings()[:4] == ("tf32",) * 4
    torch.backends.fp32_precision = "ieee"
    assert settings()[:4] == ("ieee",) * 4


@pytest.mark.parametrize("first", [full_precision, reproducible])
@pytest.mark.parametrize("second", [full_precision, reproducible])
def test_overlapping_threads_leave_what_was_before_the_first(first: Region, second: Region) -> None:
    """Each thread enters and leaves when told: first in, second in, first out, second out."""
    before = settings()
    steps = {name: threading.Event() for name in ("second may enter", "second is inside", "second may leave")}

    def other() -> None:
        steps["second may enter"].wait(10)
        with second(CPU):
            steps["second is inside"].set()
            steps["second may leave"].wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    with first(CPU):
        steps["second may enter"].set()
        assert steps["second is inside"].wait(10)
    inside = settings()
    steps["second may leave"].set()
    thread.join()
    assert inside[:2] == ("ieee", "ieee")
    assert inside[4:] == ((True, False) if second is reproducible else before[4:])
    assert settings() == before


def test_cudnn_times_its_kernels_in_training_on_a_gpu_alone_and_never_where_bits_must_repeat() -> None:
    before = settings()
    with fastest_convolutions(CPU):
        assert settings() == before
    with fastest_convolutions(GPU):
        assert settings() == (*before[:-1], True)
        with reproducible(CPU):
            assert settings()[-2:] == (True, False)
        assert settings() == (*before[:-1], True)
    assert settings() == before


@pytest.mark.parametrize("order", [(fastest_convolutions, reproducible), (reproducible, fastest_convolutions)])
def test_overlapping_threads_leave_the_search_as_it_was(order: tuple[Region, Region]) -> None:
    before = settings()
    first, second = order[0](GPU), order[1](GPU)
    first.__enter__()
    second.__enter__()
    assert torch.backends.cudnn.benchmark is False
    first.__exit__(None, None, None)
    assert torch.backends.cudnn.benchmark is (order[1] is fastest_convolutions)
    second.__exit__(None, None, None)
    assert settings() == before


def test_a_device_without_autocast_needs_none() -> None:
    with full_precision(torch.device("meta")):
        assert settings()[:2] == ("ieee", "ieee")


def test_full_precision_switches_autocast_off() -> None:
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision(CPU):
            assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize(("given", "computed"), [("bfloat16", "float32"), ("float32", "float32"), ("float64",) * 2])
def test_half_precision_is_computed_in_float32(given: str, computed: str) -> None:
    assert at_least_float32(torch.ones(1, dtype=getattr(torch, given))) == getattr(torch, computed)
