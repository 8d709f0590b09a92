"""A compiled network: the same parameters under the same names, and the steps of the uncompiled one."""

import shutil

import pytest
import torch
from torch import nn

from abet.errors import UsageError
from abet.models.compiling import compiled
from tests.conftest import unavailable
from tests.training.states import fresh, train

WITHOUT_DROPOUT = "model.trunk.dropout=[0,0,0,0,0,0]"
TOLERANCE = 1e-4
"""Of weights of about 0.1 and statistics of about 1, after three steps with other roundings."""


def pair() -> tuple[tuple[nn.Module, torch.optim.SGD], tuple[nn.Module, torch.optim.SGD]]:
    return fresh(0, WITHOUT_DROPOUT), fresh(0, WITHOUT_DROPOUT)


def test_a_machine_without_a_compiler_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"the C\+\+ compiler no-such-compiler is not there.*training\.compile=false"):
        compiled(nn.Identity())


@pytest.mark.faults  # compiling takes seconds
def test_steps_are_those_of_the_network_that_is_not_compiled_and_other_sizes_compile_nothing() -> None:
    (plain, first), (model, second) = pair()
    names = list(model.state_dict())
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    network = compiled(model, backend="aot_eager")
    train(plain, first, range(3))
    train(network, second, range(3))
    assert list(model.state_dict()) == names
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=name)
    with torch.inference_mode():
        for size in ((32, 48), (40, 33)):
            model.eval()(torch.randn(1, 3, *size))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.faults  # a compiler's minute
def test_inductors_gradients_are_those_of_the_network_that_is_not_compiled() -> None:
    if shutil.which("g++") is None:
        unavailable("no C++ compiler (g++), which inductor's kernels need")
    (plain, _), (model, _) = pair()
    torch.compiler.reset()
    torch.manual_seed(1)
    images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(5, (2, 32, 32))
    for network in (plain, compiled(model)):
        torch.autograd.backward(nn.functional.cross_entropy(network(images).logits, labels))
    for (name, parameter), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert (parameter.grad - other.grad).norm() < 1e-3 * parameter.grad.norm(), name
