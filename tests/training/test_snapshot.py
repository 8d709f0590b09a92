"""Start weights: what a network takes over, what starts afresh, and what is refused."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from abet import checkpoint
from abet.checkpoint import Weights
from abet.errors import CheckpointError
from abet.model_config import ModelConfig, TemperatureModel
from abet.models.build import build_model
from abet.training.commit import commit
from abet.training.ownership import Ownership
from abet.training.snapshot import load_snapshot
from tests.training.states import small_recipe, state_at

HEADS: tuple[TemperatureModel, ...] = ("none", "baseline", "learned")


def config_of(head: TemperatureModel, classes: int = 5) -> ModelConfig:
    return small_recipe().model.model_copy(update={"temperature_model": head, "num_classes": classes})


def built(config: ModelConfig, seed: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(config)


def snapshot_of(config: ModelConfig) -> Weights:
    model = built(config, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # also what starts as ones and zeros: norms, biases and statistics
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape, generator=generator) + 1)
    return Weights(contents="model", model=config, tensors=model.state_dict(), sha256="")


def plain_name(name: str) -> str:
    return name.removeprefix("underlying_model.")


def taken_and_fresh(model: nn.Module, untouched: nn.Module, weights: Weights) -> tuple[set[str], set[str]]:
    """Names of the tensors that equal the snapshot's, and of those that equal an untouched network's."""
    theirs = {plain_name(name): value for name, value in weights.tensors.items()}
    initial = untouched.state_dict()
    taken, fresh = set(), set()
    for name, value in model.state_dict().items():
        found = theirs.get(plain_name(name))
        if found is not None and torch.equal(value, found):
            taken.add(plain_name(name))
        if torch.equal(value, initial[name]):
            fresh.add(plain_name(name))
    return taken, fresh


def load(tmp_path: Path, weights: Weights, config: ModelConfig, *, reinitialise: bool) -> tuple[Any, Any, Any]:
    checkpoint.save(weights, tmp_path / "c")
    model = built(config)
    lines = load_snapshot(model, tmp_path / "c", config=config, reinitialise_classifier=reinitialise)
    return (*taken_and_fresh(model, built(config), weights), lines)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("reinitialise", [False, True])
def test_an_equal_network_takes_over_everything(tmp_path: Path, head: TemperatureModel, reinitialise: bool) -> None:
    config = config_of(head)
    taken, fresh, lines = load(tmp_path, snapshot_of(config), config, reinitialise=reinitialise)
    assert fresh == set()
    assert taken == {plain_name(name) for name in built(config).state_dict()}
    assert f"{len(taken)} of {len(taken)} tensors" in lines[0]
    assert [line.partition(":")[0] for line in lines] == ["start weights", "kept"]


CLASSIFIERS = {"none": {"final.6.weight"}, "baseline": {"h.h.weight", "h.h.bias"}, "learned": {"h.h.weight"}}
TEMPERATURE = {"temperature.0.weight"} | {
    f"temperature.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}


DIFFERENT = [case for case in itertools.product(HEADS, HEADS, (5, 7)) if case[0] != case[1] or case[2] != 5]


@pytest.mark.parametrize(("head", "theirs", "classes"), DIFFERENT)
def test_another_classifier_starts_afresh_only_when_asked_and_the_log_says_exactly_which_tensors(
    tmp_path: Path, head: TemperatureModel, theirs: TemperatureModel, classes: int
) -> None:
    config, weights = config_of(head), snapshot_of(config_of(theirs, classes))
    expected = set(CLASSIFIERS[head])
    if head == "learned" and theirs != "learned":
        expected |= TEMPERATURE
    everything = {plain_name(name) for name in built(config).state_dict()}

    taken, fresh, lines = load(tmp_path, weights, config, reinitialise=True)

    assert fresh == expected
    assert taken == everything - expected
    (kept,) = (line for line in lines if line.startswith("kept: "))
    (again,) = (line for line in lines if line.startswith("re-initialised: "))
    assert set(again.removeprefix("re-initialised: ").partition(" (")[0].split(", ")) == expected
    assert all((name in kept) == (name in taken) for name in TEMPERATURE)
    assert "mod1 (1), mod2 (" in kept

    model = built(config)
    with pytest.raises(CheckpointError, match=r"set training\.reinitialise_classifier=true") as caught:
        load_snapshot(model, tmp_path / "c", config=config, reinitialise_classifier=False)
    assert ("the snapshot tells 7 classes apart, the recipe 5" in str(caught.value)) == (classes == 7)
    assert (f"head is {theirs!r}, the recipe's {head!r}" in str(caught.value)) == (head != theirs)
    assert taken_and_fresh(model, built(config), weights) == (set(), everything)


def test_what_a_plain_network_does_not_use_of_a_learned_head_is_said(tmp_path: Path) -> None:
    _, _, lines = load(tmp_path, snapshot_of(config_of("learned")), config_of("none"), reinitialise=True)
    assert lines[-1].startswith("not used of the snapshot: h.h.weight, temperature.0.weight")


def test_a_trunk_gives_its_stages_and_the_rest_starts_afresh(tmp_path: Path) -> None:
    config, weights = config_of("learned"), snapshot_of(config_of("none", 1))
    stages = {name: value for name, value in weights.tensors.items() if name.startswith("mod")}
    trunk = replace(weights, contents="trunk", tensors=stages)
    taken, fresh, lines = load(tmp_path, trunk, config, reinitialise=False)
    assert taken == set(stages)
    assert fresh == {plain_name(name) for name in built(config).state_dict()} - set(stages)
    assert any("re-initialised: aspp (" in line and "a trunk alone" in line for line in lines)


def test_published_files_and_trunks_start_a_network_too(tmp_path: Path) -> None:
    config, weights = config_of("learned"), snapshot_of(config_of("none"))
    torch.save(dict(weights.tensors), tmp_path / "plain.pth")
    stages = {name: value for name, value in weights.tensors.items() if name.startswith("mod")}
    torch.save(stages, tmp_path / "trunk.pth")
    for name, count in (("plain.pth", len(weights.tensors) - 1), ("trunk.pth", len(stages))):
        model = built(config)
        load_snapshot(model, tmp_path / name, config=config, reinitialise_classifier=True)
        taken, _ = taken_and_fresh(model, built(config), weights)
        assert len(taken) == count


def resnet_config(kind: str) -> ModelConfig:
    return small_recipe(f"model.trunk.kind={kind}").model


def test_torchvisions_resnet_starts_the_trunk_alone_and_only_one_of_its_depth(tmp_path: Path) -> None:
    state = built(resnet_config("resnet50"), seed=0).state_dict()
    named = {plain_name(name): value for name, value in state.items()}
    trunk = {name: value for name, value in named.items() if name.startswith(("conv1.", "bn1.", "layer"))}
    torch.save({**trunk, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet50.pth")

    model = built(resnet_config("resnet50"))
    lines = load_snapshot(
        model, tmp_path / "resnet50.pth", config=resnet_config("resnet50"), reinitialise_classifier=False
    )
    found = {plain_name(name): value for name, value in model.state_dict().items()}
    assert all(torch.equal(found[name], value) for name, value in trunk.items())
    assert lines[1] == "kept: conv1 (1), bn1 (5), layer1 (60), layer2 (78), layer3 (114), layer4 (60)"
    assert lines[2].startswith("re-initialised: aspp (")
    assert lines[2].endswith("(the snapshot is a trunk alone)")

    for kind in ("resnet101", "wider_resnet"):
        config = resnet_config(kind) if kind != "wider_resnet" else config_of("learned")
        with torch.device("meta"):
            other = build_model(config)
        with pytest.raises(CheckpointError, match=rf"its trunk is resnet50, the recipe's {kind}: .*kind=resnet50"):
            load_snapshot(other, tmp_path / "resnet50.pth", config=config, reinitialise_classifier=True)


def test_a_run_directory_gives_its_best_step(tmp_path: Path) -> None:
    ownership, run = Ownership.take(tmp_path / "run"), tmp_path / "run"
    best = state_at(10, miou=0.5)
    commit(ownership, best, keep_last=1)
    commit(ownership, state_at(20, best=best.best), keep_last=1)
    config = small_recipe().model
    model = built(config)
    lines = load_snapshot(model, run, config=config, reinitialise_classifier=False)
    assert all(torch.equal(value, best.model[name]) for name, value in model.state_dict().items())
    assert "checkpoints/step-00000010" in lines[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decoder_channels": 6}, r"\d+ tensors differ .*bot_aspp.weight has the shape \(8, .*the recipe's \(6, "),
        ({"trunk": {"blocks": (2, 1, 1, 1, 1, 1)}}, r"mod2\.block2\.\S+ is missing"),
    ],
)
def test_another_trunk_or_decoder_is_refused_whatever_is_allowed(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    ours = config_of("learned")
    trunk = ours.trunk.model_copy(update=changes.get("trunk", {}))
    other = ours.model_copy(update={**changes, "trunk": trunk})
    checkpoint.save(snapshot_of(ours), tmp_path / "c")
    model = built(other)
    with pytest.raises(CheckpointError, match=said):
        load_snapshot(model, tmp_path / "c", config=other, reinitialise_classifier=True)
    assert all(map(torch.equal, model.state_dict().values(), built(other).state_dict().values()))
    # a deeper snapshot would otherwise lose blocks without a word
    checkpoint.save(snapshot_of(other), tmp_path / "deeper")
    with pytest.raises(CheckpointError, match="does not fit the recipe's network"):
        load_snapshot(built(ours), tmp_path / "deeper", config=ours, reinitialise_classifier=True)


def test_another_normalisation_is_refused(tmp_path: Path) -> None:
    config = config_of("learned")
    checkpoint.save(snapshot_of(config), tmp_path / "c")
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    manifest["normalisation"]["mean"][0] = 0.5
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="another normalisation"):
        load_snapshot(built(config), tmp_path / "c", config=config, reinitialise_classifier=False)
