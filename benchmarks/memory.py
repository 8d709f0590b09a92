"""Memory of a training step per GPU: crop, batch, arithmetic and activation checkpointing, and the cards that hold it.

    python benchmarks/memory.py --output benchmarks/results/memory.md
    python benchmarks/memory.py --device cuda --output benchmarks/results/memory-cuda.md

No GPU is needed: the step runs on tensors without contents, and every storage is counted from its allocation to its
end. With a GPU each row is measured, too. Without one, a small crop is trained for real on this processor, and what the
process grew by is compared with the same count.
"""

import argparse
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import in_own_process, machine, peak_mib, positive, publish
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from abet.config import load_recipe
from abet.losses import cross_entropy_sum
from abet.model_config import ModelConfig
from abet.models import resample
from abet.models.build import build_model
from abet.models.recompute import recompute_blocks

GIB = 2**30
CARDS_GB = (16, 24, 80)
KEPT_FREE_GIB = 1.0
"""Of a card, for CUDA's context, NCCL and cuDNN's workspaces."""
KEPT_FREE_SHARE = 0.1
"""Of a card, for fragmentation."""
ARITHMETIC = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CHECKED_CROP = 256
"""Pixels of a side of what a processor trains for real."""


class Setting(NamedTuple):
    """A row."""

    crop: int
    """Pixels of each side."""
    batch: int
    dtype: str
    recompute: bool


class Counted(NamedTuple):
    """Bytes of a training step, momentum included."""

    fixed: int
    """Weights, gradients, momentum and statistics."""
    saved: int
    """What the forward pass keeps for the backward pass, beside the weights themselves."""
    peak: int
    """The most that is allocated at any moment, gradients as they stand in the buckets of several processes."""


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every storage that an operation makes: the bytes that live now, and the most so far."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1  # without contents: "is all of it finite?" is the one thing that the network asks
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._follow(value.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


@contextmanager
def without_contents() -> Iterator[_Living]:
    """Tensors made inside have shapes and types alone."""
    living = _Living()
    resample._axis.cache_clear()  # matrices with contents do not mix with those without, nor the reverse
    try:
        with FakeTensorMode(), living:
            yield living
    finally:
        resample._axis.cache_clear()


@contextmanager
def saved_storages() -> Iterator[dict[int, int]]:
    """Storage -> bytes of all that is kept for a backward pass inside, each counted once."""
    found: dict[int, int] = {}
    kept = []  # a storage that ended would leave its number to another one

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        kept.append(storage)
        return tensor.detach()  # an output that is kept as itself would keep its own graph

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
    kept.clear()  # the backward pass lets go of one after the other


def network(config: ModelConfig, setting: Setting, device: torch.device) -> nn.Module:
    """The network in training, with gradients as several processes keep them."""
    with device:
        model: nn.Module = build_model(config)
    if setting.recompute:
        recompute_blocks(model)
    if setting.batch == 1:
        # One value per channel: several processes would share their statistics here
        model.get_submodule("underlying_model.aspp.img_conv.1").eval()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return model


def forward(model: nn.Module, setting: Setting, device: torch.device) -> Tensor:
    """The loss of one batch."""
    images = torch.rand(setting.batch, setting.crop, setting.crop, 3, device=device).permute(0, 3, 1, 2)
    labels = torch.zeros(setting.batch, setting.crop, setting.crop, dtype=torch.uint8, device=device)
    with autocast(setting.dtype, device):
        logits = model(images).logits
    return cross_entropy_sum(logits, labels) / labels.numel()


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """As `abet.training.precision` has it."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=ARITHMETIC[dtype])


def count(config: ModelConfig, setting: Setting) -> Counted:
    """What one step takes, without taking it."""
    device = torch.device("cpu")
    with without_contents() as living:
        model = network(config, setting, device)
        momentum = [torch.zeros_like(parameter) for parameter in model.parameters()]
        fixed = living.now
        with saved_storages() as saved:
            loss = forward(model, setting, device)
        own = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers())}
        kept = sum(size for storage, size in saved.items() if storage not in own)
        torch.autograd.backward(loss)
        del momentum
    return Counted(fixed, kept, living.peak)


def measure(config: ModelConfig, setting: Setting, device: torch.device) -> float:
    """The peak in GiB of real steps: of torch's tensors on a GPU, what this process grew by on a processor."""
    before = peak_mib()
    torch.manual_seed(0)
    model = network(config, setting, device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(2):  # momentum comes with the first
        torch.autograd.backward(forward(model, setting, device))
        optimiser.step()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return (peak_mib() - before) / 2**10


def measured(recipe: str, setting: Setting, device: str) -> float | None:
    """The same in a process of its own; None where the memory is not enough."""
    answer = in_own_process(__file__, "--recipe", recipe, "--device", device, "--measure", json.dumps(setting))
    result: float | None = answer["peak_gib"]
    return result


def usable_gib(card_gb: int) -> float:
    """What a card sold with ``card_gb`` GB leaves to torch's tensors, with the margin."""
    return card_gb * 1e9 / GIB * (1 - KEPT_FREE_SHARE) - KEPT_FREE_GIB


def table(counts: Mapping[Setting, Counted], peaks: Mapping[Setting, float | None]) -> str:
    """Markdown: one row per setting; ``peaks`` in GiB of those that were measured."""
    heads = ["crop", "batch per GPU", "arithmetic", "activations", "weights, gradients, momentum", "kept for backward"]
    heads += ["peak", *(["measured peak"] if peaks else []), *(f"{card} GB" for card in CARDS_GB)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for setting, counted in counts.items():
        cells = [str(setting.crop), str(setting.batch), setting.dtype, "recomputed" if setting.recompute else "kept"]
        cells += [f"{value / GIB:.2f}" for value in counted]
        if peaks:
            peak = peaks[setting]
            cells.append("out of memory" if peak is None else f"{peak:.2f}")
        cells += ["fits" if counted.peak / GIB <= usable_gib(card) else "-" for card in CARDS_GB]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(recipe: str, device: str, crop: int, batches: Sequence[int]) -> str:
    """Count all settings, measure what can be, and describe the result."""
    config = load_recipe(recipe).model
    half = "float16" if device != "cpu" and torch.cuda.get_device_capability(device)[0] < 8 else "bfloat16"
    settings = [
        Setting(crop, batch, dtype, recompute)
        for batch in batches
        for dtype in ("float32", half)
        for recompute in (False, True)
    ]
    on = machine() if device == "cpu" else torch.cuda.get_device_name(device)
    peaks = {} if device == "cpu" else {setting: measured(recipe, setting, device) for setting in settings}
    counts = {setting: count(config, setting) for setting in settings}
    usable = ", ".join(f"{usable_gib(card):.1f} of {card} GB" for card in CARDS_GB)
    text = (
        f"# Memory of a training step\n\nRecipe {recipe}, GiB per GPU; torch {torch.__version__}, {on}.\n\n"
        f"{table(counts, peaks)}\n\n"
        "Peak: the most that lives at any moment of forward and backward pass, counted storage by storage on tensors "
        "without contents; gradients stand in the buckets of several processes all the time. bfloat16 and float16 take "
        f"the same. A card's column says whether the peak fits with a margin: {KEPT_FREE_SHARE:.0%} of the card for "
        f"fragmentation and {KEPT_FREE_GIB:.0f} GiB for CUDA's context, NCCL and cuDNN's workspaces, so in GiB "
        f"{usable}. One crop per GPU needs statistics that are shared by two or more (`training.sync_batch_norm`): "
        "the mean of the image is one value per channel.\n"
    )
    return text + (_checked(config, recipe) if device == "cpu" else "")


def _checked(config: ModelConfig, recipe: str) -> str:
    """A small crop, counted and trained for real on this processor."""
    side = CHECKED_CROP
    lines = ["", f"The count against real steps on this processor, crops of {side}x{side}, float32:", ""]
    for recompute in (False, True):
        setting = Setting(CHECKED_CROP, 1, "float32", recompute)
        counted, grown = count(config, setting).peak / GIB, measured(recipe, setting, "cpu")
        assert grown is not None
        how = "recomputed" if recompute else "kept"
        lines.append(f"- batch 1, activations {how}: counted {counted:.2f} GiB, the process grew by {grown:.2f} GiB.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table; with the hidden option, measure one row of it and print the peak as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu: count alone; cuda or cuda:N: measure, too")
    parser.add_argument("--recipe", default="cityscapes_finetune", help="whose network is trained")
    parser.add_argument("--crop", type=positive, default=896, help="pixels of a crop's side")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 2], help="crops per GPU")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        setting = Setting(*json.loads(arguments.measure))
        peak: float | None = None
        with suppress(torch.OutOfMemoryError):  # that is an answer, too
            peak = measure(load_recipe(arguments.recipe).model, setting, torch.device(arguments.device))
        print(json.dumps({"peak_gib": peak}))
        return
    publish(report(arguments.recipe, arguments.device, arguments.crop, arguments.batches), arguments.output)


if __name__ == "__main__":
    main()
