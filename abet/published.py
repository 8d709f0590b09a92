"""Reading published ``.pth`` files: AbeT's, NVIDIA's plain networks, the ImageNet trunks of NVIDIA and torchvision.

`abet.published_file` opens them without executing anything; here their names and shapes are matched with a network.

    abet checkpoint import weights/cityscapes_best.pth --output weights/nvidia-cityscapes
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from abet.checkpoint import MAX_CLASSES, Contents, Source, Weights
from abet.errors import CheckpointError
from abet.files import sha256_of
from abet.model_config import ModelConfig, ResNetConfig, TemperatureModel, TrunkConfig
from abet.models.deeplab import BEYOND_TRUNK
from abet.models.resnet import BLOCKS
from abet.published_file import read_tensors
from abet.text import printable

IMAGENET_ONLY = ("bn_out.", "classifier.", "fc.")
"""What the ImageNet files hold beyond their trunks: the classification head, which segmentation does not use."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that weights are published in; all are read into float32."""


@dataclass(frozen=True)
class ImportReport:
    """How a published file matched the network: names as in abet's checkpoints."""

    layout: str
    matched: int
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]


def _recognise(tensors: Mapping[str, torch.Tensor], path: Path) -> tuple[str, Contents, TemperatureModel, int]:
    """(layout, contents, temperature model, classes) by the names that tell the published files apart."""
    if "h.h.weight" in tensors:
        classes = _classes(tensors, "h.h.weight", path)
        if "h.h.bias" in tensors:
            return "AbeT, baseline head", "model", "baseline", classes
        return "AbeT, learned temperature", "model", "learned", classes
    if "final.6.weight" in tensors:
        return "NVIDIA plain network", "model", "none", _classes(tensors, "final.6.weight", path)
    if "mod1.conv1.weight" in tensors and not any(name.startswith("aspp.") for name in tensors):
        return "ImageNet trunk", "trunk", "none", 1
    if "layer4.0.conv1.weight" in tensors and not any(name.startswith("aspp.") for name in tensors):
        return "torchvision ResNet", "trunk", "none", 1
    raise CheckpointError(
        f"{path}: none of the known layouts (AbeT, NVIDIA plain, ImageNet trunk, torchvision ResNet); its first names "
        "are: " + _some(list(tensors), most=3)
    )


def _classes(tensors: Mapping[str, torch.Tensor], name: str, path: Path) -> int:
    """How many classes the 1x1 convolution ``name`` tells apart."""
    shape = tuple(tensors[name].shape)
    if len(shape) != 4 or shape[2:] != (1, 1) or not 1 <= shape[0] <= MAX_CLASSES:
        raise CheckpointError(
            f"{path}: the classifier {name} has the shape {printable(str(shape))}; expected (classes, features, 1, 1) "
            f"with 1 to {MAX_CLASSES} classes, which is what a uint8 class map holds"
        )
    return shape[0]


def _trunk(tensors: Mapping[str, torch.Tensor], base: TrunkConfig, path: Path) -> TrunkConfig:
    """The trunk that the file holds: a ResNet's depth follows from its names; others are as ``base`` says.

    Raises:
        CheckpointError: a ResNet of another depth than 50 or 101, or not a ResNet, and ``base`` is none for others.
    """
    blocks = _blocks(tensors)
    if not any(blocks):
        if isinstance(base, ResNetConfig):
            raise CheckpointError(
                f"{path}: its trunk is no ResNet, the recipe's is {base.kind}: name a recipe of the file's trunk "
                "(model.trunk.kind=wider_resnet)"
            )
        return base
    for kind, known in BLOCKS.items():
        if blocks == known:
            return ResNetConfig.model_validate({"kind": kind})
    known_blocks = " or ".join(f"{known} ({kind})" for kind, known in BLOCKS.items())
    raise CheckpointError(f"{path}: a ResNet of {blocks} blocks per stage; the trunks have {known_blocks}")


def _blocks(tensors: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """How many blocks layer1..layer4 of a ResNet have, by the names of the tensors."""
    found = [re.fullmatch(r"(?:underlying_model\.)?layer([1-4])\.\d+\.conv1\.weight", name) for name in tensors]
    counts = Counter(match[1] for match in found if match)
    return tuple(counts[str(layer)] for layer in range(1, 5))


def identify(path: Path) -> tuple[str, Contents, TemperatureModel, int]:
    """(layout, contents, temperature model, classes) of a published file. Raises as `read_published` does."""
    return _recognise(read_tensors(path), path)


def _is_allowed(name: str, allow_partial: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in allow_partial)


def _match(
    expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], layout: str
) -> tuple[dict[str, torch.Tensor], ImportReport]:
    differences = {name: _difference(tensors[name], value) for name, value in expected.items() if name in tensors}
    matched = {name: tensors[name] for name, difference in differences.items() if difference is None}
    absent = [name for name in expected if name not in tensors]
    # files older than BatchNorm's counter lack it, and evaluation never reads it
    counters = {name for name in absent if name.endswith(".num_batches_tracked")}
    report = ImportReport(
        layout=layout,
        matched=len(matched),
        unused=tuple(name for name in tensors if name not in expected),
        missing=tuple(name for name in absent if name not in counters),
        misshapen=tuple(f"{name} {difference}" for name, difference in differences.items() if difference),
    )
    zeros = {name: torch.zeros(expected[name].shape, dtype=expected[name].dtype) for name in counters}
    return {**_own(matched, expected), **zeros}, report


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> str | None:
    if found.shape != wanted.shape:
        return f"{printable(str(tuple(found.shape)))} instead of {tuple(wanted.shape)}"
    if found.dtype not in (FLOATS if wanted.is_floating_point() else (torch.int64,)):
        return f"{found.dtype} instead of {wanted.dtype}"
    return None


def _own(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors of the network's types, each in a storage of its own, as safetensors wants them."""
    owned: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, found in tensors.items():
        value = found.detach().resolve_neg().to(expected[name].dtype).contiguous()
        if value.untyped_storage().data_ptr() in storages:
            value = value.clone()
        storages.add(value.untyped_storage().data_ptr())
        owned[name] = value
    return owned


def _state(contents: Contents, config: ModelConfig, *, device: str) -> dict[str, torch.Tensor]:
    """Initial values, by name, of everything that the checkpoint must hold; the same in every call.

    On the device ``meta`` they have shapes and types only, and cost nothing.
    """
    from abet.models.build import build_model

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        state = build_model(config).state_dict()
    if contents == "model":
        return state
    return {name: value for name, value in state.items() if not name.startswith(BEYOND_TRUNK)}


def read_published(path: Path, *, base: ModelConfig, allow_partial: Sequence[str] = ()) -> tuple[Weights, ImportReport]:
    """Read a published ``.pth`` into named float32 tensors that fit ``base``'s trunk with the head that the file holds.

    Args:
        path: the published file.
        base: widths and depths to expect (recipe ``cityscapes_finetune`` for the published files); its head and class
            count, and its trunk where the file's is a ResNet, give way to the file's.
        allow_partial: names or patterns (``temperature.*``) that may be missing or misshapen; those tensors get the
            network's seeded initial values, and the checkpoint records which.

    Raises:
        CheckpointError: unreadable, hostile, of an unknown layout, or anything else missing or misshapen.
    """
    tensors = read_tensors(path)
    layout, contents, head, classes = _recognise(tensors, path)
    trunk = _trunk(tensors, base.trunk, path)
    config = base.model_copy(update={"temperature_model": head, "num_classes": classes, "trunk": trunk})
    expected = _state(contents, config, device="meta")
    filled, report = _match(expected, tensors, layout)
    _require_complete(path, report, allow_partial)
    initialised = tuple(name for name in expected if name not in filled)
    if initialised:
        initial = _state(contents, config, device="cpu")
        filled.update((name, initial[name]) for name in initialised)
    sha256 = sha256_of(path)
    source = Source(file=printable(path.name), sha256=sha256, layout=layout, initialised=initialised)
    complete = {name: filled[name] for name in expected}
    return Weights(contents=contents, model=config, tensors=complete, sha256=sha256, source=source), report


def _require_complete(path: Path, report: ImportReport, allow_partial: Sequence[str]) -> None:
    missing = [name for name in report.missing if not _is_allowed(name, allow_partial)]
    misshapen = [text for text in report.misshapen if not _is_allowed(text.split(" ", 1)[0], allow_partial)]
    unknown = [name for name in report.unused if not name.startswith(IMAGENET_ONLY)]
    faults = [f"missing: {_some(missing)}"] * bool(missing) + [f"misshapen: {_some(misshapen)}"] * bool(misshapen)
    if faults:
        hint = f"; not used: {_some(unknown)}" if unknown else ""
        raise CheckpointError(
            f"{path}: {report.layout}, {report.matched} tensors match, but {'; '.join(faults)}{hint}. "
            "To start those from initial values, name each with --allow-partial NAME ('temperature.*' works too)"
        )


def _some(names: Sequence[str], *, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more
