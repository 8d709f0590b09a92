"""What one core augments: the plain chain of Pillow and scipy, two libraries, and ours.

    python benchmarks/augmentation.py --output benchmarks/results/augmentation-cpu.md

A 1024x2048 image and its label become a 896x896 crop with the ranges of the recipe mapillary_pretrain. Chain,
torchvision and ours do the same to the same crops; albumentations draws its own from the same ranges. All of them take
turns crop by crop, and processor time is counted, so that what else runs on the machine weighs on all alike. Libraries
that are not installed are left out: `pip install torchvision==0.28.0 albumentations==2.0.8`, best in an environment of
their own.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import machine, positive, publish
from PIL import Image, ImageEnhance, ImageOps

from abet.config import AugmentationConfig, load_recipe
from abet.data.blur import blurred
from abet.data.colours import jittered
from abet.data.images import ImageArray, IndexArray, read_image, read_label
from abet.data.resize import bicubic_window, nearest_window
from abet.data.transforms import Choices, apply, choose, crop_span, mirrored
from abet.labels import IGNORE

HEIGHT, WIDTH = 1024, 2048
TARGET = 240
"""Crops per second that eight GPUs are fed with."""
OURS, CHAIN = "abet", "plain chain"
Arrays = tuple[ImageArray, IndexArray]
Contestant = Callable[[Choices], object]


class Scene(NamedTuple):
    """An image and its label, with the detail of a photograph: about as many bytes as a PNG of Cityscapes has."""

    image: ImageArray
    label: IndexArray


def scene() -> Scene:
    """Blobs of colour under a little noise."""
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8))
    smooth = np.asarray(blobs.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = smooth + rng.normal(0, 1.5, smooth.shape).astype(np.int16)
    classes = Image.fromarray(rng.integers(0, 19, (32, 64), dtype=np.uint8))
    label = np.array(classes.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
    return Scene(noisy.clip(0, 255).astype(np.uint8), label)


# --- the plain chain


def plain_chain(pair: Scene, config: AugmentationConfig) -> Callable[[Choices], Arrays]:
    """Step by step over whole images, as it is mostly written."""
    gaussian_filter = import_module("scipy.ndimage").gaussian_filter

    def run(choices: Choices) -> Arrays:
        size = (int(WIDTH * choices.scale), int(HEIGHT * choices.scale))
        image = Image.fromarray(pair.image).resize(size, Image.Resampling.BICUBIC)
        label = Image.fromarray(pair.label).resize(size, Image.Resampling.NEAREST)
        border, box = geometry(size, choices, config)
        image, label = (ImageOps.expand(image, border), ImageOps.expand(label, border, fill=IGNORE))
        image, label = image.crop(box), label.crop(box)
        if choices.flip:
            image, label = ImageOps.mirror(image), ImageOps.mirror(label)
        for name, amount in choices.colours:
            image = PILLOW[name](image, amount)
        unit = np.asarray(image) / 255
        sigma = (choices.blur_sigma, choices.blur_sigma, 0)
        return (gaussian_filter(unit, sigma, mode="nearest", truncate=4) * 255).astype(np.uint8), np.array(label)

    return run


def geometry(
    size: tuple[int, int], choices: Choices, config: AugmentationConfig
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Padding at both ends (x, y), and the box to crop of what is padded."""
    crop = (config.crop_width, config.crop_height)
    border = [(part - side) // 2 + 1 if side < part else 0 for side, part in zip(size, crop, strict=True)]
    free = [side + 2 * pad - part for side, pad, part in zip(size, border, crop, strict=True)]
    x, y = (int(place * (room + 1)) for place, room in zip((choices.left, choices.top), free, strict=True))
    return (border[0], border[1]), (x, y, x + crop[0], y + crop[1])


def shift_hue(image: Image.Image, turns: float) -> Image.Image:
    """In bytes of HSV, which wrap."""
    planes = np.array(image.convert("HSV"))
    planes[..., 0] += np.uint8(round(turns * 255) % 256)
    return Image.fromarray(planes, "HSV").convert("RGB")


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": shift_hue,
}


# --- libraries


def torchvision(pair: Scene, config: AugmentationConfig) -> Contestant:
    """transforms.v2 on tensors of bytes, with one thread."""
    torch, modes = import_module("torch"), import_module("torchvision.transforms").InterpolationMode
    v2 = import_module("torchvision.transforms.v2.functional")
    torch.set_num_threads(1)
    image, label = torch.from_numpy(pair.image).permute(2, 0, 1), torch.from_numpy(pair.label)[None]
    steps = {name: getattr(v2, f"adjust_{name}") for name, _ in choose(np.random.default_rng(0), config).colours}

    def run(choices: Choices) -> tuple[Any, Any]:
        size = (int(WIDTH * choices.scale), int(HEIGHT * choices.scale))
        border, (x, y, *_) = geometry(size, choices, config)
        shown = v2.resize(image, size[::-1], interpolation=modes.BICUBIC, antialias=True)
        classes = v2.resize(label, size[::-1], interpolation=modes.NEAREST)
        shown, classes = v2.pad(shown, list(border)), v2.pad(classes, list(border), fill=IGNORE)
        box = (y, x, config.crop_height, config.crop_width)
        shown, classes = v2.crop(shown, *box), v2.crop(classes, *box)
        if choices.flip:
            shown, classes = v2.horizontal_flip(shown), v2.horizontal_flip(classes)
        for name, amount in choices.colours:
            shown = steps[name](shown, amount)
        taps = 2 * int(4 * choices.blur_sigma + 0.5) + 1
        return v2.gaussian_blur(shown, [taps, taps], [choices.blur_sigma] * 2), classes

    return run


def albumentations(pair: Scene, config: AugmentationConfig) -> Contestant:
    """Its own transforms with the same ranges, on OpenCV with one thread; OpenCV's cubic filter is another one."""
    library, cv2 = import_module("albumentations"), import_module("cv2")
    cv2.setNumThreads(1)
    modes = {"interpolation": cv2.INTER_CUBIC, "mask_interpolation": cv2.INTER_NEAREST, "area_for_downscale": "image"}
    size = (config.crop_height, config.crop_width)
    factors = [(1 - value, 1 + value) for value in (config.brightness, config.contrast, config.saturation)]
    sigmas = (config.blur_sigma_min, config.blur_sigma_max)
    steps = [
        library.RandomScale((config.scale_min - 1, config.scale_max - 1), p=1, **modes),
        library.PadIfNeeded(*size, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=IGNORE),
        library.RandomCrop(*size),
        library.HorizontalFlip(p=config.flip_probability),
        library.ColorJitter(*factors, (-config.hue, config.hue), p=1),
        library.GaussianBlur(blur_limit=0, sigma_limit=sigmas, p=1),
    ]
    chain = library.Compose(steps, seed=0)
    return lambda _: chain(image=pair.image, mask=pair.label)


LIBRARIES: dict[str, tuple[Callable[[Scene, AugmentationConfig], Contestant], str]] = {
    "torchvision": (torchvision, "BSD-3-Clause, maintained"),
    "albumentations": (albumentations, "MIT; without maintenance since 2025, its successor is under the AGPL"),
}


# --- ours, step by step


def steps_of_ours(pair: Scene, config: AugmentationConfig, choices: Choices) -> Iterator[tuple[str, float]]:
    """Milliseconds of each step."""
    rows = crop_span(HEIGHT, choices.scale, config.crop_height, choices.top)
    columns = crop_span(WIDTH, choices.scale, config.crop_width, choices.left)
    image, took = timed(lambda: bicubic_window(pair.image, rows, columns))
    yield "resize the window", took
    for step in choices.colours:
        image, took = timed(partial(jittered, image, [step]))
        yield step[0], took
    image, took = timed(lambda: blurred(image, choices.blur_sigma))
    yield "blur", took
    yield "mirror (half of the crops)", timed(lambda: mirrored(image))[1]
    yield "resize the label", timed(lambda: nearest_window(pair.label, rows, columns))[1]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the milliseconds of processor time it took, over all threads."""
    start = time.process_time()
    return call(), (time.process_time() - start) * 1e3


# --- the report


def contestants(pair: Scene, config: AugmentationConfig) -> tuple[dict[str, Contestant], list[str]]:
    """Who takes part, by the name in the table, and why others do not."""
    found: dict[str, Contestant] = {
        CHAIN: plain_chain(pair, config),
        OURS: lambda choices: apply(*pair, choices, config),
    }
    missing = []
    for name, (make, remark) in LIBRARIES.items():
        try:
            found[f"{name} {version(name)} ({remark})"] = make(pair, config)
        except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises the latter
            missing.append(f"{name} is left out: {error}.")
    return found, missing


def differences(pair: Scene, config: AugmentationConfig, crops: int) -> str:
    """How far our pixels are from those of the plain chain, over crops that are padded in neither."""
    chain = plain_chain(pair, config)
    images, labels = [], []
    for seed in range(crops):
        choices = choose(np.random.default_rng(seed), config)
        if min(HEIGHT, WIDTH) * choices.scale >= max(config.crop_height, config.crop_width):
            (wanted, wanted_label), (got, label) = chain(choices), apply(*pair, choices, config)
            images.append(np.abs(got.astype(np.int16) - wanted))
            labels.append(label != wanted_label)
    return (
        f"- Over {len(images)} crops without padding abet's pixels are {np.mean(images):.1f} grey levels from the "
        f"chain's on the average, and {np.max(images)} at most: the chain cuts to whole levels where abet rounds, and "
        f"its circle of hues has 255 steps. {np.mean(labels):.2%} of the label's pixels differ: Pillow sums places in "
        "floating point."
    )


def feeding(pair: Scene, ours: float, chain: float) -> str:
    """What a core feeds with decoding and without, and which of the two limits it."""
    with tempfile.TemporaryDirectory() as folder:
        label = Path(folder, "label.png")
        Image.fromarray(pair.label).save(label)
        decoding = {}
        for name in ("image.png", "image.jpg"):
            path = Path(folder, name)
            Image.fromarray(pair.image).save(path, quality=90)
            times = [timed(lambda path=path: (read_image(path), read_label(label)))[1] for _ in range(7)]  # type: ignore[misc]
            decoding[f"{name} of {path.stat().st_size / 1e6:.1f} MB"] = statistics.median(times)
    lines = [
        f"- {TARGET} crops/s take {TARGET * ours / 1e3:.1f} cores for augmentation alone (the chain: "
        f"{TARGET * chain / 1e3:.1f})."
    ]
    lines += [
        f"- With {took:.1f} ms to read an {name} and its label they take {TARGET * (ours + took) / 1e3:.1f} cores: "
        f"{'decoding' if took > ours else 'augmentation'} limits, {max(took, ours) / (took + ours):.0%} of the time."
        for name, took in decoding.items()
    ]
    return "\n".join(lines)


def row(name: str, milliseconds: float, baseline: float) -> str:
    """One line of the table."""
    return f"| {name} | {milliseconds:.1f} | {1e3 / milliseconds:.1f} | {baseline / milliseconds:.1f} |"


def report(repeats: int) -> str:
    """Measure everyone, and describe the result."""
    on, pair = machine(), scene()
    libraries = [f"{name} {version(name)}" for name in ("numpy", "pillow", "scipy", "opencv-python-headless")]
    config = load_recipe("mapillary_pretrain").augmentation
    runs, remarks = contestants(pair, config)
    times: dict[str, list[float]] = {name: [] for name in runs}
    steps: dict[str, list[float]] = {}
    for turn in range(-2, repeats):  # two crops warm up
        choices = choose(np.random.default_rng(turn + 2), config)
        took = {name: timed(partial(run, choices))[1] for name, run in runs.items()}
        for name, milliseconds in took.items() if turn >= 0 else ():
            times[name].append(milliseconds)
        for name, milliseconds in steps_of_ours(pair, config, choices) if turn >= 0 else ():
            steps.setdefault(name, []).append(milliseconds)
    means = {name: statistics.fmean(values) for name, values in times.items()}
    ours = means[OURS]
    lines = [
        "# Augmentation on one core\n",
        f"{on}; Python {platform.python_version()}, {', '.join(libraries)}. Means of {repeats} crops of "
        f"{config.crop_height}x{config.crop_width} from an image of {HEIGHT}x{WIDTH}, scale {config.scale_min} to "
        f"{config.scale_max}; milliseconds of processor time over all "
        "threads, contestants by turns.\n",
        "| | ms per crop | crops/s per core | times the chain |",
        "|---|---:|---:|---:|",
        *(row(name, value, means[CHAIN]) for name, value in sorted(means.items(), key=lambda item: -item[1])),
        "",
        *(f"- {remark}" for remark in remarks),
        *(
            f"- abet needs {ours / value:.2f} times the time of {name}."
            for name, value in means.items()
            if name != OURS
        ),
        differences(pair, config, 20),
        feeding(pair, ours, means[CHAIN]) + "\n",
        "| step of ours, on its own | ms |",
        "|---|---:|",
        *(f"| {name} | {statistics.fmean(values):.1f} |" for name, values in steps.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive, default=60, help="crops of each contestant")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    arguments = parser.parse_args()
    publish(report(arguments.repeats), arguments.output)


if __name__ == "__main__":
    main()
