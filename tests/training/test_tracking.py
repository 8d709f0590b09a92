"""metrics.jsonl: one line per report, torn lines forgotten, nothing from beyond the step that a run resumes from."""

import json
from pathlib import Path

from abet.training.tracking import Tracker, read_metrics, tracking


def step(tracker: Tracker, number: int, *, loss: float = 1.0, log: bool = True, faults: int = 0) -> None:
    tracker.step(step=number, loss=loss, lr=0.5, waited_seconds=0.0, faults=faults, log=log)


def test_a_row_holds_the_mean_loss_since_the_last_one(tmp_path: Path) -> None:
    with tracking(tmp_path, description="x", start_step=0, steps=4, images_per_step=8) as tracker:
        step(tracker, 1, loss=1.0, log=False)
        step(tracker, 2, loss=3.0)
        step(tracker, 3, loss=7.0, log=False)
        step(tracker, 4, loss=5.0, faults=2)
    rows = read_metrics(tmp_path)
    assert [(row["step"], row["kind"], row["loss"], row["skipped"]) for row in rows] == [
        (2, "train", 2.0, 0),
        (4, "train", 6.0, 2),
    ]
    assert all(row["images_per_second"] > 0 and 0 <= row["data_wait_share"] <= 1 for row in rows)
    assert rows[-1]["seconds_left"] == 0


def test_what_the_machine_does_stands_in_each_row(tmp_path: Path) -> None:
    figures = iter([{"gpu_memory_gib": 3.0}, {"gpu_memory_gib": 4.0}])
    with tracking(
        tmp_path, description="x", start_step=0, steps=2, images_per_step=1, figures=lambda: next(figures)
    ) as tracker:
        step(tracker, 1)
        step(tracker, 2)
    assert [row["gpu_memory_gib"] for row in read_metrics(tmp_path)] == [3.0, 4.0]


def test_a_commit_between_two_rows_takes_time_from_the_rate_and_no_step_from_the_mean(tmp_path: Path) -> None:
    with tracking(tmp_path, description="x", start_step=0, steps=2, images_per_step=8) as tracker:
        step(tracker, 1, loss=1.0, log=False)
        tracker.restart_clock()
        step(tracker, 2, loss=3.0)
    assert [row["loss"] for row in read_metrics(tmp_path)] == [2.0]


def test_a_resumed_run_forgets_what_was_written_beyond_its_step(tmp_path: Path) -> None:
    with tracking(tmp_path, description="x", start_step=0, steps=9, images_per_step=1) as tracker:
        for number in range(1, 6):
            step(tracker, number)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "kind": "tra')  # the kill came here
    with tracking(tmp_path, description="x", start_step=3, steps=9, images_per_step=1) as tracker:
        step(tracker, 4, loss=9.0)
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 9.0)]
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_tensorboard_shows_scalars_of_the_rows_and_drops_what_was_repeated(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, loss in ((0, 1.0), (2, 5.0)):
        with tracking(tmp_path, description="x", start_step=start, steps=4, images_per_step=1) as tracker:
            for number in range(start + 1, 5):
                step(tracker, number, loss=loss)
    events = EventAccumulator(str(tmp_path / "tensorboard"))  # type: ignore[no-untyped-call]
    events.Reload()  # type: ignore[no-untyped-call]
    shown = [(event.step, event.value) for event in events.Scalars("train/loss")]  # type: ignore[no-untyped-call]
    assert shown == [(1, 1.0), (2, 1.0), (3, 5.0), (4, 5.0)]
