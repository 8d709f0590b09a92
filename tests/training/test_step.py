"""One optimiser step, on a network without batch statistics: then micro-batches add up exactly."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abet.checkpoint import Normalisation
from abet.data.loader import Batch
from abet.distributed import Topology
from abet.labels import IGNORE
from abet.losses import count_valid
from abet.models.head import Output
from abet.models.inputs import normalise
from abet.train import _optimise
from abet.training.precision import choose_arithmetic
from abet.training.record import NonFiniteLossError, Record

CPU = Topology(device=torch.device("cpu"))
NORMALISATION = Normalisation()


class Pixelwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 1)

    def forward(self, images: Tensor) -> Output:
        return Output(self.convolution(images))


def network() -> Pixelwise:
    torch.manual_seed(0)
    return Pixelwise()


def batches() -> list[Batch]:
    """Two micro-batches, one with ten times as many valid pixels as the other."""
    torch.manual_seed(1)
    images = torch.randint(256, (4, 10, 12, 3), dtype=torch.uint8)
    labels = torch.randint(5, (4, 10, 12), dtype=torch.uint8)
    labels[2:, 1:] = IGNORE
    return [Batch(images[part], labels[part], ("a", "b"), ()) for part in (slice(0, 2), slice(2, 4))]


def step(model: nn.Module, micro: list[Batch], record: Any = None) -> float:
    session = SimpleNamespace(
        network=model,
        step=0,
        optimiser=torch.optim.SGD(model.parameters(), lr=9.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        copy_statistics=list,
        restore_statistics=lambda _statistics: None,
    )
    job = SimpleNamespace(
        topology=CPU,
        arithmetic=choose_arithmetic("auto", CPU.device),
        recipe=SimpleNamespace(training=SimpleNamespace(seed=0)),
    )
    valid = sum(count_valid(batch.labels) for batch in micro)
    return _optimise(cast(Any, job), cast(Any, session), record, micro, lr=0.1, valid_pixels=valid)


def test_accumulated_micro_batches_take_the_step_of_the_mean_over_all_valid_pixels() -> None:
    model, plain, micro = network(), network(), batches()
    found = step(model, micro)

    images, labels = (torch.cat([batch[part] for batch in micro]) for part in (0, 1))
    logits = plain(normalise(images, NORMALISATION.mean, NORMALISATION.std)).logits
    loss = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE)
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad, rtol=1e-5, atol=1e-7)


def test_a_batch_without_a_valid_pixel_changes_nothing_and_loses_nothing() -> None:
    model, before = network(), network()
    (batch, _) = batches()
    assert step(model, [batch._replace(labels=torch.full_like(batch.labels, IGNORE))]) == 0
    assert all(map(torch.equal, model.state_dict().values(), before.state_dict().values()))


def test_a_gradient_that_is_not_finite_is_no_step_even_where_the_loss_is_finite() -> None:
    class FailedError(Exception):
        pass

    def fail(mean: float, losses: list[float], names: list[str]) -> None:
        assert math.isfinite(mean)
        assert all(map(math.isfinite, losses))
        assert names == ["a", "b", "a", "b"]
        raise FailedError

    model, before = network(), network()
    model.convolution.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(FailedError):
        step(model, batches(), SimpleNamespace(save_and_fail=fail))
    assert all(map(torch.equal, model.state_dict().values(), before.state_dict().values()))


@pytest.mark.parametrize(("scale", "fails"), [(2.0**-20, True), (2.0**-10, False)])
def test_loss_scaling_that_never_finds_a_finite_gradient_is_an_error(scale: float, fails: bool) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    job = SimpleNamespace(topology=CPU, recipe=SimpleNamespace(training=SimpleNamespace(log_every_steps=5)))
    record = Record(job=cast(Any, job), session=cast(Any, SimpleNamespace(step=5, scaler=scaler)), tracker=None)
    if not fails:
        record.step(1.0, 0.1, 0.0, [])
        return
    with pytest.raises(NonFiniteLossError, match=r"step 5: no loss scale is small enough.*training\.precision=float32"):
        record.step(1.0, 0.1, 0.0, [])


def test_weights_that_are_not_finite_never_replace_a_checkpoint(tmp_path: Any) -> None:
    job = SimpleNamespace(topology=CPU, run=tmp_path, output=tmp_path)
    session = SimpleNamespace(step=7, is_finite=lambda: False)
    record = Record(job=cast(Any, job), session=cast(Any, session), tracker=None)
    with pytest.raises(
        NonFiniteLossError, match=r"after step 7 are not finite either.*keeps the checkpoints from before"
    ):
        record.save_and_fail(math.nan, [math.nan], ["a"])
    assert [path.name for path in (tmp_path / "failed_batches").iterdir()] == ["step-00000007-rank-0.json"]
