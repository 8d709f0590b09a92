"""Promotion: which checkpoint counts, and that its weights are still the promoted ones."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from abet import checkpoint
from abet.cli.options import choose_checkpoint, load
from abet.errors import CheckpointError, UsageError
from abet.places import Place, parse_place
from abet.promote import PRETRAINING_CLASSES, Candidate, find_promoted, newest_promoted, promote, promotions
from abet.site import SiteConfig, load_site
from abet.storage import open_storage
from tests.conftest import Cli, random_weights
from tests.s3_server import S3Server


def candidate(name: str, sha256: str = "0", *, num_classes: int = 19, dataset: str | None = None) -> Candidate:
    return Candidate(
        checkpoint=parse_place(name), sha256=sha256, num_classes=num_classes, head="learned", dataset=dataset
    )


@pytest.fixture(params=["folder", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> SiteConfig:
    """A site whose artifacts lie in a folder, then in a bucket."""
    if request.param == "folder":
        return SiteConfig(artifacts=tmp_path)
    s3: S3Server = request.getfixturevalue("s3")
    return SiteConfig(artifacts=s3.place("artifacts"), s3=s3.settings)


def record(site: SiteConfig, made: Candidate) -> Place:
    return promote(made, site.artifacts, site.s3)


def put(site: SiteConfig, name: str, text: str) -> None:
    open_storage(site.artifacts / "promoted", site.s3).write(name, text.encode(), expect=None)


def test_the_newest_promotion_counts_and_none_says_how_to_get_one(site: SiteConfig) -> None:
    with pytest.raises(UsageError, match=r"abet checkpoint promote.*docs/weights\.md"):
        newest_promoted(site)
    for number in range(1, 12):
        record(site, candidate(f"/c/{number}", f"{number:064x}"))
    newest = newest_promoted(site)
    assert (newest.number, newest.checkpoint, newest.sha256) == (11, Path("/c/11"), f"{11:064x}")


def test_a_detector_and_a_pre_training_are_promoted_side_by_side(site: SiteConfig) -> None:
    record(site, candidate("s3://models/fine/checkpoints/step-00000040-g0001", dataset="cityscapes"))
    with pytest.raises(UsageError, match=r"no pre-trained checkpoint: give --snapshot.*none of 65 classes"):
        newest_promoted(site, PRETRAINING_CLASSES)
    record(site, candidate("/runs/pretrain", num_classes=PRETRAINING_CLASSES, dataset="mapillary"))
    detector, start = newest_promoted(site), newest_promoted(site, PRETRAINING_CLASSES)
    assert (str(detector.checkpoint), detector.head) == ("s3://models/fine/checkpoints/step-00000040-g0001", "learned")
    assert (start.checkpoint, start.dataset) == (Path("/runs/pretrain"), "mapillary")


def test_records_from_before_they_told_classes_are_of_detectors(site: SiteConfig) -> None:
    put(site, "000001.json", '{"checkpoint": "/c/old", "sha256": "0"}')
    assert newest_promoted(site).checkpoint == Path("/c/old")
    assert find_promoted(site, PRETRAINING_CLASSES) is None


def test_promotions_are_ordered_by_number_and_other_files_are_left_alone(site: SiteConfig) -> None:
    for name in ("9.json", "000010.json", "1000000.json"):
        put(site, name, json.dumps({"checkpoint": f"/c/{name}", "sha256": "0"}))
    for name in ("1abc.json", "notes.json", "2.json~", "².json", "3.json/4.txt"):
        put(site, name, "not ours")
    assert [promotion.number for promotion in promotions(site.artifacts, site.s3)] == [9, 10, 1000000]
    assert record(site, candidate("/c/new")).name == "1000001.json"


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "", "\udcff", '{"checkpoint": "/c"}', '{"checkpoint": "/c", "sha256": "0", "num_classes": "19"}'],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    site = SiteConfig(artifacts=tmp_path)
    assert record(site, candidate("/c")) == tmp_path / "promoted" / "000001.json"
    (tmp_path / "promoted" / "000001.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"000001\.json: not a promotion record"):
        newest_promoted(site)


@pytest.mark.faults
def test_promotions_at_the_same_moment_are_all_kept(site: SiteConfig) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: record(site, candidate(f"/c/{number}", str(number))), range(8)))
    found = promotions(site.artifacts, site.s3)
    assert [promotion.number for promotion in found] == list(range(1, 9))
    assert {promotion.sha256 for promotion in found} == {str(number) for number in range(8)}


def chosen_sha256(given: Path | None) -> str:
    site = load_site()
    return load(choose_checkpoint(given, site), "cpu", "demo_finetune", site).sha256


def test_other_weights_at_the_promoted_path_are_refused_until_promoted_again(cli: Cli, tmp_path: Path) -> None:
    old = checkpoint.save(random_weights(), tmp_path / "c").sha256
    assert cli("checkpoint", "promote", tmp_path / "c").code == 0
    assert chosen_sha256(None) == old
    shutil.rmtree(tmp_path / "c")
    new = checkpoint.save(random_weights(seed=1), tmp_path / "c").sha256

    with pytest.raises(CheckpointError, match=f"sha256 {old} was promoted.*{new}.*abet checkpoint promote"):
        chosen_sha256(None)
    assert chosen_sha256(tmp_path / "c") == new
    assert cli("checkpoint", "promote", tmp_path / "c").code == 0
    assert chosen_sha256(None) == new


def test_the_list_marks_the_newest_promotion_alone_and_says_what_is_used(cli: Cli, tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoint.save(random_weights(seed=seed), tmp_path / "weights" / f"c{seed}")
    assert "none is promoted yet" in cli("checkpoint", "ls", tmp_path / "weights").err
    for seed in (2, 1):
        assert cli("checkpoint", "promote", tmp_path / "weights" / f"c{seed}").code == 0
    finished = cli("checkpoint", "ls", tmp_path / "weights")
    marked = [line for line in finished.out.splitlines() if "newest" in line]
    assert len(marked) == 1
    assert " c1 " in marked[0]
    assert f"used when none is named: {tmp_path / 'weights' / 'c1'} (the newest promotion)" in finished.err


def test_the_record_names_the_step_that_was_best_and_what_it_was_trained_on(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint.save(random_weights(num_classes=65), run / "checkpoints" / "step-00000010")
    (run / "config.yaml").write_text("data: {dataset: mapillary}")
    assert cli("checkpoint", "promote", run).code == 0
    record = json.loads((Path("runs") / "promoted" / "000001.json").read_text())
    assert record == {
        "checkpoint": str(run / "checkpoints" / "step-00000010"),
        "sha256": record["sha256"],
        "num_classes": 65,
        "head": "learned",
        "dataset": "mapillary",
    }
    finished = cli("evaluate", "--dataset", "road_anomaly", "--data-root", tmp_path)
    assert finished.code == 2
    assert "none of 19 classes is promoted" in finished.err
    assert newest_promoted(load_site(), PRETRAINING_CLASSES).checkpoint == run / "checkpoints" / "step-00000010"


def test_a_checkpoint_in_s3_is_promoted_by_its_step_and_listed_with_its_run(
    cli: Cli, s3: S3Server, tmp_path: Path
) -> None:
    place = s3.place("site")
    Path("abet.site.yaml").write_text(
        f"artifacts: {place}/artifacts\nscratch: {tmp_path / 'scratch'}\ns3: {{endpoint: '{s3.endpoint}'}}\n"
    )
    run = open_storage(place / "artifacts/run", s3.settings)
    for seed, step in enumerate(("step-00000010-g0001", "step-00000020-g0002")):
        checkpoint.save(random_weights(seed=seed), tmp_path / step)
        for path in (tmp_path / step).iterdir():
            run.upload(path, f"checkpoints/{step}/{path.name}")
    run.write("checkpoints/best.json", b'{"step": 10, "miou": 0.5}', expect=None)
    run.write("config.yaml", b"data: {dataset: cityscapes}", expect=None)

    finished = cli("checkpoint", "promote", f"{place}/artifacts/run")
    assert finished.code == 0, finished.err
    promoted = newest_promoted(load_site())
    assert str(promoted.checkpoint) == f"{place}/artifacts/run/checkpoints/step-00000010-g0001"
    assert promoted.dataset == "cityscapes"

    run.upload(tmp_path / "step-00000010-g0001" / "manifest.json", "checkpoints/step-00000030-g0002/manifest.json")
    listed = cli("checkpoint", "ls", f"{place}/artifacts/run")
    assert listed.code == 0, listed.err
    rows = [line for line in listed.out.splitlines() if "step-" in line]
    assert [("newest" in row, "unreadable" in row) for row in rows] == [(True, False), (False, False), (False, True)]
    assert "model.safetensors" in rows[2]
    assert cli("checkpoint", "ls", f"{place}/nothing").code == 3
