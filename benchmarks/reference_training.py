"""Training's algorithms against the reference's own output: every entry of ``train_golden``, ours, its, the difference.

    ABET_GOLDEN_DIR=DIR python benchmarks/reference_training.py --output benchmarks/results/reference-training.md

With the reference's slips switched on where the entry holds one.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from common import machine, publish
from torch import Tensor

from abet.config import load_recipe
from abet.data.centroids import tile_centroids
from abet.data.epochs import EpochLists
from abet.labels import IGNORE
from abet.losses import count_valid, cross_entropy_sum
from abet.losses.class_weights import bounded_weights, class_counts
from abet.losses.image_weighted import image_weighted_sum
from abet.losses.relaxed import hard_boundary_sum, on_boundary, one_hot, relaxed_sum, relaxed_targets
from abet.metrics.confusion import confusion, summarise_confusion
from abet.optim import learning_rate_at
from abet.windows import windows

STRICT = (5, 6, 7, 11, 12, 17, 18)


class Row(NamedTuple):
    """One entry: what it is, our figure, the reference's, and the largest difference."""

    entry: str
    ours: str
    reference: str
    difference: float


def loss_and_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[float, float]:
    """The loss, and the sum of its gradient's magnitudes."""
    inputs = logits.clone().requires_grad_()
    value = loss(inputs)
    torch.autograd.backward(value)
    assert inputs.grad is not None
    return value.item(), inputs.grad.abs().sum().item()


def number(entry: str, ours: float, reference: float) -> Row:
    """A single figure, with its relative difference."""
    return Row(entry, f"{ours:.7g}", f"{reference:.7g}", abs(ours - reference) / max(abs(reference), 1e-30))


def numbers(entry: str, ours: Any, reference: Any) -> Row:
    """Many figures, with their largest relative difference."""
    mine, theirs = np.asarray(ours, float), np.asarray(reference, float)
    difference = np.abs(mine - theirs) / np.maximum(np.abs(theirs), 1e-30) if mine.shape == theirs.shape else np.inf
    shown = "x".join(map(str, theirs.shape))
    return Row(entry, f"{shown} figures", f"{shown} figures", float(np.max(np.where(mine == theirs, 0, difference))))


def exact(entry: str, what: str, ours: Any, reference: Any) -> Row:
    """Whole numbers: equal or not."""
    return Row(entry, what, what, 0.0 if np.array_equal(np.asarray(ours), np.asarray(reference)) else np.inf)


def image_weighted(arrays: Any, figures: Any) -> Iterator[Row]:
    """Image-weighted and plain cross-entropy."""
    for name, ignore, bound in (("map", 65, 6.0), ("cs", 255, 1.0)):
        target = arrays[f"imgwt/{name}/target"]
        labels = torch.from_numpy(np.where(target == ignore, IGNORE, target).astype(np.uint8))
        logits, slip = torch.from_numpy(arrays[f"imgwt/{name}/logits"]), name == "map"
        for batch in (False, True):
            entry = f"imgwt/{name}/batchw={batch}"
            loss = partial(
                image_weighted_sum, labels=labels, bound=bound, batch_statistics=batch, ignored_count_as_last=slip
            )
            found = loss_and_gradient(loss, logits)
            yield number(f"{entry}: loss", found[0], figures[entry]["loss"])
            yield number(f"{entry}: sum of gradient magnitudes", found[1], figures[entry]["grad_abs_sum"])
        counts = class_counts(labels, logits.shape[1])
        counts[:, -2] += counts[:, -1] * slip
        weights = bounded_weights(counts[:, :-1], counts[:, :-1].sum(1), bound)
        yield numbers(f"imgwt/{name}: class weights", weights[0], figures[f"imgwt/{name}/batchw=False"]["weights0"])
        mean = cross_entropy_sum(logits, labels) / count_valid(labels)
        yield number(f"ce/{name}", mean.item(), figures[f"ce/{name}"])


def relaxed(arrays: Any, figures: Any) -> Iterator[Row]:
    """Relaxed boundaries, strict classes, and the hard labels that follow."""
    logits, labels = torch.from_numpy(arrays["rlx/logits"]), torch.from_numpy(arrays["rlx/labels"])
    for name in ("relaxed", "strict", "after_off"):
        function, options = _form(name)
        slip = partial(function, labels=labels, bound=1.0, border_weights_of_whole_batch=True, **options)
        pair = loss_and_gradient(slip, logits)
        yield number(f"rlx/{name}: loss of two, with the slip", pair[0], figures[f"rlx/{name}/loss_B2"])
        yield number(f"rlx/{name}: sum of gradient magnitudes", pair[1], figures[f"rlx/{name}/grad_abs_sum_B2"])
        alone = [function(logits[[n]], labels[[n]], bound=1.0, **options).item() for n in range(2)]
        yield numbers(f"rlx/{name}: each image alone", alone, figures[f"rlx/{name}/loss_single"])
        targets, weights = _targets(name, labels)
        yield exact(f"rlx/{name}: target", f"{targets.numel()} values", targets, arrays[f"rlx/{name}/target"])
        yield numbers(f"rlx/{name}: class weights", weights, figures[f"rlx/{name}/class_weights0"])


def _form(name: str) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    if name == "after_off":
        return hard_boundary_sum, {}
    return relaxed_sum, {"strict": STRICT} if name == "strict" else {}


def _targets(name: str, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C + 1, H, W) whole numbers, and the class weights of the first image."""
    if name == "after_off":
        targets = one_hot(labels, 19).to(torch.int64) * (1 + on_boundary(labels).to(torch.int64))[:, None]
    else:
        targets = relaxed_targets(labels, 19, STRICT if name == "strict" else ()).to(torch.int64)
    counts = targets.sum((2, 3))
    return targets, bounded_weights(counts[:, :-1], counts.sum(1), 1.0)[0]


def sampling(arrays: Any, figures: Any) -> Iterator[Row]:
    """Places of classes, and one epoch's list."""
    found: dict[str, list[Any]] = {}
    for image in range(6):
        for train_id, x, y in tile_centroids(arrays[f"cu/label{image}"], 32, 19).tolist():
            found.setdefault(str(train_id), []).append([image, [x, y]])
    expected = figures["cu/centroids_tile32"]
    count = sum(map(len, expected.values()))
    yield Row("cu/centroids_tile32", f"{count} places", f"{count} places", 0.0 if found == expected else np.inf)
    places = [
        np.array([(image, *place) for image, place in expected.get(str(k), [])], np.int32).reshape(-1, 3)
        for k in range(12)
    ]
    lists = EpochLists(seed=0, images=40, share=0.5, places=places)
    drawn = [
        [f"im{image}"] if x < 0 else [f"img{image}", [x, y]]
        for image, x, y in lists.in_order(cast(np.random.Generator, np.random.RandomState(3)), boost=False).tolist()
    ]
    wanted = [entry[:2] for entry in figures["cu/build_epoch_seed3"]]
    what = f"{len(wanted)} crops"
    yield Row("cu/build_epoch_seed3", what, what, 0.0 if drawn == wanted else np.inf)


def schedules(figures: Any) -> Iterator[Row]:
    """The learning rate of each epoch, from the recipes."""
    for entry, recipe, per_epoch in (
        ("lr/mapillary_poly", "mapillary_pretrain", 1125),
        ("lr/cityscapes_scl_poly", "cityscapes_finetune", 185),
    ):
        config = load_recipe(recipe)
        steps = config.training.steps
        rates = [
            learning_rate_at(epoch * per_epoch, config.optimiser, steps=steps, steps_per_epoch=per_epoch)
            for epoch in range(steps // per_epoch)
        ]
        yield numbers(entry, rates, figures[entry])


def evaluation(arrays: Any, figures: Any) -> Iterator[Row]:
    """Sliding windows and the confusion matrix."""
    for entry in (key for key in figures if key.startswith("sliding/")):
        size, scale = entry.removeprefix("sliding/").split("@")
        height, width = map(int, size.split("x"))
        boxes = windows(height, width, int(1024 * max(float(scale), 1.0)))
        same = sorted(boxes) == sorted(map(tuple, figures[entry]))
        yield Row(entry, f"{len(boxes)} windows", f"{len(figures[entry])} windows", 0.0 if same else np.inf)
    matrix = confusion(arrays["hist/gt"], arrays["hist/pred"], 19)
    yield exact("hist/hist", "19x19 counts", matrix, arrays["hist/hist"])
    yield number("hist/miou", summarise_confusion(matrix)["miou"], figures["hist/miou"])


def rows(folder: Path) -> Iterator[Row]:
    """All of them."""
    arrays = np.load(folder / "train_golden.npz")
    figures = json.loads((folder / "train_golden.json").read_text())
    yield from image_weighted(arrays, figures)
    yield from relaxed(arrays, figures)
    yield from sampling(arrays, figures)
    yield from schedules(figures)
    yield from evaluation(arrays, figures)


def table(found: list[Row]) -> str:
    """Markdown."""
    lines = ["| entry | ours | reference | relative difference |", "|---|---|---|---|"]
    for row in found:
        difference = "equal" if row.difference == 0 else f"{row.difference:.1e}"
        lines.append(f"| {row.entry} | {row.ours} | {row.reference} | {difference} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write it as Markdown")
    folder = os.environ.get("ABET_GOLDEN_DIR")
    arguments = parser.parse_args()
    if not folder:
        parser.error("ABET_GOLDEN_DIR: name the folder that holds train_golden.npz and train_golden.json")
    found = list(rows(Path(folder)))
    worst = max(row.difference for row in found)
    text = (
        f"# Training's algorithms against the reference's output\n\n{machine()}\n\n{table(found)}\n\n"
        f"The largest relative difference is {worst:.1e}; float32 has 6e-8.\n"
    )
    publish(text, arguments.output)


if __name__ == "__main__":
    main()
