"""Image-weighted cross-entropy: rare classes of a crop weigh more."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from abet.labels import IGNORE
from abet.losses.class_weights import bounded_weights, class_counts
from abet.losses.image_weighted import image_weighted_sum
from tests.losses.crops import crops, gradient_of
from tests.losses.reference import image_weighted


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("bound", [0.0, 1.0, 6.0])
def test_it_equals_a_loop_over_images_and_pixels(bound: float, batch: bool) -> None:
    logits, labels = crops()
    loss = image_weighted_sum(logits, labels, bound=bound, batch_statistics=batch)
    assert loss.item() == pytest.approx(image_weighted(logits.numpy(), labels.numpy(), bound, batch=batch), rel=1e-6)


def test_ignored_pixels_count_as_the_last_class_where_the_reference_is_repeated() -> None:
    logits, labels = crops()
    loss = image_weighted_sum(logits, labels, bound=6.0, ignored_count_as_last=True)
    expected = image_weighted(logits.numpy(), labels.numpy(), 6.0, ignored=logits.shape[1] - 1)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert loss.item() != pytest.approx(image_weighted_sum(logits, labels, bound=6.0).item(), rel=1e-4)


def test_a_batch_is_the_sum_of_its_images() -> None:
    logits, labels = crops(size=(3, 6, 7))
    parts = [image_weighted_sum(logits[[n]], labels[[n]], bound=6.0).item() for n in range(3)]
    assert image_weighted_sum(logits, labels, bound=6.0).item() == pytest.approx(sum(parts), rel=1e-6)


def test_without_a_bound_each_image_has_its_mean_cross_entropy() -> None:
    logits, labels = crops()
    means = [
        torch.nn.functional.cross_entropy(logits[[n]].double(), labels[[n]].long(), ignore_index=IGNORE)
        for n in range(2)
    ]
    assert image_weighted_sum(logits, labels, bound=0.0).item() == pytest.approx(sum(means).item(), rel=1e-6)


def test_an_image_without_a_valid_pixel_adds_nothing_and_has_no_gradient() -> None:
    logits, labels = crops()
    alone = image_weighted_sum(logits[:1], labels[:1], bound=6.0)
    labels[1] = IGNORE
    loss, gradient = gradient_of(lambda x: image_weighted_sum(x, labels, bound=6.0), logits)
    assert loss == pytest.approx(alone.item(), rel=1e-6)
    assert not gradient[1].any()
    assert gradient[0].any()


def test_it_is_computed_in_float32_inside_autocast_and_from_half_precision() -> None:
    logits, labels = crops()
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = image_weighted_sum(half, labels, bound=6.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(image_weighted(half.float().numpy(), labels.numpy(), 6.0), rel=1e-6)


def test_counts_are_exact_and_the_ignored_come_last() -> None:
    _, labels = crops()
    counts = class_counts(labels, 5)
    assert counts.tolist() == [[int((image == k).sum()) for k in (*range(5), IGNORE)] for image in labels]


def test_a_rare_class_weighs_up_to_the_bound_more_and_an_absent_one_one() -> None:
    weights = bounded_weights(torch.tensor([[99, 1, 0]]), torch.tensor([100]), 6.0)
    assert weights.tolist() == [[pytest.approx(1.06), pytest.approx(6.94), 1.0]]
    assert bounded_weights(torch.zeros(1, 3, dtype=torch.int64), torch.tensor([0]), 6.0).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(("name", "ignore", "bound"), [("map", 65, 6.0), ("cs", 255, 1.0)])
def test_it_agrees_with_the_reference_implementation(
    golden_dir: Path, name: str, ignore: int, bound: float, batch: bool
) -> None:
    golden = np.load(golden_dir / "train_golden.npz")
    expected = json.loads((golden_dir / "train_golden.json").read_text())[f"imgwt/{name}/batchw={batch}"]
    target = golden[f"imgwt/{name}/target"]
    labels = torch.from_numpy(np.where(target == ignore, IGNORE, target).astype(np.uint8))
    loss, gradient = gradient_of(
        lambda x: image_weighted_sum(
            x, labels, bound=bound, batch_statistics=batch, ignored_count_as_last=name == "map"
        ),
        torch.from_numpy(golden[f"imgwt/{name}/logits"]),
    )
    assert loss == pytest.approx(expected["loss"], rel=1e-6)
    assert gradient.abs().sum().item() == pytest.approx(expected["grad_abs_sum"], rel=1e-6)
    if not batch:
        counts = class_counts(labels, gradient.shape[1])[:1]
        counts[:, -2] += counts[:, -1] * (name == "map")
        weights = bounded_weights(counts[:, :-1], counts[:, :-1].sum(1), bound)
        np.testing.assert_allclose(weights[0].numpy(), expected["weights0"], rtol=1e-6)
