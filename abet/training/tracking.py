"""What a run tells: ``metrics.jsonl``, TensorBoard and the progress line; all on rank 0.

A resumed run drops what was written beyond the step that it resumes from, and goes on.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abet.files import write_bytes
from abet.progress import Advance, progress
from abet.run import METRICS, TENSORBOARD

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Every complete line of ``metrics.jsonl``, oldest first; a line that a kill cut short is left out."""
    path = run / METRICS
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def validated(run: Path, step: int) -> dict[str, Any] | None:
    """The row of the validation of ``step``; None when there is none."""
    rows = [row for row in read_metrics(run) if row["step"] == step and row.get("kind") == "validation"]
    return next((row for row in reversed(rows) if "miou" in row), None)


def _drop_after(run: Path, step: int) -> None:
    kept = [row for row in read_metrics(run) if row["step"] <= step]
    write_bytes(run / METRICS, "".join(map(_line, kept)).encode())


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


class Tracker:
    """Rows and pictures of one start of a run."""

    def __init__(
        self,
        *,
        run: Path,
        writer: "SummaryWriter",
        advance: Advance,
        steps: int,
        images_per_step: int,
        figures: Callable[[], Mapping[str, float]],
    ) -> None:
        self._run, self._writer, self._advance, self._figures = run, writer, advance, figures
        self._total, self._images_per_step = steps, images_per_step
        self._losses: list[float] = []
        self._since, self._steps, self._waited_seconds = 0.0, 0, 0.0
        self.restart_clock()

    def step(self, *, step: int, loss: float, lr: float, waited_seconds: float, faults: int, log: bool) -> None:
        """Note one optimiser step (``step`` counts those done); with ``log``, write the means since the last row."""
        self._losses.append(loss)
        self._steps, self._waited_seconds = self._steps + 1, self._waited_seconds + waited_seconds
        seconds = max(time.monotonic() - self._since, 1e-9)
        rate, waited = self._steps * self._images_per_step / seconds, min(1.0, self._waited_seconds / seconds)
        mean = math.fsum(self._losses) / len(self._losses)
        self._advance(1, f"loss {mean:.4f}  lr {lr:.2e}  {rate:.1f} images/s  data wait {waited:.0%}")
        if log:
            left = (self._total - step) * seconds / self._steps
            row = {"loss": mean, "lr": lr, "images_per_second": rate, "data_wait_share": waited, "skipped": faults}
            self.row(step, "train", {**row, "seconds_left": round(left), **self._figures()})
            self._losses.clear()
            self.restart_clock()

    def restart_clock(self) -> None:
        """Leave what happened since (a validation, a commit) out of the next rate."""
        self._since = time.monotonic()
        self._steps = 0
        self._waited_seconds = 0.0

    def row(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Append a row {"step", "kind", ...} to ``metrics.jsonl`` and its numbers to TensorBoard."""
        with (self._run / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line({"step": step, "kind": kind, **values}))
            file.flush()
            os.fsync(file.fileno())
        self.scalars(step, kind, values)

    def scalars(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Show the numbers among ``values`` in TensorBoard."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"{kind}/{name}", value, step)
        self._writer.flush()

    def picture(self, step: int, name: str, picture: Any) -> None:
        """Show a (H, W, 3) uint8 picture in TensorBoard."""
        self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()


@contextmanager
def tracking(
    run: Path,
    *,
    description: str,
    start_step: int,
    steps: int,
    images_per_step: int,
    figures: Callable[[], Mapping[str, float]] = dict,
) -> Iterator[Tracker]:
    """A tracker whose files hold what was written up to ``start_step``, with a progress display for the rest.

    ``figures()`` are the machine's, asked for with each row of training.
    """
    from torch.utils.tensorboard import SummaryWriter

    _drop_after(run, start_step)
    with (
        SummaryWriter(str(run / TENSORBOARD), purge_step=start_step + 1) as writer,
        progress(description, steps, done=start_step) as advance,
    ):
        yield Tracker(
            run=run, writer=writer, advance=advance, steps=steps, images_per_step=images_per_step, figures=figures
        )
