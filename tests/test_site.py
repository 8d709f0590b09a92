"""The site file: found upwards, relative to itself, and unforgiving of misspelt keys."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.site import SiteConfig, data_root, load_site

EXAMPLE = Path(__file__).parents[1] / "abet.site.example.yaml"


def write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "abet.site.yaml").write_text(text)


def test_defaults_lie_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_site() == SiteConfig(weights=tmp_path / "weights", artifacts=tmp_path / "runs")


def test_paths_are_relative_to_the_file_that_is_found_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data: {road_anomaly: sets/ra}\nartifacts: /elsewhere\ncheckpoint: weights/x\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    site = load_site()
    assert site.data == {"road_anomaly": tmp_path / "sets" / "ra"}
    assert site.artifacts == Path("/elsewhere")
    assert site.checkpoint == tmp_path / "weights" / "x"


def test_the_environment_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("weights: w\n")
    monkeypatch.setenv("ABET_SITE", str(tmp_path / "mine.yaml"))
    assert load_site().weights == tmp_path / "w"
    monkeypatch.setenv("ABET_SITE", str(tmp_path / "absent.yaml"))
    with pytest.raises(UsageError, match=r"absent\.yaml: no such file"):
        load_site()


def test_a_misspelt_key_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "wieghts: w\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"'wieghts': did you mean 'weights'"):
        load_site()


def test_a_misspelt_data_set_names_the_nearest_and_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data: {road_anomally: sets/ra}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"abet\.site\.yaml.*'road_anomally': did you mean 'road_anomaly'"):
        load_site()


@pytest.mark.parametrize("text", ["", "data:\n", "# nothing yet\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    assert load_site().data == {}


def test_the_committed_example_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, EXAMPLE.read_text())
    monkeypatch.chdir(tmp_path)
    assert set(load_site().data) == {"road_anomaly", "lost_and_found", "mapillary", "cityscapes"}


def test_the_given_data_root_wins_over_the_sites(tmp_path: Path) -> None:
    site = SiteConfig(data={"road_anomaly": Path("/site")})
    assert data_root(site, "road_anomaly", Path("/given")) == Path("/given")
    assert data_root(site, "road_anomaly", None) == Path("/site")
    with pytest.raises(UsageError, match=r"no data root for 'lost_and_found'.*--data-root.*DATA_ROOT="):
        data_root(site, "lost_and_found", None)
