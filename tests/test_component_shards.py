"""A shard of components: whole or recognised as not, and added up only with all others of its pass."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abet.component_shards import (
    DESCRIPTION,
    FORMAT,
    ComponentShard,
    add_components,
    read_component_shard,
    with_components,
    write_component_shard,
)
from abet.data.opencv import keep_to_one_thread
from abet.errors import DataError
from abet.files import write_json
from abet.labels import ID, OOD
from abet.metrics.components import ComponentState, MinimumSizes
from abet.run import component_name
from abet.thresholds import SMIYC
from tests.conftest import Cli
from tests.shard_files import noticed_flips
from tests.trees import make_road_anomaly

SET = "road_anomaly"
SIZES = MinimumSizes(prediction=3, object=2)
THRESHOLDS = {"msp": 0.5, "energy": 1.25, "abet": None}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    keep_to_one_thread()


def shard_of_random_images(number: int = 1, shards: int = 1, *, images: int = 2) -> ComponentShard:
    """Of as many images, with objects of several sizes; ``abet`` has no threshold."""
    states: dict[str, list[ComponentState]] = {"msp": [], "energy": []}
    for image in range(images):
        rng = np.random.default_rng(10 * number + image)
        labels = np.where(rng.random((12, 16)) < 0.2, OOD, ID).astype(np.uint8)
        for key, found in states.items():
            scores = rng.normal(THRESHOLDS[key], 1, labels.shape).astype(np.float32)
            found.append(ComponentState.count(scores, labels, threshold=THRESHOLDS[key] or 0, sizes=SIZES))
    fingerprint = {
        **{"format": FORMAT, "dataset": SET, "shards": shards, "images": shards * images},
        **{"track": "some", "minimum_pixels": SIZES._asdict(), "thresholds": THRESHOLDS},
    }
    merged = {key: ComponentState.merge(*found) for key, found in states.items()}
    return ComponentShard(fingerprint=fingerprint, shard=number, images=images, states=merged)


def content(shard: ComponentShard) -> tuple[Any, ...]:
    """All that a shard says, as values that can be compared."""
    arrays = sorted(
        (key, name, array.dtype.str, array.shape, array.tobytes())
        for key, state in shard.states.items()
        for name, array in state.to_arrays().items()
    )
    return shard.fingerprint, shard.shard, shard.images, arrays


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A shard's file."""
    write_component_shard(tmp_path / component_name(1, 1), shard_of_random_images())
    return tmp_path / component_name(1, 1)


@pytest.mark.parametrize("part", ["anywhere", "between the arrays", "at the end"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(part: str, path: Path) -> None:
    """The archive's own lists of what it holds have no checksum: there a flip can hide an array, or a whole score."""
    written = path.read_bytes()
    assert content(read_component_shard(path)) == content(shard_of_random_images())
    headers = [place for place in range(len(written)) if written.startswith((b"PK\x03\x04", b"PK\x01\x02"), place)]
    bits = {
        "anywhere": np.random.default_rng(0).integers(0, 8 * len(written), 400),
        "between the arrays": [
            8 * (place + byte) + bit for place in headers for byte in range(26, 50) for bit in range(8)
        ],
        "at the end": [8 * place + bit for place in range(len(written) - 22, len(written)) for bit in range(8)],
    }[part]
    noticed = noticed_flips(path, bits, lambda path: content(read_component_shard(path)), DataError)
    assert noticed > len(bits) / 4


def without(shard: ComponentShard, key: str) -> ComponentShard:
    return replace(shard, states={name: state for name, state in shard.states.items() if name != key})


def changed(shard: ComponentShard, **of_energy: Any) -> ComponentShard:
    return replace(shard, states={**shard.states, "energy": replace(shard.states["energy"], **of_energy)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda shard: without(shard, "energy"), "not the scores"),
        (lambda shard: replace(shard, states={**shard.states, "abet": shard.states["msp"]}), "not the scores"),
        (lambda shard: changed(shard, threshold=1.5), "not the scores and thresholds"),
        (lambda shard: changed(shard, sizes=MinimumSizes(prediction=3, object=4)), "not the minimum sizes"),
        (
            lambda shard: changed(shard, objects=shard.states["energy"].objects[1:]),
            "not all scores hold the same objects",
        ),
        (lambda shard: changed(shard, small_objects=1000), "not all scores hold the same objects"),
    ],
)
def test_a_shard_that_is_not_whole_is_noticed_though_every_array_is_sound(
    change: Callable[[ComponentShard], ComponentShard], said: str, path: Path
) -> None:
    write_component_shard(path, change(shard_of_random_images()))
    with pytest.raises(DataError, match=rf"{path.name}: damaged shard of components \({said}.*; remove it and count"):
        read_component_shard(path)


def test_another_format_is_no_damage(path: Path) -> None:
    shard = shard_of_random_images()
    write_component_shard(path, replace(shard, fingerprint={"format": 2}))
    with pytest.raises(DataError, match="shard of format 2, not 1; remove it and count it again"):
        read_component_shard(path)


def metrics_of(shard: ComponentShard) -> dict[str, Any]:
    """A ``metrics.json`` that these components were counted for."""
    entries = {key: {"protocols": {SMIYC: {"best_f1_threshold": value}}} for key, value in THRESHOLDS.items()}
    shared = {key: shard.fingerprint.get(key) for key in ("dataset", "images")}
    return {**shared, "checkpoint": {"sha256": None}, "scores": entries}


def test_images_that_were_not_counted_are_noticed(tmp_path: Path) -> None:
    shards = [shard_of_random_images(number, 2) for number in (1, 2)]
    write_json(tmp_path / DESCRIPTION, shards[0].fingerprint)
    for shard in shards:
        write_component_shard(tmp_path / component_name(shard.shard, 2), shard)
    metrics, reason = with_components(tmp_path, metrics_of(shards[0]))
    assert reason is None
    objects = sum(len(shard.states["msp"].objects) for shard in shards)
    assert metrics["scores"]["msp"]["protocols"]["smiyc-components"]["objects"] == objects
    write_component_shard(tmp_path / component_name(2, 2), replace(shards[1], images=1))
    with pytest.raises(DataError, match="components of 3 of 4 images; count them again"):
        with_components(tmp_path, metrics_of(shards[0]))


def test_figures_that_are_damaged_when_the_last_shard_writes_them_are_named(tmp_path: Path) -> None:
    sound: dict[str, Any] = {"protocols": {SMIYC: {"best_f1_threshold": 0.5}}}
    about = {"schema": 1, "dataset": SET, "images": 2, "checkpoint": {"uri": "weights", "sha256": "a" * 64}}
    about["pixels"] = {"id": 1, "ood": 1, "void": 0}
    write_json(tmp_path / "metrics.json", {**about, "scores": {"msp": sound}})
    add_components(tmp_path)
    for entry in (None, {"protocols": None}, {"protocols": {SMIYC: {"best_f1_threshold": []}}}):
        write_json(tmp_path / "metrics.json", {**about, "scores": {"msp": sound, "energy": entry}})
        with pytest.raises(DataError, match=r"metrics\.json: damaged \(.*energy.*; merge the shards again"):
            add_components(tmp_path)


def test_what_was_damaged_by_hand_is_named_with_what_to_run(cli: Cli, learned_checkpoint: Path, tmp_path: Path) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    folder, data = tmp_path / "run/evaluation" / SET, ("--dataset", SET, "--data-root", tmp_path / "ra")
    again = (
        "evaluate",
        "--checkpoint",
        learned_checkpoint,
        *data,
        "--scores",
        "abet,msp",
        "--output",
        tmp_path / "run",
    )
    assert cli(*again, "--protocols").code == 0
    command, texts = ("components", tmp_path / "run", "--dataset", SET), {}
    for name in ("evaluation.json", "metrics.json"):
        texts[name] = (folder / name).read_text()

    def refused(name: str, **damaged: Any) -> str:
        (folder / name).write_text(json.dumps({**json.loads(texts[name]), **damaged}))
        finished = cli(*command)
        assert finished.code == 3, finished.err
        assert f"{name}: damaged (" in finished.err
        assert "Traceback" not in finished.err
        (folder / name).write_text(texts[name])
        return finished.err

    for key, value in (("dataset", None), ("split", 3), ("data_root", None), ("ood_definition", ["road"])):
        assert f"no text: {key}" in refused("evaluation.json", **{key: value})
    scores = json.loads(texts["metrics.json"])["scores"]
    for entry in (None, [], {"protocols": []}, {"protocols": {"smiyc-quantile-bins": None}}):
        assert "scores.msp" in refused("metrics.json", scores={**scores, "msp": entry})
    for entry in ({}, {"best_f1_threshold": "high"}):
        protocols = {"protocols": {"smiyc-quantile-bins": entry}}
        assert "threshold of msp); merge the shards" in refused("metrics.json", scores={**scores, "msp": protocols})
    assert "checkpoint" in refused("metrics.json", checkpoint={})
    (folder / "evaluation.json").unlink()
    (folder / "shard-001-of-001.npz").unlink()
    assert cli(*again, "--protocols", "--shard", "1/1").code == 0
    assert cli(*command).code == 0, "what the message says to run mends it"
