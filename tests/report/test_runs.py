"""Reading run directories back: what is there, what is missing, what is damaged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from abet.errors import DataError, UsageError
from abet.places import S3Uri
from abet.report.runs import label_runs, load_run, load_sample, score_keys
from tests.report.fake_runs import SCORES, edit_metrics, make_run


def sample_file(run: Path) -> Path:
    return next((run / "evaluation" / "road_anomaly" / "samples").glob("*.npz"))


def test_a_run_holds_what_its_files_hold(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    stored = json.loads((path / "evaluation/road_anomaly/metrics.json").read_text())
    run = load_run(path)
    data = run.datasets["road_anomaly"]
    assert list(run.datasets) == ["road_anomaly"]
    assert run.num_classes == 19
    assert list(data.metrics.scores) == list(data.curves) == list(SCORES)
    assert data.metrics.scores["abet"].ap.value == stored["scores"]["abet"]["ap"]["value"]
    assert data.metrics.scores["abet"].threshold == stored["scores"]["abet"]["fpr95"]["threshold"]
    assert list(data.samples) == ["original/street00.jpg", "original/street01.jpg"]
    assert data.sample("original/street01.jpg").image.shape == (72, 128, 3)


def test_every_evaluated_data_set_is_read_and_one_still_in_shards_is_not(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    make_run(path, dataset="lost_and_found")
    (path / "evaluation" / "begun").mkdir()
    assert list(load_run(path).datasets) == ["lost_and_found", "road_anomaly"]


def test_a_folder_that_is_no_run_says_what_makes_one(tmp_path: Path):
    with pytest.raises(DataError, match=r"nothing is evaluated here.*abet evaluate"):
        load_run(tmp_path)
    with pytest.raises(DataError, match=r"absent: nothing is evaluated here \(no such folder\)"):
        load_run(tmp_path / "absent")


def test_a_run_that_is_not_merged_says_so(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    (path / "evaluation/road_anomaly/metrics.json").unlink()
    with pytest.raises(DataError, match=r"begun: road_anomaly.*abet merge"):
        load_run(path)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("metrics.json", '{"schema": 1', "damaged JSON"),
        ("metrics.json", '{"schema": 2}', "schema"),
        ("metrics.json", "[]", "expected a JSON object"),
        ("curves.json", '{"schema": 1, "scores": {"abet": {"roc": {"fpr": ["x"], "tpr": []}}}}', "roc.fpr.0"),
        ("curves.json", None, "no such file"),
    ],
)
def test_a_damaged_file_is_named_with_the_place_in_it(tmp_path: Path, file: str, text: str | None, says: str):
    path = make_run(tmp_path / "abet")
    damaged = path / "evaluation" / "road_anomaly" / file
    damaged.unlink()
    if text is not None:
        damaged.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load_run(path)
    assert file in str(caught.value)


def test_infinity_in_metrics_is_refused_since_it_is_not_json(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    file = path / "evaluation/road_anomaly/metrics.json"
    value = json.loads(file.read_text())
    value["scores"]["abet"]["fpr95"]["threshold"] = float("inf")
    file.write_text(json.dumps(value))
    with pytest.raises(DataError, match="threshold"):
        load_run(path)


def test_a_score_without_any_figure_keeps_its_reason(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}
    edit_metrics(path, lambda metrics: metrics["scores"].update(abet={**empty, "reason": "no temperature"}))
    figures = load_run(path).datasets["road_anomaly"].metrics.scores["abet"]
    assert figures.threshold is None
    assert figures.reason == "no temperature"


def test_a_truncated_sample_is_damaged_data(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    file = sample_file(path)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=file.name):
        load_run(path)


def test_a_sample_that_is_a_pickle_is_refused_unopened(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    file = sample_file(path)
    with np.load(file) as content:
        arrays = dict(content)
    arrays["image"] = np.array([{"not": "an image"}], dtype=object)
    np.savez(file, **arrays, allow_pickle=True)
    with pytest.raises(DataError, match="image"):
        load_sample(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prediction", np.zeros((3, 4), np.uint8)),
        ("image", np.zeros((72, 128), np.uint8)),
        ("score_abet", np.zeros((72, 128), np.float64)),
    ],
)
def test_maps_of_another_size_or_type_are_named(tmp_path: Path, key: str, value: np.ndarray):
    file = sample_file(make_run(tmp_path / "abet"))
    with np.load(file) as content:
        arrays = dict(content)
    np.savez(file, **{**arrays, key: value})
    with pytest.raises(DataError, match=f"{key} is"):
        load_sample(file)


def test_an_unknown_sample_names_the_nearest(tmp_path: Path):
    data = load_run(make_run(tmp_path / "abet")).datasets["road_anomaly"]
    with pytest.raises(UsageError, match=r"did you mean 'original/street01\.jpg'"):
        data.sample("original/street1.jpg")


def test_labels_name_directory_and_checkpoint_and_grow_until_distinct(tmp_path: Path):
    paths = [make_run(tmp_path / parent / "eval", checkpoint="weights/best") for parent in ("monday", "tuesday")]
    runs = [load_run(path) for path in paths]
    assert label_runs(runs[:1]) == ["eval · best"]
    assert label_runs(runs) == ["monday/eval · best", "tuesday/eval · best"]


def test_a_label_that_is_a_whole_path_is_written_like_one(tmp_path: Path):
    near = load_run(make_run(tmp_path / "abet"))
    below_root = [replace(near, place=Path(place)) for place in ("/run", "/deeper/run")]
    assert label_runs(below_root) == ["/run · abet-cityscapes", "deeper/run · abet-cityscapes"]
    in_s3 = [replace(near, place=S3Uri(bucket)) for bucket in ("one", "two")]
    assert label_runs(in_s3) == ["one · abet-cityscapes", "two · abet-cityscapes"]


def test_a_run_that_is_named_twice_is_refused(tmp_path: Path):
    run = load_run(make_run(tmp_path / "abet"))
    (tmp_path / "link").symlink_to(tmp_path / "abet")
    for other in (tmp_path / "abet", tmp_path / "link", tmp_path / "link" / ".." / "abet"):
        with pytest.raises(UsageError, match=r"is named twice.*name each run once") as caught:
            label_runs([run, replace(run, place=other)])
        assert str(other) in str(caught.value)
    in_s3 = replace(run, place=S3Uri("bucket", "runs/abet"))
    with pytest.raises(UsageError, match="run s3://bucket/runs/abet is named twice:"):
        label_runs([run, in_s3, replace(in_s3, place=S3Uri("bucket", "runs/abet"))])
    with pytest.raises(UsageError, match="is named twice"):
        label_runs([run, run])


def test_a_directory_named_like_its_checkpoint_says_it_once(tmp_path: Path):
    assert label_runs([load_run(make_run(tmp_path / "best", checkpoint="s3://bucket/best/"))]) == ["best"]


def test_score_order_is_that_of_first_appearance(tmp_path: Path):
    first = load_run(make_run(tmp_path / "a", scores=("msp", "abet")))
    second = load_run(make_run(tmp_path / "b", scores=("entropy", "abet")))
    assert score_keys([first, second]) == ["msp", "abet", "entropy"]


def test_a_run_without_samples_is_fine(tmp_path: Path):
    path = make_run(tmp_path / "abet")
    shutil.rmtree(path / "evaluation/road_anomaly/samples")
    assert load_run(path).datasets["road_anomaly"].samples == {}
