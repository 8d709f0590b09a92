"""`abet demo`: which commands it runs, in which order, and what it says of their figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from abet.cli import demo, tables
from abet.run import evaluation_dir


def entry(auroc: float | None, ap: float = 0.5, fpr95: float = 0.5, *, half_width: float = 0.0) -> dict[str, Any]:
    if auroc is None:
        return {"auroc": None, "ap": None, "fpr95": None, "reason": "not defined"}
    values = {"auroc": auroc, "ap": ap, "fpr95": fpr95}
    return {name: {"value": v, "low": v - half_width, "high": v + half_width} for name, v in values.items()}


def write_metrics(run: Path, dataset: str, scores: dict[str, dict[str, Any]]) -> None:
    path = evaluation_dir(run, dataset) / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"scores": scores}))


class Recorder:
    """Stands for the command line: notes the commands, and leaves the figures that the last ones are about."""

    def __init__(self, output: Path, scores: dict[str, dict[str, dict[str, Any]]]) -> None:
        self.commands: list[list[str]] = []
        for run, of_run in scores.items():
            for dataset in demo.SETS:
                write_metrics(output / run, dataset, of_run)
        for run in ("abet", "plain"):
            (output / run / "checkpoints").mkdir()
            (output / run / "checkpoints" / "best.json").write_text('{"step": 4, "miou": 0.625}')

    def __call__(self, words: list[str], *, standalone_mode: bool) -> None:
        assert not standalone_mode, "an error must reach the user"
        self.commands.append(words)


FIGURES = {
    "abet": {"abet": entry(0.8), "entropy": entry(0.7)},
    "plain": {"abet": entry(None), "entropy": entry(0.75)},
    "random": {"abet": entry(0.5)},
    "controls": {"position_prior": entry(0.6)},
}


def test_every_stage_is_a_command_and_stands_before_those_that_need_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(tmp_path, FIGURES)
    demo._Demo(recorder, tmp_path).run()  # type: ignore[arg-type]
    names = [" ".join(words[:2]) for words in recorder.commands]
    assert names[:2] == ["data synthesize", "train demo_pretrain"]
    assert names.count("train demo_finetune") == 2
    assert names.count("train demo_finetune_plain") == 1
    trained = [words[words.index("--output") + 1] for words in recorder.commands if words[0] == "train"]
    evaluated = [words[words.index("--checkpoint") + 1] for words in recorder.commands if words[0] == "evaluate"]
    assert evaluated == [run for _ in demo.SETS for run in trained if not run.endswith("pretrain")]
    assert [words[0] for words in recorder.commands[-2:]] == ["report", "report"]
    said = capsys.readouterr()
    assert all(f"$ abet {words[0]}" in said.err for words in recorder.commands)
    assert "ahead of every baseline and control" in said.err
    assert "mIoU 0.625" in said.err


def test_a_baseline_or_control_that_is_better_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Recorder(tmp_path, {**FIGURES, "controls": {"position_prior": entry(0.9)}})
    demo._print_verdict([tmp_path / name for name in FIGURES], "road_anomaly")
    assert "ahead of it: controls position_prior (90.0)" in capsys.readouterr().err


def test_the_comparison_marks_the_best_and_shows_what_is_not_certain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path / "a", "x", {"s": entry(0.9, 0.1, 0.4, half_width=0.01), "absent": entry(None)})
    write_metrics(tmp_path / "b", "x", {"t": entry(0.8, 0.2, 0.6)})
    tables.print_comparison([tmp_path / "a", tmp_path / "b"], "x")
    lines = capsys.readouterr().out.splitlines()
    first, second = (next(line for line in lines if f" {score} " in line) for score in ("s", "t"))
    assert "90.00 ± 1*" in first
    assert "10.00 ± 1 " in first
    assert "40.00 ± 1*" in first
    assert "80.00 " in second
    assert "20.00*" in second
    assert not any("absent" in line for line in lines)
