"""Score files for a benchmark whose labels are hidden: one per image, for its authors to measure.

    abet submission --dataset road_anomaly_21 --method mine --output submission

The tree is the one that SegmentMeIfYouCan's toolkit reads its scores from (``Evaluation`` in the repository
SegmentMeIfYouCan/road-anomaly-benchmark): ``anomaly_p/METHOD/TRACK/NAME.hdf5`` with a variable ``value`` of shape
(H, W), for every image of the track, those with public labels among them. Scores are float32 in raw units. HDF5 needs
the extra ``hdf5``; without it, each file is ``NAME.npy``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from abet.data import locate
from abet.data.images import is_image_name, read_image
from abet.data.layout import SubmissionSpec
from abet.data.pairing import files_in
from abet.data.registry import OOD_SETS
from abet.detector import Detector
from abet.errors import DataError, UsageError, unknown_name
from abet.files import atomic_path, read_json, write_json
from abet.install import HDF5_REMEDY
from abet.memory import readable_memory_errors
from abet.progress import progress

SETTINGS: Final = "submission.json"
METHOD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Format = Literal["npy", "hdf5"]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What to hand in, and where it is written."""

    detector: Detector
    dataset: str
    score: str
    method: str
    """What the benchmark calls it: a folder's name."""
    output: Path
    format: Format = "npy"
    """hdf5 is what the toolkit reads."""

    @property
    def folder(self) -> Path:
        """Where the score files lie."""
        return self.output / "anomaly_p" / self.method / submission_spec(self.dataset).folder

    def require_defined(self) -> None:
        """Raises UsageError for a score that the detector's head does not define, and as `require_format`."""
        require_format(self.format)
        if reason := self.detector.why_missing(self.score):
            raise UsageError(f"{self.detector.uri}: score {self.score!r} is not defined here: {reason}")

    def write(self, images: Sequence[Path]) -> int:
        """Write the score file of each image that has none yet; returns how many.

        Raises:
            UsageError: ``output`` holds the files of another checkpoint, score or set of images; as `require_defined`.
            DataError: an image that cannot be read, or a score that is not finite (the toolkit sorts scores).
        """
        self.require_defined()
        self._claim(images)
        todo = [image for image in images if not self._file(image).exists()]
        with progress(f"{self.dataset} {self.score}", len(todo)) as advance:
            for image in todo:
                self._write_one(image)
                advance(1)
        return len(todo)

    def _file(self, image: Path) -> Path:
        return self.folder / f"{image.stem}.{self.format}"

    def _write_one(self, image: Path) -> None:
        pixels = read_image(image)
        with readable_memory_errors(f"{image} ({pixels.shape[1]}x{pixels.shape[0]} pixels)"):
            score = self.detector.score(pixels, self.score)
        broken = int(np.count_nonzero(~np.isfinite(score)))
        if broken:
            raise DataError(
                f"{image}: score {self.score} is NaN or infinite in {broken} pixels, and the toolkit needs numbers: "
                "choose another --score or checkpoint"
            )
        with atomic_path(self._file(image)) as temporary:
            self._save(temporary, score.astype(np.float32, copy=False))

    def _save(self, path: Path, score: NDArray[np.float32]) -> None:
        if self.format == "npy":
            np.save(path, score)
            return
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("value", data=score, compression="gzip", shuffle=True)

    def _claim(self, images: Sequence[Path]) -> None:
        """Beside the files of this set stands what they are of, so that no other's are mixed in."""
        path = self.output / self.dataset / SETTINGS
        wanted: dict[str, Any] = {
            "checkpoint_sha256": self.detector.sha256,
            "score": self.score,
            "method": self.method,
            "images": [image.name for image in images],
            **({"fitted_sha256": fitted} if (fitted := self.detector.fitted_sha256([self.score])) else {}),
        }
        if self.format != "npy":
            wanted["format"] = self.format  # what is usual stands in no file
        write_json(path, wanted, keep_existing=True)
        found, wanted = {"format": "npy", **read_json(path)}, {"format": "npy", **wanted}
        if changed := [key for key, value in wanted.items() if found.get(key) != value]:
            raise UsageError(
                f"{self.output} holds score files of {self.dataset} with another {', '.join(changed)}: choose another "
                "--output, or remove it"
            )


def require_format(name: str) -> None:
    """Raises UsageError for an unknown format, or one whose library is not installed."""
    if name not in get_args(Format):
        raise unknown_name(kind="format", name=name, choices=get_args(Format))
    if name == "hdf5" and find_spec("h5py") is None:
        raise UsageError(f"--format hdf5: h5py is not installed here: {HDF5_REMEDY}; or write --format npy")


def submission_spec(dataset: str) -> SubmissionSpec:
    """How the set's authors take scores. Raises UsageError for a set whose labels are public."""
    found = OOD_SETS[dataset].submission if dataset in OOD_SETS else None
    if found is None:
        choices = ", ".join(name for name, spec in OOD_SETS.items() if spec.submission is not None)
        raise UsageError(
            f"--dataset {dataset}: no benchmark with hidden labels takes its scores; `abet evaluate` measures it. "
            f"The choices are: {choices}"
        )
    return found


def find_images(dataset: str, root: Path) -> tuple[list[Path], list[str]]:
    """Every image of the set, labelled or not, sorted by stem; and what to note about them.

    Raises:
        UsageError: as `submission_spec`.
        DataError: no tree of this set below ``root``, no image in it, or two that would write one file.
    """
    wanted, spec = submission_spec(dataset), OOD_SETS[dataset]
    place = locate.find(spec, root.expanduser(), spec.default_split)
    images = sorted(
        (path for path in files_in(place.root / wanted.images) if is_image_name(path.name)), key=lambda path: path.stem
    )
    if not images:
        raise DataError(f"{place.root / wanted.images}: no image found. {locate.expected(spec, spec.default_split)}")
    for one, other in pairwise(images):
        if one.stem == other.stem:
            raise DataError(f"{one} and {other.name} would share one score file: keep one of them")
    hidden = sum(not path.stem.startswith(wanted.labelled) for path in images)
    few = f"{hidden} images without public labels, the published set has {wanted.published}"
    return images, [*place.notes, *([few] if hidden != wanted.published else [])]
