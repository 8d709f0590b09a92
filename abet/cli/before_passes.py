"""What every pass over a set's images begins with: threads, classes, whole files, and how long it will take."""

from typing import TYPE_CHECKING

from abet.cli.options import say
from abet.errors import CheckpointError, DataError, UsageError
from abet.labels import CITYSCAPES
from abet.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from abet.data.index import Dataset
    from abet.detector import Detector
    from abet.evaluate import Evaluation
    from abet.metrics.keys import Scores
    from abet.metrics.pixel import Labels

LONG_SECONDS = 600
SHORT_SECONDS = 1


def use_threads(threads: int | None) -> None:
    """Fix the number of CPU threads of this process; None leaves torch's choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def require_classes(detector: "Detector", num_classes: int) -> None:
    """Raises CheckpointError unless the detector has the number of classes that the user expects."""
    found = detector.config.num_classes
    if found != num_classes:
        raise CheckpointError(
            f"{detector.uri}: tells {found} classes apart, expected {num_classes} (OOD in these sets is what the "
            f"{len(CITYSCAPES)} Cityscapes classes do not cover): fine-tune it first, or say that you mean it with "
            f"--num-classes {found}"
        )


def require_defined(detector: "Detector", keys: "Sequence[str]") -> None:
    """Raises UsageError where none of the scores ``keys`` is defined: nothing would be measured."""
    reasons = {key: detector.why_missing(key) for key in keys}
    if all(reasons.values()):
        why = "; ".join(f"{key}: {reason}" for key, reason in reasons.items())
        choices = ",".join(detector.available_scores())
        raise UsageError(f"--scores {','.join(keys)}: none is defined here ({why}); choose among {choices}")


def announce(
    evaluation: "Evaluation",
    data: "Dataset",
    shard: str,
    *,
    whole: bool,
    passes: int = 1,
    count: "Callable[[Scores, Labels], object] | None" = None,
    finish: "Callable[[int, int], float] | None" = None,
    divisible: bool = True,
) -> None:
    """Verify the files of the shard, then say how long it will take.

    passes: of the network. count: what is done with each score map and its labels, in all passes together, where that
    is no matter of moments beside them. finish: the seconds that follow the images, by their pixels and the number of
    scores; they are named beside those of the images. divisible: whether the command takes --shard.
    """
    from abet.evaluate import counting_seconds, estimate_seconds
    from abet.progress import format_seconds

    pixels = verified_pixels(data, whole=whole)
    detector = evaluation.detector
    defined = [key for key in evaluation.scores if detector.why_missing(key) is None]
    seconds = passes * estimate_seconds(detector, pixels, defined)
    if count is not None:
        seconds += counting_seconds(count, pixels * len(defined))
    after = 0.0 if finish is None else finish(pixels, len(defined))
    say(
        f"{data.name} {data.split} {shard}: {counted(len(data.pairs), 'image')}, {pixels / 1e6:.1f} Mpixel, "
        f"{counted(len(defined), 'score')} on {detector.device}: about {format_seconds(seconds)}"
        + (f" for the images, then {format_seconds(after)} to write the results" if after >= SHORT_SECONDS else "")
    )
    if seconds > LONG_SECONDS and divisible:
        say("a shard that is stopped starts again from its first image: --shard I/N makes smaller ones")


def verified_pixels(data: "Dataset", *, whole: bool) -> int:
    """Decode every file, which costs little beside a network's pass, so that none fails hours into the evaluation.

    Returns the pixels in all. Raises DataError with every fault; of a ``whole`` set also for having no ID or no OOD
    pixel, without which no figure is defined (a part of one may well have none).
    """
    from abet.data.check import check_dataset, useless
    from abet.progress import progress

    with progress("check files", len(data.pairs)) as advance:
        report = check_dataset(data, progress=lambda _done, _all: advance(1))
    found = [*report.faults, *(useless(data, report.pixels) if whole and report.ok else ())]
    if found:
        faults = "\n  ".join(str(fault) for fault in found)
        raise DataError(f"{data.root}: {counted(len(found), 'fault')}, nothing was evaluated:\n  {faults}")
    return report.pixels.total
