"""One optimiser step, on a network without batch statistics: then micro-batches add up exactly."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abet.checkpoint import Normalisation
from abet.config import CrossEntropyConfig, ImageWeightedConfig, LossConfig, QuirkConfig, RelaxedConfig
from abet.data.loader import Batch
from abet.distributed import Topology
from abet.labels import IGNORE
from abet.losses import count_valid
from abet.losses.image_weighted import image_weighted_sum
from abet.losses.relaxed import relaxed_sum
from abet.models.head import Output
from abet.models.inputs import normalise
from abet.train import _optimise
from abet.training.precision import choose_arithmetic
from abet.training.record import NonFiniteLossError, Record

CPU = Topology(device=torch.device("cpu"))
NORMALISATION = Normalisation()


PLAIN = CrossEntropyConfig(kind="cross_entropy")
WEIGHTED = ImageWeightedConfig(kind="image_weighted", class_weight_bound=6.0, batch_statistics=False, images_summed=2)
RELAXED = RelaxedConfig(
    kind="relaxed", class_weight_bound=1.0, strict_classes=(2,), last_relaxed_epoch=0, images_summed=4
)


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


def step(model: nn.Module, micro: list[Batch], record: Any = None, loss: LossConfig = PLAIN) -> float:
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
        recipe=SimpleNamespace(
            training=SimpleNamespace(seed=0),
            model=SimpleNamespace(num_classes=5),
            loss=loss,
            reference_quirks=QuirkConfig(),
        ),
        plan=SimpleNamespace(global_batch=sum(len(batch.labels) for batch in micro)),
        steps_per_epoch=1,
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


@pytest.mark.parametrize("config", [WEIGHTED, RELAXED], ids=lambda config: config.kind)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_losses_of_images_take_the_step_of_so_many_times_their_mean_however_the_batch_is_cut(
    config: ImageWeightedConfig | RelaxedConfig, size: int
) -> None:
    images, labels = (torch.cat([batch[part] for batch in batches()]) for part in (0, 1))
    cuts = [slice(start, start + size) for start in range(0, 4, size)]
    model, plain = network(), network()
    found = step(model, [Batch(images[cut], labels[cut], ("a",), ()) for cut in cuts], loss=config)

    logits = plain(normalise(images, NORMALISATION.mean, NORMALISATION.std)).logits
    if config.kind == "image_weighted":
        mean = image_weighted_sum(logits, labels, bound=6.0) / 4
    else:
        mean = relaxed_sum(logits, labels, bound=1.0, strict=(2,)) / 4
    (config.images_summed * mean).backward()
    assert found == pytest.approx(mean.item(), rel=1e-6)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [PLAIN, WEIGHTED, RELAXED], ids=lambda config: config.kind)
def test_a_batch_without_a_valid_pixel_changes_nothing_and_loses_nothing(config: LossConfig) -> None:
    model, before = network(), network()
    (batch, _) = batches()
    assert step(model, [batch._replace(labels=torch.full_like(batch.labels, IGNORE))], loss=config) == 0
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
