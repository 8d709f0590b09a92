"""Score files for a benchmark with hidden labels: the toolkit's tree, the detector's numbers, and nothing mixed."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from abet.data.images import read_image
from abet.detector import Detector, load_detector
from abet.errors import DataError, UsageError
from abet.submission import Submission, find_images
from tests.conftest import Cli, unavailable
from tests.trees import SEGMENT_ME, make_sample, make_segment_me, save

TRACKS = {"road_anomaly_21": "AnomalyTrack-all", "road_obstacle_21": "ObstacleTrack-all"}


@pytest.fixture(scope="module")
def detector(learned_checkpoint: Path) -> Detector:
    return load_detector(learned_checkpoint, device="cpu")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_segment_me(tmp_path / "set")
    return tmp_path / "set"


def submission(detector: Detector, output: Path, score: str = "abet", **options: Any) -> Submission:
    options = {"method": "mine", **options}
    return Submission(detector=detector, dataset="road_anomaly_21", score=score, output=output, **options)


@pytest.fixture
def h5py() -> ModuleType:
    if importlib.util.find_spec("h5py") is None:
        unavailable("no h5py: `make setup` installs it")
    return importlib.import_module("h5py")


@pytest.mark.parametrize("name", SEGMENT_ME)
def test_every_image_of_the_track_has_a_file_where_the_toolkit_looks(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, name: str
) -> None:
    make_segment_me(tmp_path / "set", name)
    output = tmp_path / "out"
    finished = cli(
        *("submission", "--dataset", name, "--method", "AbeT-v1", "--output", output, "--device", "cpu"),
        *("--checkpoint", learned_checkpoint, "--data-root", tmp_path / "set"),
    )
    assert finished.code == 0, finished.err
    assert "wrote 5 of 5" in finished.err
    images = {path.stem for path in (tmp_path / "set/images").iterdir()}
    files = list((output / "anomaly_p/AbeT-v1" / TRACKS[name]).iterdir())
    assert {(path.stem, path.suffix) for path in files} == {(stem, ".npy") for stem in images}
    assert [path.name for path in (output / "anomaly_p").iterdir()] == ["AbeT-v1"], "settings lie outside the tree"


def test_a_file_holds_the_raw_score_of_its_image(detector: Detector, root: Path, tmp_path: Path) -> None:
    images, _ = find_images("road_anomaly_21", root)
    job = submission(detector, tmp_path / "out", "entropy")
    job.write(images)
    for image in images:
        stored = np.load(job.folder / f"{image.stem}.npy", allow_pickle=False)
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, detector.score(read_image(image), "entropy"))


def test_hdf5_holds_the_same_numbers_where_the_toolkit_reads_them(
    detector: Detector, root: Path, tmp_path: Path, h5py: ModuleType
) -> None:
    images, _ = find_images("road_anomaly_21", root)
    arrays, job = submission(detector, tmp_path / "npy"), submission(detector, tmp_path / "hdf5", format="hdf5")
    arrays.write(images)
    assert job.write(images) == 5
    assert job.write(images) == 0
    assert {path.name for path in job.folder.iterdir()} == {f"{image.stem}.hdf5" for image in images}
    for image in images:
        with h5py.File(job.folder / f"{image.stem}.hdf5") as file:
            assert list(file) == ["value"]
            assert file["value"].dtype == np.float32
            np.testing.assert_array_equal(file["value"][:], np.load(arrays.folder / f"{image.stem}.npy"))


def test_the_command_writes_hdf5(
    cli: Cli, learned_checkpoint: Path, root: Path, tmp_path: Path, h5py: ModuleType
) -> None:
    finished = cli(
        *("submission", "--dataset", "road_anomaly_21", "--method", "AbeT-v1", "--output", tmp_path / "out"),
        *("--format", "hdf5", "--device", "cpu", "--checkpoint", learned_checkpoint, "--data-root", root),
    )
    assert finished.code == 0, finished.err
    assert "HDF5" not in finished.err, "nothing is left to do"
    (first, *_), _ = find_images("road_anomaly_21", root)
    with h5py.File(tmp_path / f"out/anomaly_p/AbeT-v1/AnomalyTrack-all/{first.stem}.hdf5") as file:
        assert file["value"].shape == (48, 64)


def test_without_its_library_hdf5_is_refused_before_anything_else(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("abet.submission.find_spec", lambda _name: None)
    finished = cli(
        *("submission", "--dataset", "road_anomaly_21", "--method", "a", "--output", tmp_path / "out"),
        *("--format", "hdf5", "--checkpoint", tmp_path / "no.pth", "--data-root", tmp_path / "no"),
    )
    assert finished.code == 2
    assert "pip install 'abet-ood[hdf5]'" in finished.err
    assert not (tmp_path / "out").exists()


def test_files_of_another_format_are_not_mixed_in(
    detector: Detector, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("abet.submission.find_spec", lambda _name: "there")
    images, _ = find_images("road_anomaly_21", root)
    submission(detector, tmp_path / "out").write(images)
    with pytest.raises(UsageError, match="another format: choose another --output"):
        submission(detector, tmp_path / "out", format="hdf5").write(images)


def test_a_stopped_one_goes_on_where_it_stopped(detector: Detector, root: Path, tmp_path: Path) -> None:
    images, _ = find_images("road_anomaly_21", root)
    job = submission(detector, tmp_path / "out")
    assert job.write(images) == 5
    (job.folder / f"{images[2].stem}.npy").unlink()
    assert job.write(images) == 1


def test_files_of_another_score_or_other_images_are_not_mixed_in(
    detector: Detector, root: Path, tmp_path: Path
) -> None:
    images, _ = find_images("road_anomaly_21", root)
    submission(detector, tmp_path / "out").write(images)
    with pytest.raises(UsageError, match="another score: choose another --output"):
        submission(detector, tmp_path / "out", "msp").write(images)
    with pytest.raises(UsageError, match="another images"):
        submission(detector, tmp_path / "out").write(images[1:])


def test_a_score_that_the_head_lacks_is_refused_before_anything_is_written(
    plain_checkpoint: Path, root: Path, tmp_path: Path
) -> None:
    job = submission(load_detector(plain_checkpoint, device="cpu"), tmp_path / "out")
    with pytest.raises(UsageError, match="score 'abet' is not defined here"):
        job.write(find_images("road_anomaly_21", root)[0])
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_named_and_the_files_before_it_stand(detector: Detector, root: Path, tmp_path: Path) -> None:
    images, _ = find_images("road_anomaly_21", root)
    images[1].write_bytes(images[1].read_bytes()[:300])
    job = submission(detector, tmp_path / "out")
    with pytest.raises(DataError, match=images[1].name):
        job.write(images)
    assert [path.stem for path in job.folder.iterdir()] == [images[0].stem]


def test_a_score_that_is_no_number_is_refused(
    detector: Detector, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> np.ndarray:
        return np.array([[0.5, np.nan]], np.float32)

    monkeypatch.setattr(Detector, "score", broken)
    with pytest.raises(DataError, match="NaN or infinite in 1 pixels"):
        submission(detector, tmp_path / "out").write(find_images("road_anomaly_21", root)[0])


def test_missing_images_are_noted(root: Path) -> None:
    assert find_images("road_anomaly_21", root)[1] == ["2 images without public labels, the published set has 100"]


def test_two_images_of_one_stem_are_refused(root: Path) -> None:
    save(root / "images/street0000.png", make_sample().image)
    with pytest.raises(DataError, match="would share one score file"):
        find_images("road_anomaly_21", root)


@pytest.mark.parametrize("method", ["", "../up", "a/b", ".hidden", "two words"])
def test_a_method_is_the_name_of_a_folder(cli: Cli, root: Path, tmp_path: Path, method: str) -> None:
    finished = cli("submission", "--dataset", "road_anomaly_21", "--method", method, "--output", tmp_path / "out")
    assert finished.code == 2
    assert "--method" in finished.err


def test_a_set_with_public_labels_is_refused(cli: Cli, tmp_path: Path) -> None:
    finished = cli("submission", "--dataset", "road_anomaly", "--method", "mine", "--output", tmp_path / "out")
    assert finished.code == 2
    assert "The choices are: road_anomaly_21, road_obstacle_21" in finished.err
