"""A training step of the full network: head, arithmetic and compilation against each other. Time, memory, FLOP/s.

    python benchmarks/training_step.py --device cuda --output benchmarks/results/training-step-h100.md

Two crops of 896x896 pixels (`--crop`, `--batch`) that lie on the device: forward pass, loss, backward pass, the check
of the gradients, the update, with the recipe's loss and optimiser; no data are read. The baseline is the same network
as the reference would run it: all 256 features enlarged before the head, float16 with loss scaling, no channels_last,
nothing compiled. Every row is a process of its own, so that its peak memory is its own. `--profile` adds what the time
of each row went into.
"""

import argparse
import json
import math
import statistics
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import torch
from common import in_own_process, machine, peak_mib, positive, publish
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from abet.config import Recipe, load_recipe
from abet.losses import make_loss, objective_scale
from abet.models.build import build_model
from abet.models.compiling import compiled
from abet.models.deeplab import AbeTModel
from abet.models.direct import direct_output
from abet.models.head import Output
from abet.models.inputs import normalise
from abet.models.precision import fastest_convolutions
from abet.models.recompute import recompute_blocks
from abet.optim import largest_gradient, make_sgd
from abet.training.precision import DTYPES
from abet.training.session import NORMALISATION

WARM_UP: Final = 5
MATMUL: Final = 8192
"""Side of the matrices whose product shows what the device can do."""
DATASHEET_TFLOPS: Final = {
    "NVIDIA H200": 989,
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA A100-SXM4-40GB": 312,
    "NVIDIA A100 80GB PCIe": 312,
    "NVIDIA A100-PCIE-40GB": 312,
}
"""Dense bfloat16 by the vendor's datasheets."""


@dataclass(frozen=True)
class Variant:
    """A row."""

    name: str
    direct: bool = False
    """Enlarge all features, then classify them (the head's definition)."""
    dtype: str = "bfloat16"
    channels_last: bool = True
    search: bool = True
    """Let cuDNN time its convolutions and keep the fastest."""
    compile: bool = False
    recompute: bool = False


BASELINE: Final = "as the reference: direct head, float16"
VARIANTS: Final = (
    Variant(BASELINE, direct=True, dtype="float16", channels_last=False),
    Variant("direct head, bfloat16", direct=True),
    Variant("direct head, bfloat16, compiled", direct=True, compile=True),
    Variant("abet, bfloat16, cuDNN's first choice", search=False),
    Variant("abet, bfloat16"),
    Variant("abet, bfloat16, activations recomputed", recompute=True),
    Variant("abet, bfloat16, compiled", compile=True),
)


class DirectModel(nn.Module):
    """A network whose head is computed as it is defined."""

    def __init__(self, model: AbeTModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) float32."""
        return direct_output(self.model, self.model.underlying_model(image), (image.shape[-2], image.shape[-1]))


def network(recipe: Recipe, variant: Variant, device: torch.device) -> nn.Module:
    """The network in training, as `abet train` builds it but for what ``variant`` changes."""
    torch.manual_seed(0)
    with device:
        model = build_model(recipe.model)
    assert isinstance(model, AbeTModel), recipe.model.temperature_model
    if variant.recompute:
        recompute_blocks(model)
    if variant.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    result: nn.Module = DirectModel(model) if variant.direct else model
    return compiled(result) if variant.compile else result


class Training:
    """Steps on one batch of noise."""

    def __init__(self, recipe: Recipe, variant: Variant, device: torch.device, shape: tuple[int, int]) -> None:
        batch, crop = shape
        self.variant, self.device, self.batch = variant, device, batch
        self.network = network(recipe, variant, device)
        self.optimiser = make_sgd(self.network, recipe.optimiser)
        self.scaler = torch.amp.GradScaler(device.type, enabled=variant.dtype == "float16")
        self.loss = make_loss(recipe.loss, recipe.reference_quirks, recipe.model.num_classes)
        self.scale = objective_scale(recipe.loss, valid_pixels=batch * crop * crop, images=batch)
        images = torch.randint(256, (batch, crop, crop, 3), dtype=torch.uint8, device=device)
        self.images = normalise(images, NORMALISATION.mean, NORMALISATION.std)
        if not variant.channels_last:
            self.images = self.images.contiguous()
        # Squares of 32 pixels: as many boundaries as a street has, about
        side = math.ceil(crop / 32)
        coarse = torch.randint(recipe.model.num_classes, (batch, side, side), dtype=torch.uint8, device=device)
        self.labels = coarse.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, :crop, :crop].contiguous()

    def step(self) -> float:
        """One, and its loss; the device is done with it at the end."""
        with self._autocast():
            logits = self.network(self.images).logits
        loss = self.loss(logits, self.labels, 0) * self.scale
        torch.autograd.backward(self.scaler.scale(loss))
        mean = loss.item()
        if not self.scaler.is_enabled():
            largest_gradient(self.optimiser)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return mean

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=DTYPES[self.variant.dtype])


def measure(training: Training, repeats: int, *, profiled: bool) -> dict[str, Any]:
    """Milliseconds of the median step, of the first one, and peak memory in GiB."""
    device, times = training.device, list[float]()
    with fastest_convolutions(device) if training.variant.search else nullcontext():
        for _ in range(WARM_UP + repeats):
            start = time.perf_counter()
            loss = training.step()
            times.append((time.perf_counter() - start) * 1e3)
        result = {
            "ms": statistics.median(times[WARM_UP:]),
            "first_ms": times[0],
            "loss": loss,
            "peak_gib": peak(device),
        }
        if profiled:
            print(profile(training), file=sys.stderr)
    return result


def peak(device: torch.device) -> float:
    """Largest memory so far in GiB: of torch's tensors on a GPU, of the process on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_mib() / 2**10


def profile(training: Training) -> str:
    """The operations that three steps spend most time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if training.device.type == "cuda" else [])]
    with record(activities=activities) as found:
        for _ in range(3):
            training.step()
    order = f"self_{'cuda' if training.device.type == 'cuda' else 'cpu'}_time_total"
    text: str = found.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=70)
    return f"{training.variant.name}\n{text}"


def training_tflop(recipe: Recipe, batch: int, crop: int) -> float:
    """10^12 operations of a step's convolutions: a forward pass, and twice as many for its gradients."""
    with torch.device("meta"):
        model = build_model(recipe.model)
        image = torch.empty(batch, 3, crop, crop)
    counter = FlopCounterMode(display=False)
    with counter:
        model.underlying_model(image)  # type: ignore[operator]
    return 3 * counter.get_total_flops() / 1e12


def matmul_tflops(device: torch.device) -> float:
    """What a large bfloat16 product reaches: 10^12 operations a second."""
    left, right = (torch.randn(MATMUL, MATMUL, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        torch.matmul(left, right)
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * MATMUL**3 / statistics.median(times[3:]) / 1e12


def table(results: dict[str, dict[str, Any]], tflop: float, ceilings: dict[str, float]) -> str:
    """Markdown: one row per variant; ``ceilings`` in TFLOP/s by their column's name."""
    heads = ["", "ms per step", "crops/s", "times the baseline", "peak, GiB", "TFLOP/s", *ceilings]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for name, found in results.items():
        if "error" in found:
            lines.append(f"| {name} | {found['error']} |" + " |" * (len(heads) - 2))
            continue
        rate = tflop / found["ms"] * 1e3
        cells = [name, f"{found['ms']:.1f}", f"{found['crops'] / found['ms'] * 1e3:.1f}"]
        cells += [f"{results[BASELINE]['ms'] / found['ms']:.2f}" if "ms" in results.get(BASELINE, {}) else "-"]
        cells += [
            f"{found['peak_gib']:.2f}",
            f"{rate:.0f}",
            *(f"{rate / ceiling:.0%}" for ceiling in ceilings.values()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(arguments: argparse.Namespace) -> str:
    """Measure every variant in a process of its own, and describe the result."""
    device, recipe = torch.device(arguments.device), load_recipe(arguments.recipe)
    on, ceilings = machine(), dict[str, float]()
    if device.type == "cuda":
        on, rate = torch.cuda.get_device_name(device), matmul_tflops(device)
        ceilings = {f"of a {MATMUL} matrix product's {rate:.0f}": rate}
        if (sheet := DATASHEET_TFLOPS.get(on)) is not None:
            ceilings |= {f"MFU: of the datasheet's {sheet}": sheet}
        torch.cuda.empty_cache()
    options = [f"--{name}={getattr(arguments, name)}" for name in ("device", "recipe", "crop", "batch", "repeats")]
    options += ["--profile"] if arguments.profile else []
    results = {}
    for variant in VARIANTS:
        if any(fnmatch(variant.name, pattern) for pattern in arguments.only):
            found = in_own_process(__file__, *options, "--measure", json.dumps(asdict(variant)))
            results[variant.name] = found | {"crops": arguments.batch}
            print(variant.name, found, file=sys.stderr)
    tflop = training_tflop(recipe, arguments.batch, arguments.crop)
    return (
        f"# A training step\n\nRecipe {arguments.recipe}, {arguments.batch} crops of {arguments.crop}x{arguments.crop}"
        f"; {on}; torch {torch.__version__}. Medians of {arguments.repeats} steps after {WARM_UP}; every row is a "
        f"process of its own.\n\n{table(results, tflop, ceilings)}\n\n"
        f"A step's convolutions take {tflop:.1f} TFLOP: 2 for each multiplication and addition, and twice the forward "
        "pass for the gradients. What is computed twice (recomputed activations) counts once. Peak: "
        f"{'all that torch had allocated' if device.type == 'cuda' else 'the largest resident size of the process'}. "
        f"First steps, compilation included: {first_steps(results)}.\n"
    )


def first_steps(results: dict[str, dict[str, Any]]) -> str:
    """How long the first step of each row took."""
    return "; ".join(f"{name} {found['first_ms'] / 1e3:.1f} s" for name, found in results.items() if "ms" in found)


def answer(arguments: argparse.Namespace) -> dict[str, Any]:
    """One row, in this process."""
    variant = Variant(**json.loads(arguments.measure))
    shape = (arguments.batch, arguments.crop)
    try:
        training = Training(load_recipe(arguments.recipe), variant, torch.device(arguments.device), shape)
        return measure(training, arguments.repeats, profiled=arguments.profile)
    except torch.OutOfMemoryError:
        return {"error": "out of memory"}


def main() -> None:
    """Write the table; with the hidden option, measure one row of it and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--recipe", default="cityscapes_finetune", help="whose network is trained")
    parser.add_argument("--crop", type=positive, default=896, help="pixels of a crop's side")
    parser.add_argument("--batch", type=positive, default=2, help="crops")
    parser.add_argument("--repeats", type=positive, default=20, help="timed steps of each row")
    parser.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"], help="rows by name; * is any text")
    parser.add_argument("--profile", action="store_true", help="print what each row's time went into")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(answer(arguments)))
        return
    publish(report(arguments), arguments.output)


if __name__ == "__main__":
    main()
