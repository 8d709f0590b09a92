"""The AbeT head: direct form (enlarge all features) against the low-resolution form. Time and peak memory.

    python benchmarks/head.py --output benchmarks/results/head-cpu.md
    python benchmarks/head.py --device cuda

Every figure comes from a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import in_own_process, machine, peak_mib, positive, publish

from abet.models.direct import direct_output
from abet.models.head import AbeTHead, Output

CHANNELS, CLASSES = 256, 19
FEATURES, SIZE = (256, 512), (512, 1024)
FORMS = ("direct", "low-resolution")
PASSES = ("evaluation", "training")


def measure(form: str, kind: str, device: torch.device, repeats: int) -> dict[str, float]:
    """Least seconds forward and backward, and peak memory in MiB, of one form in this process."""
    torch.manual_seed(0)
    head = AbeTHead(in_channels=CHANNELS, num_classes=CLASSES).to(device)
    head.train(kind == "training")
    features = torch.rand(1, CHANNELS, *FEATURES, device=device, requires_grad=kind == "training")
    run = head if form == "low-resolution" else _direct(head)
    before = peak(device)
    forward, backward = [], []
    for _ in range(repeats + 1):  # the first one warms up
        start = clock(device)
        with torch.set_grad_enabled(kind == "training"):
            output: Output = run(features, SIZE)
        middle = clock(device)
        if kind == "training":
            output.logits.sum().backward()  # type: ignore[no-untyped-call]
            features.grad = None
        forward.append(middle - start)
        backward.append(clock(device) - middle)
        del output
    return {
        "forward_s": min(forward[1:]),
        "backward_s": min(backward[1:]),
        "peak_mib": peak(device),
        "own_mib": peak(device) - before,
    }


def _direct(head: AbeTHead) -> Callable[[torch.Tensor, tuple[int, int]], Output]:
    return lambda features, size: direct_output(head, features, size)


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak(device: torch.device) -> float:
    """Largest memory so far in MiB: of the process on a CPU, of torch's tensors on a GPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_mib()


def table(results: dict[tuple[str, str], dict[str, float]]) -> str:
    """Markdown: one row per form and kind of pass, then the ratios."""
    lines = [
        "| pass | form | forward, s | backward, s | peak, MiB | of it the head's, MiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for kind in PASSES:
        for form in FORMS:
            lines.append(_row(kind, form, results[form, kind], "{:.3f}", "{:.0f}"))
        direct, low = (results[form, kind] for form in FORMS)
        ratios = {key: direct[key] / low[key] if low[key] else float("nan") for key in direct}
        lines.append(_row(kind, "direct / low-resolution", ratios, "{:.1f}x", "{:.1f}x"))
    return "\n".join(lines)


def _row(kind: str, form: str, values: dict[str, float], seconds: str, mebibytes: str) -> str:
    backward = seconds.format(values["backward_s"]) if kind == "training" else "-"
    cells = [kind, form, seconds.format(values["forward_s"]), backward]
    cells += [mebibytes.format(values["peak_mib"]), mebibytes.format(values["own_mib"])]
    return "| " + " | ".join(cells) + " |"


def report(arguments: argparse.Namespace) -> str:
    """Run all four processes and describe the result."""
    device = arguments.device
    on = f"{machine()}, {arguments.threads} threads" if device == "cpu" else torch.cuda.get_device_name(device)
    options = ["--device", device, "--repeats", arguments.repeats, "--threads", arguments.threads]
    results = {
        (form, kind): in_own_process(__file__, "--form", form, "--kind", kind, *options)
        for kind in PASSES
        for form in FORMS
    }
    return (
        f"# The AbeT head: direct form against low-resolution form\n\n"
        f"{CHANNELS} channels, {CLASSES} classes, features {FEATURES[0]}x{FEATURES[1]} to {SIZE[0]}x{SIZE[1]}, "
        f"batch 1, float32. {on}; torch {torch.__version__}. The fastest of "
        f"{arguments.repeats} runs; every row is a process of its own.\n\n{table(results)}\n\n"
        "Peak: the process's largest resident size with interpreter, torch and features (on a GPU: torch's tensors). "
        "The head's: what the peak gained from the first pass on, gradients included.\n"
    )


def main() -> None:
    """Write the table; with the hidden options, measure one row of it and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--repeats", type=positive, default=5, help="timed runs of each row")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="of torch, on a CPU")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=PASSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.form:
        figures = measure(arguments.form, arguments.kind, torch.device(arguments.device), arguments.repeats)
        print(json.dumps(figures))
        return
    publish(report(arguments), arguments.output)


if __name__ == "__main__":
    main()
