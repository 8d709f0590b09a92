"""Maps that are kept of some images, for showing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abet.arrays import save_arrays
from abet.data.index import Pair
from abet.files import atomic_path

MAX_PIXELS: Final = 2**18
"""Of a map that is kept for the report: 683x341 of an image of 2048x1024."""

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


def shrink(sample: Arrays, *, max_pixels: int = MAX_PIXELS) -> Arrays:
    """The same sample with at most so many pixels: the photograph averaged, the maps by every n-th pixel.

    ``full_size`` (2,) keeps the rows and columns of the image itself.
    """
    height, width = sample["label"].shape
    sample = {**sample, "full_size": np.array([height, width])}
    step = 1
    while -(-height // step) * -(-width // step) > max_pixels:
        step += 1
    if step == 1:
        return sample
    places = tuple(slice((min(step, size) - 1) // 2, None, step) for size in (height, width))
    small = {key: np.ascontiguousarray(array[places]) if array.ndim > 1 else array for key, array in sample.items()}
    height, width = small["label"].shape
    shown = Image.fromarray(sample["image"]).resize((width, height), Image.Resampling.BOX)
    return {**small, "image": np.asarray(shown)}


def write_sample(path: Path, sample: Arrays) -> None:
    """Write a sample as an ``.npz`` file, atomically."""
    with atomic_path(path) as temporary:
        save_arrays(temporary, sample)
