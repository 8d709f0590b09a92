"""The second pass: the figures of all images together, whatever the shards, and never of other figures than shown."""

import errno
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from abet import arrays, component_shards
from abet.component_pass import ComponentPass, read_evaluated
from abet.component_shards import DESCRIPTION, add_components, read_component_shard
from abet.data.index import Dataset
from abet.data.opencv import keep_to_one_thread
from abet.detector import Detector
from abet.errors import DataError, UsageError
from abet.evaluate import Evaluation
from abet.labels import OOD
from abet.merge import merge
from abet.metrics.components import SIZES, ComponentState
from abet.run import evaluation_dir
from tests.conftest import Cli
from tests.evaluations import evaluate
from tests.trees import make_road_anomaly

TWO = ("abet", "energy")
SET = "road_anomaly"


def second(detector: Detector, dataset: Dataset, run: Path, shards: int = 1, **more: Any) -> ComponentPass:
    options = {"scores": TWO, "track": "obstacle-track", **more}
    evaluation = Evaluation(detector=detector, dataset=dataset, scores=options["scores"], shards=shards)
    return ComponentPass(evaluation=evaluation, evaluated=read_evaluated(run, SET), track=options["track"])


def count(detector: Detector, dataset: Dataset, run: Path, shards: int = 1, **more: Any) -> dict[str, Any]:
    job = second(detector, dataset, run, shards, **more)
    for shard in reversed(range(1, shards + 1)):
        job.run_shard(shard)
    metrics, reason = add_components(job.evaluated.folder)
    assert reason is None
    return metrics


def file_of(run: Path, name: str = "metrics.json") -> Path:
    return evaluation_dir(run, SET) / name


@pytest.fixture
def run(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> Path:
    """A run that was evaluated with protocols."""
    evaluate(learned, mixed_sizes, tmp_path / "run", scores=TWO, protocols=True)
    return tmp_path / "run"


def test_the_figures_are_those_of_all_images_at_the_threshold_of_the_best_f1(
    learned: Detector, mixed_sizes: Dataset, run: Path
) -> None:
    metrics = count(learned, mixed_sizes, run)
    keep_to_one_thread()
    sizes = SIZES["obstacle-track"]
    images = [mixed_sizes.read(pair) for pair in mixed_sizes.pairs]
    objects = sum(ndimage.label(label == OOD, np.ones((3, 3)))[1] for _, label in images)
    for key in TWO:
        protocols = metrics["scores"][key]["protocols"]
        threshold = protocols["smiyc-quantile-bins"]["best_f1_threshold"]
        states = [
            ComponentState.count(learned.score(image, key), label, threshold=threshold, sizes=sizes)
            for image, label in images
        ]
        wanted = ComponentState.merge(*states).summarise() | {"track": "obstacle-track"}
        assert protocols["smiyc-components"] == wanted
        assert wanted["objects"] + wanted["too_small"]["objects"] == objects


def test_every_partition_gives_the_same_bytes_and_merging_again_keeps_them(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    contents = set()
    for pixel_shards, shards in ((1, 1), (2, 3), (3, 5)):
        run = tmp_path / f"{pixel_shards}-{shards}"
        evaluate(learned, mixed_sizes, run, shards=pixel_shards, scores=TWO, protocols=True)
        count(learned, mixed_sizes, run, shards)
        contents.add(file_of(run).read_bytes())
        merge(run, SET)
        contents.add(file_of(run).read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("last", ["the merge", "the second pass"])
def test_a_merge_and_the_last_shard_of_components_lose_nothing_of_each_other(
    learned: Detector, mixed_sizes: Dataset, run: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """Each has looked when the other writes."""
    job, look = second(learned, mixed_sizes, run, 2), component_shards.with_components
    job.run_shard(1)
    sound = file_of(run).read_text()
    stale = sound.replace('"void": ', '"void": 1')

    def meanwhile(folder: Path, metrics: dict[str, Any]) -> Any:
        found = look(folder, metrics)
        monkeypatch.setattr(component_shards, "with_components", look)
        if last == "the merge":
            job.run_shard(2)
            add_components(folder)
        else:
            merge(run, SET)
        return found

    if last == "the merge":
        monkeypatch.setattr(component_shards, "with_components", meanwhile)
        merge(run, SET)
    else:
        job.run_shard(2)
        file_of(run).write_text(stale)
        monkeypatch.setattr(component_shards, "with_components", meanwhile)
        add_components(file_of(run).parent)
    found = file_of(run).read_bytes()
    assert json.loads(found)["pixels"] == json.loads(sound)["pixels"]
    assert b"smiyc-components" in found
    merge(run, SET)
    assert file_of(run).read_bytes() == found


def test_a_component_shard_that_this_machine_cannot_read_is_no_damage(
    learned: Detector, mixed_sizes: Dataset, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = second(learned, mixed_sizes, run).run_shard(1)
    content = path.read_bytes()
    for owner, name, error in (
        (Path, "read_bytes", OSError(errno.ESTALE, "Stale file handle")),
        (Path, "read_bytes", MemoryError()),
        (arrays, "read_array", MemoryError()),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(type(error)):
                read_component_shard(path)
    path.write_bytes(content[:-40])
    with pytest.raises(DataError, match="damaged shard of components"):
        read_component_shard(path)


def test_every_other_entry_stays_as_it_was(learned: Detector, mixed_sizes: Dataset, run: Path) -> None:
    before = file_of(run).read_text()
    metrics = count(learned, mixed_sizes, run)
    for entry in metrics["scores"].values():
        del entry["protocols"]["smiyc-components"]
    assert json.dumps(metrics, indent=1, ensure_ascii=False) + "\n" == before


def test_a_shard_that_is_there_is_kept(learned: Detector, mixed_sizes: Dataset, run: Path) -> None:
    job = second(learned, mixed_sizes, run, 2)
    path = job.run_shard(1)
    before = path.stat().st_mtime_ns
    assert job.find_shard(1) == path
    assert job.run_shard(1).stat().st_mtime_ns == before
    assert job.find_shard(2) is None
    _, reason = add_components(job.evaluated.folder)
    assert reason is not None
    assert "1 shard of components missing: components-002-of-002.npz" in reason


@pytest.mark.parametrize("change", [{"track": "anomaly-track"}, {"scores": ("abet",)}, {}])
def test_a_shard_without_description_is_kept_only_if_it_is_of_this_pass(
    learned: Detector, mixed_sizes: Dataset, run: Path, change: dict[str, Any]
) -> None:
    first, other = (second(learned, mixed_sizes, run, 2).run_shard(number) for number in (1, 2))
    file_of(run, DESCRIPTION).unlink()
    job = second(learned, mixed_sizes, run, 2, **change)
    if not change:
        first.write_bytes(other.read_bytes())
        change = {"shard": 1}
    with pytest.raises(
        UsageError, match=rf"{first.name} is of another pass \(different: .*{next(iter(change))}.*remove"
    ):
        job.run_shard(1)
    assert not file_of(run, DESCRIPTION).exists()


def test_a_shard_whose_description_was_lost_is_kept_and_gives_figures(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    data = ("--dataset", SET, "--data-root", tmp_path / "ra")
    run = tmp_path / "run"
    evaluate = ("evaluate", "--checkpoint", learned_checkpoint, *data, "--scores", "msp", "--output", run)
    assert cli(*evaluate, "--components").code == 0
    wanted = file_of(run).read_bytes()
    file_of(run, DESCRIPTION).unlink()
    assert cli("merge", run, "--dataset", SET).code == 0
    assert file_of(run).read_bytes() != wanted
    finished = cli("components", run, "--dataset", SET)
    assert (finished.code, "kept" in finished.err) == (0, True), finished.err
    assert file_of(run).read_bytes() == wanted
    file_of(run, DESCRIPTION).unlink()
    refused = cli("components", run, "--dataset", SET, "--track", "obstacle-track")
    assert (refused.code, "track 'anomaly-track' there, 'obstacle-track' here" in refused.err) == (2, True)


@pytest.mark.parametrize("change", [{"track": "anomaly-track"}, {"scores": ("abet",)}, {"shards": 3}])
def test_two_passes_do_not_mix(learned: Detector, mixed_sizes: Dataset, run: Path, change: dict[str, Any]) -> None:
    second(learned, mixed_sizes, run, 2).run_shard(1)
    with pytest.raises(UsageError, match=f"another pass .*{next(iter(change))}"):
        second(learned, mixed_sizes, run, **{"shards": 2, **change}).run_shard(2)


def test_other_images_or_weights_than_those_evaluated_are_refused(
    learned: Detector, plain: Detector, mixed_sizes: Dataset, run: Path
) -> None:
    with pytest.raises(UsageError, match=r"evaluated otherwise.*list_sha256"):
        second(learned, mixed_sizes.select(limit=4), run)
    with pytest.raises(UsageError, match=r"evaluated otherwise.*checkpoint_sha256"):
        second(plain, mixed_sizes, run, scores=("energy",))


def test_components_of_an_evaluation_that_noted_no_bits_are_left_to_the_abet_that_made_it(
    learned: Detector, mixed_sizes: Dataset, run: Path
) -> None:
    path = file_of(run, "evaluation.json")
    description = json.loads(path.read_text())
    before, bits = description["arithmetic"].split(", bits ")
    path.write_text(json.dumps({**description, "arithmetic": before}))
    with pytest.raises(
        UsageError, match=rf"arithmetic '{re.escape(before)}' there, .*bits {bits}' here.*with that abet"
    ):
        second(learned, mixed_sizes, run)


def test_figures_that_have_changed_since_leave_no_stale_components(
    learned: Detector, mixed_sizes: Dataset, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count(learned, mixed_sizes, run)
    for name in ("shard-001-of-001.npz", "evaluation.json"):
        file_of(run, name).unlink()
    metrics = evaluate(learned, mixed_sizes.select(limit=4), run, scores=TWO, protocols=True)
    assert "smiyc-components" not in metrics["scores"]["abet"]["protocols"]
    assert (
        "components were counted for other figures (images; list_sha256; threshold of abet" in capsys.readouterr().err
    )
    with pytest.raises(UsageError, match="figures that have changed since"):
        second(learned, mixed_sizes.select(limit=4), run).run_shard(1)


def test_a_set_without_a_threshold_has_null_figures_with_the_reason(learned: Detector, tmp_path: Path) -> None:
    from abet.data.index import open_dataset
    from tests.trees import save

    for path in make_road_anomaly(tmp_path / "ra", count=2):
        save(tmp_path / "ra" / "labels" / f"{Path(path).stem}.png", np.zeros((48, 64), np.uint8))
    data = open_dataset(SET, tmp_path / "ra")
    evaluate(learned, data, tmp_path / "run", scores=TWO, protocols=True)
    entry = count(learned, data, tmp_path / "run")["scores"]["abet"]["protocols"]["smiyc-components"]
    assert entry["f1"] is entry["siou"] is entry["threshold"] is None
    assert "no best F1" in entry["reason"]


def test_without_merged_protocols_it_says_what_to_run(learned: Detector, mixed_sizes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no metrics\.json.*abet evaluate --protocols --dataset road_anomaly"):
        read_evaluated(tmp_path, SET)
    evaluate(learned, mixed_sizes, tmp_path / "run", scores=TWO)
    with pytest.raises(UsageError, match=r"no smiyc-quantile-bins.*abet evaluate --protocols --checkpoint \S+learned"):
        read_evaluated(tmp_path / "run", SET)


def test_a_score_that_was_not_evaluated_is_refused_with_those_that_were(run: Path) -> None:
    with pytest.raises(UsageError, match=r"'msp' has no components here: it was not evaluated.*abet, energy"):
        read_evaluated(run, SET).choose(("msp",))
    assert read_evaluated(run, SET).choose(("energy",)) == ("energy",)


@pytest.mark.parametrize("damage", ["truncated", "copied", "description"])
def test_a_damaged_shard_is_named(learned: Detector, mixed_sizes: Dataset, run: Path, damage: str) -> None:
    count(learned, mixed_sizes, run, 2)
    first, other = (file_of(run, f"components-00{number}-of-002.npz") for number in (1, 2))
    match damage:
        case "truncated":
            first.write_bytes(first.read_bytes()[:100])
        case "copied":
            first.write_bytes(other.read_bytes())
        case "description":
            first = file_of(run, DESCRIPTION)
            first.write_text('{"shards": "2"}')
    with pytest.raises(DataError, match=rf"{first.name}: "):
        merge(run, SET)


def test_the_commands_end_in_the_same_bytes(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    make_road_anomaly(tmp_path / "ra", count=3)
    data = ("--dataset", SET, "--data-root", tmp_path / "ra")
    usual = ("evaluate", "--checkpoint", learned_checkpoint, *data, "--scores", "abet,msp", "--samples", 0)
    one, other = tmp_path / "one", tmp_path / "other"
    finished = cli(*usual, "--output", one, "--components")
    assert finished.code == 0, finished.err
    assert "components of road_anomaly (test, 3 images), anomaly-track" in finished.out
    assert cli(*usual, "--output", other, "--protocols").code == 0
    assert "2 shards of components missing" in cli("components", other, "--dataset", SET, "--shard", "2/3").err
    for shard in (3, 1):
        finished = cli("components", other, "--dataset", SET, "--shard", f"{shard}/3")
        assert finished.code == 0, finished.err
    assert file_of(one).read_bytes() == file_of(other).read_bytes()
    again = cli("merge", other, "--dataset", SET)
    assert (again.code, "components of road_anomaly" in again.out) == (0, True)
    assert cli("merge", other, "--dataset", SET, "--components").code == 0
    assert file_of(one).read_bytes() == file_of(other).read_bytes()
    assert "kept" in cli("components", other, "--dataset", SET, "--shard", "1/3").err
    refused = cli(*usual, "--output", tmp_path / "third", "--components", "--shard", "1/2")
    assert (refused.code, "and then run `abet components`" in refused.err) == (2, True)
    refused = cli("components", other, "--dataset", SET, "--track", "road")
    assert (refused.code, "anomaly-track, obstacle-track" in refused.err) == (2, True)
    assert cli("components", other, "--dataset", SET, "--checkpoint", tmp_path / "gone").code == 3
    file_of(other, "components-001-of-003.npz").unlink()
    lost = cli("merge", other, "--dataset", SET, "--components")
    assert (lost.code, "without components" in lost.err, "remove components.json" in lost.err) == (3, True, True)


def test_data_that_moved_are_named_with_the_option_that_finds_them(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path
) -> None:
    make_road_anomaly(tmp_path / "before", count=2)
    run, after = tmp_path / "run", tmp_path / "after"
    data = ("--dataset", SET, "--data-root", tmp_path / "before")
    evaluate = ("evaluate", "--checkpoint", learned_checkpoint, *data, "--scores", "msp", "--output", run)
    assert cli(*evaluate, "--protocols").code == 0
    (tmp_path / "before").rename(after)
    picture = ("report", run, "--matrix", tmp_path / "m.png", "--scores", "msp")
    for command in (("components", run, "--dataset", SET), picture):
        refused = cli(*command)
        assert refused.code == 3
        assert f"{tmp_path / 'before'}: there the run read {SET}, and it is gone" in refused.err
        assert "--data-root" in refused.err
        finished = cli(*command, "--data-root", after)
        assert finished.code == 0, finished.err
