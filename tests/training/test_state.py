"""TrainState: what a resume needs, exactly, or an error."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import abet
from abet import checkpoint
from abet.checkpoint import Best, staged, write_into
from abet.errors import CheckpointError
from abet.files import sha256_of
from abet.training.state import TrainState, capture, check_state, files_of, manifest_of, read_state, restore
from tests.training.states import fresh, identity, state_at, train


def written(state: TrainState, folder: Path) -> Path:
    with staged(folder) as staging:
        write_into(staging, files_of(state), lambda files: manifest_of(state, files))
    return folder


def equal(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_network_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole, whole_optimiser = fresh(0)
    train(whole, whole_optimiser, range(5))

    half, half_optimiser = fresh(0)
    train(half, half_optimiser, range(2))
    state = capture(model=half, optimiser=half_optimiser, scaler=None, step=2, best=None, identity=identity())
    resumed, optimiser = fresh(1)
    train(resumed, optimiser, range(7, 9))  # a past of its own, which must not show
    restore(read_state(written(state, tmp_path / "s")), model=resumed, optimiser=optimiser, scaler=None)
    train(resumed, optimiser, range(2, 5))

    assert equal(resumed.state_dict(), whole.state_dict())
    buffers = [optimiser.state[parameter]["momentum_buffer"] for parameter in resumed.parameters()]
    wanted = [whole_optimiser.state[parameter]["momentum_buffer"] for parameter in whole.parameters()]
    assert all(map(torch.equal, buffers, wanted))
    assert [buffer.stride() for buffer in buffers] == [parameter.stride() for parameter in resumed.parameters()]


def test_a_captured_state_does_not_change_while_training_goes_on() -> None:
    model, optimiser = fresh(0)
    train(model, optimiser, range(2))
    state = capture(model=model, optimiser=optimiser, scaler=None, step=2, best=None, identity=identity())
    before = {name: value.clone() for name, value in [*state.model.items(), *state.momentum.items()]}
    train(model, optimiser, range(2, 4))
    assert not equal(state.model, model.state_dict())
    assert equal(before, {**state.model, **state.momentum})
    assert all(value.is_contiguous() for value in [*state.model.values(), *state.momentum.values()])


def test_everything_survives_the_files(tmp_path: Path) -> None:
    state = replace(state_at(3), best=Best(step=2, miou=0.625), scaler={"scale": 1024.0, "_growth_tracker": 7})
    again = read_state(written(replace(state, validated_step=2), tmp_path / "s"))
    assert (again.step, again.best, again.identity, again.validated_step) == (3, state.best, state.identity, 2)
    assert again.scaler == state.scaler
    assert type(again.scaler["_growth_tracker"]) is int
    assert equal(again.model, state.model)
    assert equal(again.momentum, state.momentum)


def test_momentum_is_kept_by_parameter_name() -> None:
    model, _ = fresh(0)
    assert list(state_at(1).momentum) == [name for name, _ in model.named_parameters()]


def test_equal_states_have_equal_files(tmp_path: Path) -> None:
    first, second = (written(state_at(3), tmp_path / name) for name in "ab")
    assert {path.name: sha256_of(path) for path in first.iterdir()} == {
        path.name: sha256_of(path) for path in second.iterdir()
    }


def without(tensors: Any, name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in tensors.items() if key != name}


NAME = "underlying_model.mod1.conv1.weight"


@pytest.mark.parametrize("part", ["model", "momentum"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: without(tensors, NAME), f"{NAME} is missing"),
        (lambda tensors: {**tensors, "extra": torch.zeros(1)}, "extra is unknown"),
        (
            lambda tensors: {**tensors, NAME: torch.zeros(1, 2)},
            rf"{NAME} is torch.float32 \(1, 2\) for .* \(4, 3, 3, 3",
        ),
        (lambda tensors: {**tensors, NAME: tensors[NAME].half()}, f"{NAME} is torch.float16"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_and_nothing_is_changed(
    part: str, change: Callable[[Any], Any], said: str
) -> None:
    model, optimiser = fresh(1)
    train(model, optimiser, range(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = state_at(2)
    wrong = replace(state, **{part: change(getattr(state, part))})
    with pytest.raises(CheckpointError, match=f"{part} does not fit this network: 1 tensors.*{said}"):
        restore(wrong, model=model, optimiser=optimiser, scaler=None)
    assert equal(model.state_dict(), before)
    assert len(optimiser.state) == len(list(model.parameters()))


def test_no_momentum_at_all_is_believed_before_the_first_step_and_where_loss_scaling_may_have_skipped_all() -> None:
    model, optimiser = fresh(1)
    bare = replace(state_at(2), momentum={})
    with pytest.raises(CheckpointError, match="momentum does not fit"):
        restore(bare, model=model, optimiser=optimiser, scaler=None)
    for state in (replace(bare, step=0), replace(bare, scaler={"scale": 2.0})):
        train(model, optimiser, range(1))
        restore(state, model=model, optimiser=optimiser, scaler=None)
        assert len(optimiser.state) == 0  # the momentum of another past is gone


def test_the_loss_scale_is_restored() -> None:
    model, optimiser = fresh(0)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    state = capture(model=model, optimiser=optimiser, scaler=scaler, step=0, best=None, identity=identity())
    other = torch.amp.GradScaler("cpu", init_scale=4.0)
    assert restore(state, model=model, optimiser=optimiser, scaler=other) == ()
    assert other.get_scale() == 512.0


def test_another_precision_after_a_change_of_device_is_said() -> None:
    model, optimiser = fresh(0)
    disabled, enabled = torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu")
    with_scale = replace(state_at(0), scaler=enabled.state_dict())
    for scaler in (None, disabled):
        (line,) = restore(with_scale, model=model, optimiser=optimiser, scaler=scaler)
        assert "is not used" in line
    without_scale = capture(model=model, optimiser=optimiser, scaler=disabled, step=0, best=None, identity=identity())
    assert without_scale.scaler is None
    (line,) = restore(without_scale, model=model, optimiser=optimiser, scaler=enabled)
    assert "initial scale" in line


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_every_file_is_verified(tmp_path: Path, name: str, damage: str) -> None:
    path = written(state_at(1), tmp_path / "s") / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:-1])
    with pytest.raises(CheckpointError, match=name):
        read_state(path.parent)


def test_a_damaged_manifest_never_gives_another_state(tmp_path: Path) -> None:
    folder = written(state_at(3), tmp_path / "s")
    manifest = folder / "manifest.json"
    content = manifest.read_bytes()
    good, survived = (check_state(folder), checkpoint.read_manifest(folder)), 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1
        manifest.write_bytes(damaged)
        try:
            found = (check_state(folder), checkpoint.read_manifest(folder))
        except ValueError:
            continue
        assert found == good, position
        survived += 1  # white space
    assert survived < len(content) / 5 / 2
    for length in range(0, len(content) - 1, 50):
        manifest.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"manifest\.json"):
            check_state(folder)


def forge(folder: Path, name: str, content: bytes) -> None:
    """Put ``content`` in a file, and let the manifest vouch for it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["name"] == name:
            entry.update(bytes=len(content), sha256=sha256_of(folder / name))
    (folder / "manifest.json").write_text(json.dumps(manifest))


class Hostile:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("content", [Hostile(), {"step": 1}, [], {"abet_state": 2}])
def test_what_state_pt_holds_is_data_alone(tmp_path: Path, content: Any) -> None:
    folder = written(state_at(1), tmp_path / "s")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    forge(folder, "state.pt", buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"state\.pt: not the state of a run"):
        read_state(folder)
    assert not Path("executed").exists()


def test_files_of_different_steps_are_no_state(tmp_path: Path) -> None:
    first, second = (written(state_at(step), tmp_path / str(step)) for step in (1, 2))
    forge(first, "state.pt", (second / "state.pt").read_bytes())
    with pytest.raises(CheckpointError, match="contradict each other"):
        read_state(first)


def test_momentum_that_the_state_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = written(state_at(1), tmp_path / "s")
    empty = written(replace(state_at(1), momentum={}), tmp_path / "empty")
    forge(folder, "optimizer.safetensors", (empty / "optimizer.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="name other tensors"):
        read_state(folder)


def test_a_model_alone_is_no_state(tmp_path: Path) -> None:
    weights = checkpoint.read(written(state_at(1), tmp_path / "s"))
    assert equal(weights.tensors, state_at(1).model)
    checkpoint.save(weights, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"not a state to resume.*model\.safetensors"):
        read_state(tmp_path / "model")


def test_a_step_evaluates_like_any_checkpoint_also_without_what_only_a_resume_needs(tmp_path: Path) -> None:
    folder = written(state_at(3), tmp_path / "s")
    (folder / "optimizer.safetensors").unlink()
    (folder / "state.pt").write_bytes(b"")
    detector = abet.load(folder, device="cpu")
    assert equal(detector.network.state_dict(), state_at(3).model)
