"""Exact figures beside the paper's 100-bin protocol, and the agreement of our metrics with independent ones.

    python benchmarks/protocols.py runs/demo/abet runs/demo/plain --output benchmarks/results/protocols-cpu.md

The reference's figures are those of its two protocols: AbeT's, which steps back from a TPR of exactly 1, and
Meta-OoD's, which does not. They are taken on evaluated runs (``make demo`` makes some) and on made scores, of which
each shows one weakness (`protocol_cases`). scikit-learn, and naive computations over lists and sets of pixels, say
what is right.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import machine, publish
from protocol_cases import CASES, Case, blobs

from abet.data.opencv import keep_to_one_thread
from abet.labels import OOD, VOID
from abet.metrics.components import SIZES, ComponentState
from abet.metrics.pixel import MAX_BINS, MIN_BINS, PixelState
from abet.metrics.ranking import summarise
from abet.metrics.reference import ReferenceState
from abet.metrics.smiyc import SmiycState
from abet.report.runs import load_sample
from abet.run import evaluation_dir
from abet.shards import read_shard
from tests.metrics import naive_components, naive_smiyc

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Image = tuple[Scores, Labels]

SEED = 0
WRONG = 0.01
"""A figure that is further off is marked: one percentage point."""
ROUNDING = 1e-11
"""Of scikit-learn's float64 sums: where no bin is wide, our bracket is one float64 and two units in its last place."""
FIGURES = ("auroc", "ap", "fpr95")
SHOWN = {"auroc": "AUROC", "ap": "AP", "fpr95": "FPR95"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One score: exact figures and those of the two reference protocols."""

    name: str
    exact: dict[str, Any]
    abet: dict[str, Any]
    meta_ood: dict[str, Any]
    dropped: dict[str, float]
    """Share of the ID and of the OOD pixels that the reference leaves out."""

    @classmethod
    def of(cls, name: str, pixel: PixelState, reference: ReferenceState) -> "Row":
        """From the counts of one score."""
        lost = {"ID": (reference.dropped_id, pixel.id_pixels), "OOD": (reference.dropped_ood, pixel.ood_pixels)}
        return cls(
            name=name,
            exact=summarise(pixel),
            abet=reference.summarise(),
            meta_ood=reference.summarise(step_back=False),
            dropped={kind: part / whole for kind, (part, whole) in lost.items()},
        )

    def wrong(self) -> list[str]:
        """Which figures of the reference are off by more than a percentage point, of either protocol."""
        pairs = [("AUROC", "auroc", self.abet["auroc"]), ("AP", "ap", self.abet["auprc"])]
        pairs += [(f"FPR95 ({name})", "fpr95", found["fpr95"]) for name, found in self._protocols()]
        return [label for label, name, value in pairs if self._off(name, value)]

    def _protocols(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        return ("AbeT", self.abet), ("Meta-OoD", self.meta_ood)

    def _off(self, name: str, value: float | None) -> bool:
        return value is None or abs(value - self.exact[name]["value"]) > WRONG

    def _exact(self, name: str) -> str:
        figure = self.exact[name]
        width = 100 * (figure["high"] - figure["low"])
        return f"{100 * figure['value']:.2f} ({'exact' if width < 1e-10 else f'{width:.0e}'})"

    def _theirs(self, name: str, value: float | None, tpr: float | None = None) -> str:
        text = "n/a" if value is None else f"{100 * value:.2f}"
        text = f"**{text}**" if self._off(name, value) else text
        return text if tpr is None else f"{text} at {100 * tpr:.1f}"

    def line(self) -> str:
        """The row of the table."""
        cells = [self.name, self._exact("auroc"), self._theirs("auroc", self.abet["auroc"])]
        cells += [self._exact("ap"), self._theirs("ap", self.abet["auprc"])]
        cells += [self._exact("fpr95") + f" at {100 * self.exact['fpr95']['tpr']:.1f}"]
        cells += [self._theirs("fpr95", found["fpr95"], found["tpr"]) for _, found in self._protocols()]
        lost = " / ".join(f"{100 * self.dropped[kind]:.1f}" for kind in ("ID", "OOD"))
        return f"| {' | '.join([*cells, lost])} |"


HEADER = (
    "| scores | AUROC | reference | AP | reference | FPR95 at TPR | AbeT at TPR | Meta-OoD at TPR | dropped ID / OOD |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def rows_of_run(run: Path) -> Iterator[Row]:
    """Of every set and every score that the reference has, from the counts of the run's shards."""
    for folder in sets(run):
        shards = [read_shard(path) for path in sorted(folder.glob("shard-*.npz"))]
        for key in shards[0].reference:
            pixel = PixelState.merge(*(shard.pixel[key] for shard in shards))
            reference = ReferenceState.merge(*(shard.reference[key] for shard in shards))
            yield Row.of(f"{run.name}, {folder.name}, `{key}`", pixel, reference)


def sets(run: Path) -> list[Path]:
    """The folders of the sets that a run was evaluated on."""
    folders = sorted(path.parent for path in evaluation_dir(run, "x").parent.glob("*/metrics.json"))
    if not folders:
        raise SystemExit(
            f"{run}: nothing is evaluated here: run `abet evaluate`, or `make demo` and name runs/demo/abet"
        )
    return folders


def kept(folder: Path, key: str) -> list[Image]:
    """Score maps and labels of the images that an evaluation kept for its report."""
    images = []
    for path in sorted((folder / "samples").glob("*.npz")):
        sample = load_sample(path, scores=(key,))
        images.append((sample.scores[key], sample.label))
    return images


def row_of_case(case: Case) -> Row:
    """The same for made scores."""
    return Row.of(case.name, PixelState.count(case.raw, case.labels), ReferenceState.count(case.reference, case.labels))


def by_scikit_learn(scores: Scores, labels: Labels) -> dict[str, float]:
    """AUROC, AP and the FPR at the first TPR of at least 95%, of all pixels sorted; NaN ranks above every number."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    seen = labels != VOID
    truth = labels[seen] == OOD
    ranks = np.unique(scores[seen], return_inverse=True)[1]
    fpr, tpr, _ = roc_curve(truth, ranks, drop_intermediate=False)
    found = np.rint(tpr * np.count_nonzero(truth))
    first = int(np.argmax(100 * found >= 95 * np.count_nonzero(truth)))
    return {
        "auroc": float(roc_auc_score(truth, ranks)),
        "ap": float(average_precision_score(truth, ranks)),
        "fpr95": float(fpr[first]),
    }


def brackets(scores: Scores, labels: Labels) -> tuple[dict[str, bool], float]:
    """Whether scikit-learn's figures lie in our brackets, with all bins and with the fewest; the widest bracket."""
    right = by_scikit_learn(scores, labels)
    inside, widest = dict.fromkeys(FIGURES, True), 0.0
    for bins in (MAX_BINS, MIN_BINS):
        summary = summarise(PixelState.count(scores, labels, max_bins=bins))
        for name in FIGURES:
            low, high = summary[name]["low"], summary[name]["high"]
            inside[name] &= low - ROUNDING <= right[name] <= high + ROUNDING
            widest = max(widest, high - low)
    return inside, widest


def smiyc_difference(images: Sequence[Image]) -> float:
    """The largest difference between our figures of SegmentMeIfYouCan's pixel protocol and those of lists."""
    ours = SmiycState.merge(*(SmiycState.count(*image) for image in images)).summarise()
    return float(max(abs(ours[name] - figure) for name, figure in naive_smiyc.figures(images).items()))


def component_difference(images: Sequence[Image], track: str) -> tuple[float, int, int]:
    """The same of the component figures and their counts; with how many objects and predictions."""
    pixels = SmiycState.merge(*(SmiycState.count(*image) for image in images)).summarise()
    threshold, sizes = pixels["best_f1_threshold"], SIZES[track]
    states = [ComponentState.count(*image, threshold=threshold, sizes=sizes) for image in images]
    ours = ComponentState.merge(*states).summarise()
    naive = naive_components.figures(images, threshold, sizes.prediction, sizes.object)
    counts = [abs(a - b) for name in ("tp", "fn", "fp") for a, b in zip(ours[name], naive[name], strict=True)]
    means = [
        0.0 if ours[name] is figure is None else abs(ours[name] - figure)
        for name, figure in naive_components.means(naive).items()
    ]
    return max([*counts, *means]), ours["objects"], ours["predictions"]


def agreement(named: dict[str, Sequence[Image]]) -> list[str]:
    """Lines of the second table; images of one name may differ in size."""
    lines = [
        "| scores | pixels | scikit-learn inside AUROC, AP, FPR95 | widest bracket "
        "| SMIYC pixels: largest difference | components: objects, predictions | largest difference |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for name, images in named.items():
        scores, labels = (np.concatenate([each[place].ravel() for each in images]) for place in (0, 1))
        inside, widest = brackets(scores, labels)
        words = ", ".join("yes" if inside[figure] else f"{SHOWN[figure]} OUTSIDE" for figure in FIGURES)
        pixels = f"| {name} | {np.count_nonzero(labels != VOID):,} | {words} | {widest:.1e} "
        if np.isnan(scores).any():
            lines.append(pixels + "| - | - | - |")
            continue
        few = [(image[0][-128:, :256], image[1][-128:, :256]) for image in images[:6]]
        difference, objects, predictions = component_difference(few, "obstacle-track")
        lines.append(pixels + f"| {smiyc_difference(few):.0e} | {objects}, {predictions} | {difference:.0e} |")
    return lines


def report(runs: Sequence[Path]) -> str:
    """Both tables."""
    keep_to_one_thread()
    cases = [make(np.random.default_rng(SEED)) for make in CASES.values()]
    table = [*(row for run in runs for row in rows_of_run(run)), *map(row_of_case, cases)]
    off = [row for row in table if row.wrong()]
    images: dict[str, Sequence[Image]] = {}
    for run in runs:
        for folder in sets(run):
            key = next(iter(read_shard(next(folder.glob("shard-*.npz"))).reference))
            images[f"{run.name}, {folder.name}, `{key}`, kept images"] = kept(folder, key)
    images |= {case.name: list(zip(case.raw, case.labels, strict=True)) for case in cases}
    rng = np.random.default_rng(SEED)
    for name, levels in (("blobs", None), ("blobs in steps of 0.5", 0.5)):
        images[name] = [blobs(rng, levels) for _ in range(6)]
    return "\n".join(
        [
            "# Exact figures against the reference's 100 bins\n",
            f"{machine()}; numpy {np.__version__}, scikit-learn {version('scikit-learn')}. In percent; in parentheses "
            "the width of the bracket that holds the exact figure. The reference's figures are **bold** where they are "
            "more than one percentage point off. FPR95 with the TPR that was really used; dropped: the share of pixels "
            "outside [0, 1] or NaN, which the reference leaves out without a word.\n",
            *HEADER,
            *(row.line() for row in table),
            "",
            f"{len(off)} of {len(table)} scores have at least one figure more than one point off.\n",
            *(f"- {case.name}: {case.shows}." for case in cases),
            "\n## Agreement with independent computations\n",
            f"scikit-learn sorts all pixels; its figures must lie inside our brackets, with {MAX_BINS:,} bins and with "
            f"{MIN_BINS}, whose widest bracket is shown. SegmentMeIfYouCan's pixel protocol and component metrics (the "
            "track of obstacles) are compared with lists and sets of pixels (`tests/metrics/naive_smiyc.py`, "
            "`naive_components.py`), on up to six images of at most 128 x 256 pixels; NaN has no quantile, and is left "
            "out there.\n",
            *agreement(images),
            "",
        ]
    )


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", help="evaluated runs, such as runs/demo/abet")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    arguments = parser.parse_args()
    publish(report(arguments.runs), arguments.output)


if __name__ == "__main__":
    main()
