"""Reading published .pth files: the layouts that exist, and what is missing from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from abet.config import load_recipe
from abet.errors import CheckpointError
from abet.model_config import TemperatureModel
from abet.models.build import build_model
from abet.published import read_published
from tests.conftest import random_weights, small_config

BASE = small_config()


def tensors(head: TemperatureModel) -> dict[str, torch.Tensor]:
    return dict(random_weights(head).tensors)


def prefixed(state: dict[str, torch.Tensor], rule: str) -> dict[str, torch.Tensor]:
    """Names as the published files write them."""
    if rule == "training":  # AbeT's and NVIDIA's trainers: everything inside DistributedDataParallel
        return {f"module.{name}": value for name, value in state.items()}
    if rule == "evaluation":  # AbeT's evaluator: the backbone alone inside DataParallel
        return {name.replace("underlying_model.", "underlying_model.module."): value for name, value in state.items()}
    assert rule == "bare"
    return state


@pytest.mark.parametrize("head", ["none", "baseline", "learned"])
@pytest.mark.parametrize("rule", ["training", "evaluation", "bare"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_every_layout_gives_the_same_tensors(tmp_path: Path, head: TemperatureModel, rule: str, wrapped: bool) -> None:
    state = tensors(head)
    named = prefixed(state, rule)
    torch.save({"state_dict": named, "epoch": 3} if wrapped else named, tmp_path / "ref.pth")

    weights, report = read_published(tmp_path / "ref.pth", base=BASE)

    assert (weights.contents, weights.model.temperature_model) == ("model", head)
    assert report.matched == len(state)
    assert report.unused == report.missing == report.misshapen == ()
    assert weights.tensors.keys() == state.keys()
    assert all(torch.equal(weights.tensors[name], state[name]) for name in state)


def test_only_whole_components_called_module_are_removed(tmp_path: Path) -> None:
    state = {"h.h.weight": torch.zeros(19, 32, 1, 1), "submodule.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "ref.pth")
    with pytest.raises(CheckpointError, match=r"not used: submodule\.weight"):
        read_published(tmp_path / "ref.pth", base=BASE)


def test_class_count_comes_from_the_classifier(tmp_path: Path) -> None:
    torch.save(dict(random_weights("learned", num_classes=65).tensors), tmp_path / "mapillary.pth")
    weights, _ = read_published(tmp_path / "mapillary.pth", base=BASE)
    assert weights.model.num_classes == 65


def test_the_imagenet_file_gives_the_trunk_and_names_what_it_leaves(tmp_path: Path) -> None:
    trunk = {f"module.{name}": value for name, value in tensors("none").items() if name.startswith("mod")}
    extra = {"module.bn_out.0.weight": torch.zeros(128), "module.classifier.fc.weight": torch.zeros(1000, 128)}
    torch.save({"state_dict": {**trunk, **extra}}, tmp_path / "wider_resnet38.pth.tar")

    weights, report = read_published(tmp_path / "wider_resnet38.pth.tar", base=BASE)

    assert weights.contents == "trunk"
    assert report.matched == len(trunk)
    assert set(report.unused) == {"bn_out.0.weight", "classifier.fc.weight"}


def test_batch_norm_counters_of_old_files_may_be_absent(tmp_path: Path) -> None:
    state = {name: value for name, value in tensors("none").items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    weights, report = read_published(tmp_path / "old.pth", base=BASE)
    assert report.missing == ()
    assert weights.tensors.keys() == tensors("none").keys()


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    torch.save({n: v.half() if v.is_floating_point() else v for n, v in tensors("none").items()}, tmp_path / "half.pth")
    weights, _ = read_published(tmp_path / "half.pth", base=BASE)
    assert {value.dtype for value in weights.tensors.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
def test_the_numpy_scalar_of_the_reference_is_read_under_both_names(tmp_path: Path, module: str, dtype: str) -> None:
    value = np.array(0.8125, dtype)[()]
    path = tmp_path / "ref.pth"
    torch.save(
        {"state_dict": tensors("none"), "mean_iu": value}, path, _use_new_zipfile_serialization=False, pickle_protocol=2
    )
    content = path.read_bytes()
    written = b"numpy._core.multiarray" if b"numpy._core.multiarray" in content else b"numpy.core.multiarray"
    path.write_bytes(content.replace(written, module.encode()))

    weights, _ = read_published(path, base=BASE)
    assert weights.model.temperature_model == "none"


def test_source_is_recorded(tmp_path: Path) -> None:
    import hashlib

    torch.save(tensors("learned"), tmp_path / "ref.pth")
    weights, _ = read_published(tmp_path / "ref.pth", base=BASE)
    assert weights.source is not None
    assert weights.source.file == "ref.pth"
    assert weights.source.sha256 == hashlib.sha256((tmp_path / "ref.pth").read_bytes()).hexdigest()


# --- incomplete files


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    state = tensors("learned")
    del state["temperature.0.weight"]
    torch.save(state, tmp_path / "ref.pth")
    with pytest.raises(CheckpointError, match=r"missing: temperature\.0\.weight"):
        read_published(tmp_path / "ref.pth", base=BASE)


def test_misshapen_tensors_are_named_with_both_shapes(tmp_path: Path) -> None:
    state = tensors("learned")
    state["temperature.0.weight"] = torch.zeros(1, 7, 1, 1)
    torch.save(state, tmp_path / "ref.pth")
    with pytest.raises(CheckpointError, match=r"temperature\.0\.weight \(1, 7, 1, 1\) instead of \(1, 32, 1, 1\)"):
        read_published(tmp_path / "ref.pth", base=BASE)


def test_allow_partial_starts_the_named_tensors_afresh_and_says_so(tmp_path: Path) -> None:
    state = tensors("learned")
    kept = {name: value for name, value in state.items() if not name.startswith("temperature.")}
    kept["h.h.weight"] = state["h.h.weight"]
    torch.save(kept, tmp_path / "ref.pth")
    weights, _ = read_published(tmp_path / "ref.pth", base=BASE, allow_partial=["temperature.*"])
    assert weights.source is not None
    expected = {n for n in state if n.startswith("temperature.") and not n.endswith("num_batches_tracked")}
    assert set(weights.source.initialised) == expected
    assert weights.tensors.keys() == state.keys()
    again, _ = read_published(tmp_path / "ref.pth", base=BASE, allow_partial=["temperature.*"])
    assert torch.equal(weights.tensors["temperature.0.weight"], again.tensors["temperature.0.weight"])


def test_allow_partial_covers_only_what_it_names(tmp_path: Path) -> None:
    state = tensors("learned")
    del state["temperature.0.weight"], state["underlying_model.bot_fine.weight"]
    torch.save(state, tmp_path / "ref.pth")
    with pytest.raises(CheckpointError, match=r"missing: underlying_model\.bot_fine\.weight\."):
        read_published(tmp_path / "ref.pth", base=BASE, allow_partial=["temperature.*"])


def test_a_network_of_other_widths_is_refused(tmp_path: Path) -> None:
    torch.save(tensors("none"), tmp_path / "ref.pth")
    trunk = BASE.trunk.model_copy(update={"stem_channels": 24})
    with pytest.raises(CheckpointError, match="misshapen"):
        read_published(tmp_path / "ref.pth", base=BASE.model_copy(update={"trunk": trunk}))


def test_a_state_dict_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"none of the known layouts.*conv1\.weight"):
        read_published(tmp_path / "resnet.pth", base=BASE)


# --- torchvision's ResNets


def resnet_file(path: Path, kind: str, *, without: str = "fc.") -> dict[str, torch.Tensor]:
    """A file as torchvision publishes them: bare names, with the classifier of ImageNet."""
    config = load_recipe("demo_finetune", changes=[f"model.trunk.kind={kind}", "model.temperature_model=none"]).model
    beyond = ("aspp.", "bot_", "final.")
    state = build_model(config).state_dict()
    trunk = {name: v for name, v in state.items() if not name.startswith((*beyond, without))}
    torch.save({**trunk, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    return trunk


def test_torchvisions_file_gives_the_trunk_whatever_the_recipes_is(tmp_path: Path) -> None:
    trunk = resnet_file(tmp_path / "resnet50-0123.pth", "resnet50")
    weights, report = read_published(tmp_path / "resnet50-0123.pth", base=BASE)
    assert (weights.contents, weights.model.trunk.kind) == ("trunk", "resnet50")
    assert (report.layout, report.matched) == ("torchvision ResNet", len(trunk))
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    assert weights.tensors.keys() == trunk.keys()
    assert all(torch.equal(weights.tensors[name], trunk[name]) for name in trunk)


def test_a_resnet_of_another_depth_is_named(tmp_path: Path) -> None:
    resnet_file(tmp_path / "r.pth", "resnet50", without="layer3.5.")
    with pytest.raises(CheckpointError, match=r"a ResNet of \(3, 4, 5, 3\) blocks.*\(3, 4, 23, 3\) \(resnet101\)"):
        read_published(tmp_path / "r.pth", base=BASE)


def test_a_wider_resnet_is_no_resnet(tmp_path: Path) -> None:
    torch.save(tensors("none"), tmp_path / "ref.pth")
    base = load_recipe("demo_finetune", changes=["model.trunk.kind=resnet101"]).model
    with pytest.raises(CheckpointError, match=r"no ResNet, the recipe's is resnet101.*model\.trunk\.kind=wider_resnet"):
        read_published(tmp_path / "ref.pth", base=base)
