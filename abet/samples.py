"""Maps that are kept of a few images, for showing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abet.data.index import Pair
from abet.files import atomic_path

MAX_WIDTH_PIXELS = 1024

Arrays = dict[str, NDArray[Any]]


def sample_names(pairs: Sequence[Pair], count: int) -> frozenset[str]:
    """``count`` image names spread evenly over the whole list, the same whatever the sharding."""
    if count <= 0:
        return frozenset()
    places = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return frozenset(pairs[place].name for place in places)


def make_sample(
    name: str,
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    scores: Mapping[str, NDArray[np.float32]],
) -> Arrays:
    """Arrays of one image as `abet.report.runs.load_sample` reads them, all (H, W); the image (H, W, 3) RGB."""
    maps = {f"score_{key}": np.ascontiguousarray(value) for key, value in scores.items()}
    return {"name": np.array(name), "image": image, "label": label, "prediction": prediction, **maps}


def shrink(sample: Arrays, *, max_width_pixels: int = MAX_WIDTH_PIXELS) -> Arrays:
    """The same sample at most so wide: the photograph averaged, the maps by every n-th pixel."""
    step = -(-sample["label"].shape[1] // max_width_pixels)
    if step == 1:
        return sample
    places = tuple(slice((min(step, size) - 1) // 2, None, step) for size in sample["label"].shape)
    small = {key: array if key == "name" else np.ascontiguousarray(array[places]) for key, array in sample.items()}
    height, width = small["label"].shape
    shown = Image.fromarray(sample["image"]).resize((width, height), Image.Resampling.BOX)
    return {**small, "image": np.asarray(shown)}


def write_sample(path: Path, sample: Arrays) -> None:
    """Write a sample as an ``.npz`` file, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **sample)  # type: ignore[arg-type]
