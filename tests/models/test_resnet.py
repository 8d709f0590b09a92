"""ResNet trunks: torchvision's names, shapes and outputs, at output stride 8, under every head."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from abet import checkpoint
from abet.config import load_recipe
from abet.detector import load_detector
from abet.model_config import ModelConfig, TemperatureModel
from abet.models.build import build_model
from abet.models.deeplab import BEYOND_TRUNK, DeepLabV3Plus
from abet.models.sync_norm import CpuSyncBatchNorm, synchronise

DEPTHS = {"resnet50": ((3, 4, 6, 3), 23_508_032), "resnet101": ((3, 4, 23, 3), 42_500_160)}
HEADS: tuple[TemperatureModel, ...] = ("none", "baseline", "learned")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def config(kind: str, head: TemperatureModel = "learned") -> ModelConfig:
    return load_recipe("demo_finetune", changes=[f"model.trunk.kind={kind}", f"model.temperature_model={head}"]).model


def built(kind: str, head: TemperatureModel = "learned") -> Any:
    torch.manual_seed(0)
    return build_model(config(kind, head))


def trunk_state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith(BEYOND_TRUNK)}


def torchvision_names(blocks: tuple[int, ...]) -> list[str]:
    """Those of torchvision's bottleneck networks without the classifier, from its definition's text."""
    names = ["conv1.weight", *(f"bn1.{field}" for field in NORM)]
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            prefix = f"layer{layer}.{block}"
            for number in (1, 2, 3):
                names += [f"{prefix}.conv{number}.weight", *(f"{prefix}.bn{number}.{field}" for field in NORM)]
            if block == 0:
                names += [f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{field}" for field in NORM)]
    return names


@pytest.mark.parametrize("kind", DEPTHS)
def test_names_and_counts_are_torchvisions(kind: str) -> None:
    blocks, count = DEPTHS[kind]
    with torch.device("meta"):
        network = DeepLabV3Plus(config(kind))
    assert sorted(trunk_state(network)) == sorted(torchvision_names(blocks))
    assert sum(p.numel() for name, p in network.named_parameters() if not name.startswith(BEYOND_TRUNK)) == count


@pytest.mark.parametrize("kind", DEPTHS)
def test_strides_dilations_and_channels(kind: str) -> None:
    sizes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = DeepLabV3Plus(config(kind)).eval()
        for name in ("conv1", "layer1", "layer2", "layer3", "layer4", "bot_fine", "final"):
            network.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: sizes.update({name: tuple(output.shape[1:])})
            )
        network(torch.empty(1, 3, 97, 161))
    assert sizes == {
        "conv1": (64, 49, 81),
        "layer1": (256, 25, 41),
        "layer2": (512, 13, 21),
        "layer3": (1024, 13, 21),
        "layer4": (2048, 13, 21),
        "bot_fine": (16, 25, 41),
        "final": (32, 25, 41),
    }
    dilations = {
        name: [module.conv2.dilation[0] for module in network.get_submodule(name)]
        for name in ("layer1", "layer2", "layer3", "layer4")
    }
    blocks = DEPTHS[kind][0]
    assert dilations == {
        "layer1": [1] * blocks[0],
        "layer2": [1] * blocks[1],
        "layer3": [1] + [2] * (blocks[2] - 1),
        "layer4": [2] + [4] * (blocks[3] - 1),
    }


def torchvision() -> Any:
    """torchvision.models, also beside a torch that lacks the operators that its detectors register fakes for."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import models

    return models


@pytest.mark.faults
@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize("training", [False, True])
def test_the_trunk_computes_what_torchvisions_does(kind: str, training: bool) -> None:
    theirs = getattr(torchvision(), kind)(replace_stride_with_dilation=(False, True, True)).train(training)
    ours = built(kind, "none").train(training)
    assert list(trunk_state(ours)) == [name for name in theirs.state_dict() if not name.startswith("fc.")]
    ours.load_state_dict(theirs.state_dict(), strict=False)
    expected = found = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            expected = getattr(theirs, name)(expected)
            found = getattr(ours, name)(found)
            torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=name)


def test_convolutions_start_he_normal_in_their_outputs_and_blocks_as_their_shortcut() -> None:
    network = built("resnet50").underlying_model
    for name in ("conv1", "layer1.0.conv2", "layer3.2.conv3", "layer4.0.downsample.0"):
        convolution = network.get_submodule(name)
        fan_out = convolution.weight[:, 0].numel()
        assert convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03), name


@pytest.mark.parametrize("head", HEADS)
def test_output_has_the_size_of_the_image_and_one_step_reaches_every_parameter(head: TemperatureModel) -> None:
    network = built("resnet50", head)
    output = network(torch.randn(2, 3, 50, 33))
    assert output.logits.shape == (2, 19, 50, 33)
    assert (output.cosine is None) == (output.temperature is None) == (head != "learned")
    nn.functional.cross_entropy(output.logits, torch.randint(19, (2, 50, 33))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_every_normalisation_shares_its_statistics_under_its_name() -> None:
    with torch.device("meta"):
        network: nn.Module = build_model(config("resnet50"))
    names = list(network.state_dict())
    network = synchronise(network, torch.device("cpu"))
    assert list(network.state_dict()) == names
    assert {type(module) for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {CpuSyncBatchNorm}


def test_a_checkpoint_of_it_explains_itself_and_loads(tmp_path: Path) -> None:
    network = built("resnet50")
    with torch.no_grad():
        network(torch.randn(2, 3, 32, 32))
    weights = checkpoint.Weights(
        contents="model", model=config("resnet50"), tensors=network.state_dict(), sha256=""
    )  # fmt: skip
    checkpoint.save(weights, tmp_path / "c")
    detector = load_detector(tmp_path / "c", device="cpu")
    assert detector.config == config("resnet50")
    state = detector.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    image = torch.randn(1, 3, 40, 48)
    with torch.inference_mode():
        expected, seen = network.eval()(image), detector.network(image)
    torch.testing.assert_close(seen.logits, expected.logits, rtol=1e-3, atol=1e-3)
