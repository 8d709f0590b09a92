"""The site file: found upwards, relative to itself, and unforgiving of misspelt keys."""

import re
import tempfile
from pathlib import Path

import pytest
import yaml

from abet.data.registry import DATASETS, OOD_SETS, TRAINING_SETS
from abet.errors import UsageError
from abet.names import OOD_NAMES, PAPER_NAMES, TRAINING_NAMES
from abet.places import S3Uri
from abet.settings import dotted_fields
from abet.site import S3Settings, SiteConfig, data_root, load_site

EXAMPLE = Path(__file__).parents[1] / "abet.site.example.yaml"


def write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "abet.site.yaml").write_text(text)


def test_defaults_lie_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_site() == SiteConfig(
        weights=tmp_path / "weights", artifacts=tmp_path / "runs", jobs=tmp_path / "runs" / "jobs"
    )


def test_paths_are_relative_to_the_file_that_is_found_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data: {road_anomaly: sets/ra}\nartifacts: /elsewhere\ncheckpoint: weights/x\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    site = load_site()
    assert site.data == {"road_anomaly": tmp_path / "sets" / "ra"}
    assert site.artifacts == Path("/elsewhere")
    assert site.checkpoint == tmp_path / "weights" / "x"


@pytest.mark.parametrize("path", ["profiles/mine.yaml", "~/mine.yml", "/etc/mine.yaml"])
def test_a_profile_by_its_path_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", "/people/me")
    write(tmp_path, f"profile: {path}\n")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert load_site().profile == str(tmp_path / path.replace("~", "/people/me"))
    write(tmp_path, "profile: gpu\n")
    assert load_site().profile == "gpu"


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


def test_a_section_may_be_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data:\n  # road_anomaly: x\ns3:\n  # endpoint: x\n")
    monkeypatch.chdir(tmp_path)
    assert load_site() == load_site().model_copy(update={"data": {}, "s3": S3Settings()})


def test_places_in_s3_stay_as_they_are_beside_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        "data: {road_anomaly: s3://sets/ra, cityscapes: c}\nartifacts: s3://models/abet\ncheckpoint: s3://models/x\n"
        "scratch: local\njobs: j\ns3: {endpoint: 'http://localhost:1', region: r, checksums: when_required}\n",
    )
    monkeypatch.chdir(tmp_path)
    site = load_site()
    assert site.data == {"road_anomaly": S3Uri("sets", "ra"), "cityscapes": tmp_path / "c"}
    assert (site.artifacts, site.checkpoint) == (S3Uri("models", "abet"), S3Uri("models", "x"))
    assert (site.scratch_folder, site.jobs) == (tmp_path / "local", tmp_path / "j")
    assert site.s3 == S3Settings(endpoint="http://localhost:1", region="r", checksums="when_required")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("artifacts: s3://x", "'x' is no name of a bucket"),
        ("artifacts: gs://models", "expected a path on this machine or s3://"),
        ("data: {road_anomaly: 3}", "expected a path or s3://bucket/prefix"),
        ("s3: {endpoint: 'minio:9000'}", r"s3\.endpoint: expected a URL that begins with http"),
        ("s3: {checksums: never}", r"s3\.checksums"),
        ("s3: {endpiont: x}", r"'s3\.endpiont': did you mean 's3\.endpoint'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        load_site()


def test_keys_in_an_endpoint_are_refused_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "s3: {endpoint: 'http://user:PLANTED@minio:9000'}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"s3\.endpoint: credentials do not belong in it") as caught:
        load_site()
    assert "PLANTED" not in str(caught.value)


def test_scratch_is_the_sites_else_the_environments_else_below_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABET_SCRATCH", raising=False)
    assert SiteConfig(scratch=tmp_path).scratch_folder == tmp_path
    assert SiteConfig().scratch_folder.parent == Path(tempfile.gettempdir())
    monkeypatch.setenv("ABET_SCRATCH", str(tmp_path / "node"))
    assert SiteConfig().scratch_folder == tmp_path / "node"
    assert SiteConfig(scratch=tmp_path).scratch_folder == tmp_path


def test_the_committed_example_is_valid_and_shows_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EXAMPLE.read_text()
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    assert set(load_site().data) == {*PAPER_NAMES, *TRAINING_NAMES}
    assert isinstance(load_site().data["cityscapes"], S3Uri)
    shown = re.sub(r"^( *)# (?=[a-z0-9_]+: \S+$)", r"\1", text, flags=re.MULTILINE)
    assert set(yaml.safe_load(shown)["data"]) == {*OOD_NAMES, *TRAINING_NAMES}
    keys = {key for key, _ in dotted_fields(SiteConfig)} - {"data"}
    values = yaml.safe_load(shown)
    assert {*(f"s3.{key}" for key in values.pop("s3")), *values} - {"data"} == keys


def test_the_given_data_root_wins_over_the_sites(tmp_path: Path) -> None:
    site = SiteConfig(data={"road_anomaly": Path("/site")})
    assert data_root(site, "road_anomaly", Path("/given")) == Path("/given")
    assert data_root(site, "road_anomaly", None) == Path("/site")
    with pytest.raises(UsageError, match=r"no data root for 'lost_and_found'.*--data-root.*DATA_ROOT="):
        data_root(site, "lost_and_found", None)


def test_data_sets_have_the_same_names_everywhere() -> None:
    assert (tuple(OOD_SETS), tuple(TRAINING_SETS)) == (OOD_NAMES, TRAINING_NAMES)
    assert set(DATASETS) == {*OOD_NAMES, *TRAINING_NAMES}
    assert [spec.kind for spec in DATASETS.values()] == ["ood"] * 7 + ["training"] * 2
