"""Boundary label relaxation, and the hard labels that follow it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abet.labels import IGNORE
from abet.losses.relaxed import hard_boundary_sum, on_boundary, relaxed_sum, relaxed_targets
from tests.losses.crops import crops, gradient_of
from tests.losses.reference import boundary_loss, differs, window_classes

STRICT = (1, 3)
FORMS: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "relaxed": (relaxed_sum, {}),
    "strict": (relaxed_sum, {"strict": STRICT}),
    "hard": (hard_boundary_sum, {"hard": True}),
}


def patches(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels in patches, so that windows hold one, two or more classes, some of them ignored alone."""
    logits, _ = crops(size=(3, 8, 9), seed=seed)
    small = np.random.default_rng(seed).choice([0, 1, 2, 3, 4, IGNORE], (3, 3, 3)).astype(np.uint8)
    small[0, :2, :2] = IGNORE
    return logits / 4, torch.from_numpy(np.kron(small, np.ones((3, 3), np.uint8))[:, :8])


@pytest.mark.parametrize("slip", [False, True])
@pytest.mark.parametrize("bound", [0.0, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_it_equals_a_loop_over_images_pixels_and_classes(form: str, bound: float, slip: bool) -> None:
    function, options = FORMS[form]
    logits, labels = patches()
    given = {key: value for key, value in options.items() if key != "hard"}
    loss = function(logits, labels, bound=bound, border_weights_of_whole_batch=slip, **given)
    expected = boundary_loss(logits.numpy(), labels.numpy(), bound, slip=slip, **options)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("strict", [(), STRICT])
def test_targets_are_the_classes_of_the_window(strict: tuple[int, ...]) -> None:
    _, labels = patches()
    targets = relaxed_targets(labels, 5, strict)
    for b, y, x in np.ndindex(*labels.shape):
        expected = window_classes(labels[b].numpy(), y, x, 5, strict)
        assert set(targets[b, :, y, x].nonzero().flatten().tolist()) == expected


def test_a_pixel_is_on_a_boundary_where_one_of_four_neighbours_differs() -> None:
    _, labels = patches()
    found = on_boundary(labels)
    for b, y, x in np.ndindex(*labels.shape):
        assert bool(found[b, y, x]) == differs(labels[b].numpy(), y, x)


def test_beside_a_boundary_either_class_is_right() -> None:
    labels = torch.zeros(1, 4, 6, dtype=torch.uint8)
    labels[..., 3:] = 1
    logits = torch.zeros(1, 3, 4, 6)
    logits[:, 0, :, 2:4], logits[:, 1, :, 2:4] = 30.0, -30.0  # sure of class 0 on both sides of the boundary
    logits[:, 0, :, :2], logits[:, 1, :, 4:] = 30.0, 30.0
    assert relaxed_sum(logits, labels, bound=0.0).item() < 1e-6
    assert hard_boundary_sum(logits, labels, bound=0.0).item() > 1


def test_an_ignored_pixel_beside_a_labelled_one_learns_its_neighbours_class() -> None:
    labels = torch.full((1, 5, 5), IGNORE, dtype=torch.uint8)
    labels[0, 2, 2] = 1
    _, gradient = gradient_of(lambda x: relaxed_sum(x, labels, bound=0.0, strict=(1,)), torch.zeros(1, 3, 5, 5))
    learned = gradient[0].abs().sum(0) > 0
    assert learned.tolist() == [[abs(y - 2) < 2 and abs(x - 2) < 2 for x in range(5)] for y in range(5)]


@pytest.mark.parametrize("form", FORMS)
def test_an_image_without_a_valid_pixel_adds_nothing_and_has_no_gradient(form: str) -> None:
    function = FORMS[form][0]
    logits, labels = patches()
    labels[1] = IGNORE
    alone = sum(function(logits[[n]], labels[[n]], bound=1.0).item() for n in (0, 2))
    loss, gradient = gradient_of(lambda x: function(x, labels, bound=1.0), logits)
    assert loss == pytest.approx(alone, rel=1e-6)
    assert not gradient[1].any()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    """In float32, since the losses are: steps of 0.05 around a loss of a few units, so one per cent."""
    function = FORMS[form][0]
    logits, labels = patches()
    _, gradient = gradient_of(lambda x: function(x, labels, bound=1.0), logits)
    direction = torch.from_numpy(np.random.default_rng(1).normal(0, 1, logits.shape).astype(np.float32))
    ahead, behind = (function(logits + sign * 0.05 * direction, labels, bound=1.0) for sign in (1, -1))
    assert ((ahead - behind) / 0.1).item() == pytest.approx((gradient * direction).sum().item(), rel=1e-2)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_computed_in_float32_inside_autocast_and_from_half_precision(form: str) -> None:
    function = FORMS[form][0]
    logits, labels = patches()
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = function(half, labels, bound=1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(function(half.float(), labels, bound=1.0).item(), rel=1e-6)


def test_a_nan_in_the_logits_is_not_hidden() -> None:
    logits, labels = patches()
    labels[1] = 2
    logits[1, 0, 4, 4] = torch.nan
    assert relaxed_sum(logits, labels, bound=1.0).isnan()
    assert hard_boundary_sum(logits, labels, bound=1.0).isnan()


REFERENCE_STRICT = (5, 6, 7, 11, 12, 17, 18)


@pytest.mark.parametrize("name", ["relaxed", "strict", "after_off"])
def test_it_agrees_with_the_reference_implementation(golden_dir: Path, name: str) -> None:
    arrays = np.load(golden_dir / "train_golden.npz")
    figures = json.loads((golden_dir / "train_golden.json").read_text())
    logits, labels = torch.from_numpy(arrays["rlx/logits"]), torch.from_numpy(arrays["rlx/labels"])
    options = {"strict": REFERENCE_STRICT} if name == "strict" else {}
    function = hard_boundary_sum if name == "after_off" else relaxed_sum
    loss, gradient = gradient_of(
        lambda x: function(x, labels, bound=1.0, border_weights_of_whole_batch=True, **options), logits
    )
    assert loss == pytest.approx(figures[f"rlx/{name}/loss_B2"], rel=1e-6)
    assert gradient.abs().sum().item() == pytest.approx(figures[f"rlx/{name}/grad_abs_sum_B2"], rel=1e-6)
    for number, alone in enumerate(figures[f"rlx/{name}/loss_single"]):
        one = function(logits[[number]], labels[[number]], bound=1.0, **options)
        assert one.item() == pytest.approx(alone, rel=1e-6)
    if name != "after_off":
        targets = relaxed_targets(labels, 19, REFERENCE_STRICT if name == "strict" else ())
        np.testing.assert_array_equal(targets.numpy(), arrays[f"rlx/{name}/target"])
