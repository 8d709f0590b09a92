"""abet demo: the commands of the whole story, one after the other, each shown before it runs."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from abet.cli.options import require_output, say
from abet.cli.panels import BEGIN
from abet.cli.tables import defined_scores, print_comparison

SETS = ("road_anomaly", "lost_and_found")


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""

    def demo(
        output: Annotated[Path, typer.Option(help="Folder for scenes, runs, report and figure.")] = Path("runs/demo"),
    ) -> None:
        """Train a small OOD detector on synthetic street scenes and show what it finds: minutes on two cores."""
        require_output(output, kind="folder")
        _Demo(app, output).run()

    app.command(rich_help_panel=BEGIN)(demo)


class _Demo:
    """Every stage is an ordinary command, so that what is shown can be repeated by hand; done stages are kept."""

    def __init__(self, app: typer.Typer, output: Path) -> None:
        self._app, self._output, self._start = app, output, time.monotonic()

    def run(self) -> None:
        from abet.checkpoint import read_best

        out = self._output
        scenes = out / "scenes"
        self._abet("data", "synthesize", scenes, "--variety", "calm")
        self._train("pretrain", "demo_pretrain", "mapillary")
        for name, recipe in (("abet", "demo_finetune"), ("plain", "demo_finetune_plain")):
            self._train(name, recipe, "cityscapes", "--snapshot", out / "pretrain")
        # Weights as they were drawn; only the normalisation layers have seen images
        frozen = ("--set", "training.steps=40", "--set", "optimiser.learning_rate=1e-30")
        self._train("random", "demo_finetune", "cityscapes", *frozen)
        runs = [out / name for name in ("abet", "plain", "random", "controls")]
        fitting = ("--dataset", "cityscapes", "--data-root", scenes / "cityscapes", "--threads", 2)
        for run in runs[:2]:
            self._abet("fit", "--checkpoint", run, *fitting)
        for dataset in SETS:
            data = ("--dataset", dataset, "--data-root", scenes / dataset)
            for run, scores in zip(runs[:-1], ("all", "all", "abet"), strict=True):
                self._abet("evaluate", "--checkpoint", run, *data, "--scores", scores, "--protocols")
            self._abet("controls", *data, "--train-root", scenes / "cityscapes", "--output", runs[-1])
        report, figure = out / "report.html", out / "detections.png"
        matrix = ("--matrix", figure, "--dataset", SETS[0], "--scores", "abet,entropy")
        self._abet("report", *runs[:2], *matrix)
        self._abet("report", *runs, "--output", report)
        for dataset in SETS:
            print_comparison(runs, dataset)
            _print_verdict(runs, dataset)
        for run in runs[:2]:
            best = read_best(run)
            assert best is not None
            say(f"{run.name}: mIoU {best.miou:.3f} on the validation scenes")
        say(f"report: {report}", f"figure: {figure}", f"the whole took {time.monotonic() - self._start:.0f} s")

    def _train(self, name: str, recipe: str, dataset: str, *options: object) -> None:
        root = self._output / "scenes" / dataset
        # Two threads wherever it runs: the last bits of a sum depend on their number
        self._abet("train", recipe, "--output", self._output / name, "--data-root", root, "--threads", 2, *options)

    def _abet(self, *arguments: object) -> None:
        words = [str(argument) for argument in arguments]
        say("", f"[{time.monotonic() - self._start:.0f} s] $ abet {shlex.join(words)}")
        self._app(words, standalone_mode=False)


def _print_verdict(runs: Sequence[Path], dataset: str) -> None:
    """How AbeT's score stands to all others: said whichever way it comes out."""
    rows = defined_scores(runs, dataset)
    ours = next(row.entry["auroc"]["value"] for row in rows if (row.run, row.score) == ("abet", "abet"))
    ahead = [
        f"{row.run} {row.score} ({100 * row.entry['auroc']['value']:.1f})"
        for row in rows
        if row.entry["auroc"]["value"] > ours
    ]
    say(
        f"{dataset}: AUROC of the AbeT score {100 * ours:.1f}; "
        + (f"ahead of it: {', '.join(ahead)}" if ahead else "ahead of every baseline and control")
    )
