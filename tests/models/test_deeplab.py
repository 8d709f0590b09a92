import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from abet.config import load_recipe
from abet.models.build import build_model
from abet.models.deeplab import Aspp
from abet.models.wider_resnet import ResidualBlock


def config(recipe="demo_finetune", head="learned"):
    return load_recipe(recipe).model.model_copy(update={"temperature_model": head})


def full_size(head):
    with torch.device("meta"):
        return build_model(config("cityscapes_finetune", head))


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def block_names(prefix, *, convolutions, projection):
    norms = [f"bn{i}" for i in range(2, convolutions + 1)]
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = [f"{prefix}.bn1.0.{field}" for field in statistics]
    names += [f"{prefix}.convs.{norm}.0.{field}" for norm in norms for field in statistics]
    names += [f"{prefix}.convs.conv{i}.weight" for i in range(1, convolutions + 1)]
    return names + ([f"{prefix}.proj_conv.weight"] if projection else [])


def expected_names():
    """The reference's names of the plain 19-class network without its classifier, from the specification's text."""
    names = ["mod1.conv1.weight"]
    for stage, blocks in zip(range(2, 8), (3, 3, 6, 3, 1, 1), strict=True):
        for block in range(1, blocks + 1):
            convolutions = 3 if stage >= 6 else 2
            names += block_names(f"mod{stage}.block{block}", convolutions=convolutions, projection=block == 1)
    normed = [f"aspp.features.{i}.{{}}" for i in range(4)] + ["aspp.img_conv.{}"]
    for pattern in normed:
        names += [pattern.format("0.weight")] + [pattern.format(f"1.{field}") for field in BATCH_NORM]
    names += ["bot_fine.weight", "bot_aspp.weight"]
    for i in (0, 3):
        names += [f"final.{i}.weight"] + [f"final.{i + 1}.{field}" for field in BATCH_NORM]
    return names


BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
HEADS = {
    "none": ("", ["final.6.weight"], 137_103_936),
    "baseline": ("underlying_model.", ["h.h.weight", "h.h.bias"], 137_103_936 + 19),
    "learned": (
        "underlying_model.",
        ["h.h.weight", "temperature.0.weight", *(f"temperature.1.{field}" for field in BATCH_NORM)],
        137_104_194,
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_names_and_counts_are_the_references(head):
    prefix, own, count = HEADS[head]
    model = full_size(head)
    assert sorted(model.state_dict()) == sorted([prefix + name for name in expected_names()] + own)
    assert parameters(model) == count


def test_the_learned_network_has_274_entries():
    assert len(full_size("learned").state_dict()) == 274


def test_the_small_recipe_has_a_few_hundred_thousand_parameters():
    assert 200_000 < parameters(build_model(config("demo_finetune"))) < 1_000_000


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (50, 33)])
def test_output_has_the_size_of_the_image(head, size):
    model = build_model(config(head=head)).eval()
    with torch.inference_mode():
        output = model(torch.randn(2, 3, *size))
    assert output.logits.shape == (2, 19, *size)
    assert output.logits.dtype == torch.float32
    assert (output.cosine is None) == (output.temperature is None) == (head != "learned")


def test_strides_are_those_of_the_family():
    model = build_model(config()).underlying_model.eval()
    sizes = {}
    for name in ("mod1", "mod2", "mod3", "mod4", "mod7", "final"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: sizes.update({name: tuple(output.shape[2:])})
        )
    with torch.inference_mode():
        model(torch.randn(1, 3, 97, 161))
    assert sizes == {
        "mod1": (97, 161),
        "mod2": (49, 81),
        "mod3": (25, 41),
        "mod4": (13, 21),
        "mod7": (13, 21),
        "final": (49, 81),
    }


def test_dilations_are_those_of_the_family():
    model = full_size("learned").underlying_model
    dilations = {
        name: {conv.dilation[0] for conv in model.get_submodule(name).modules() if is_3x3(conv)}
        for name in ("mod2", "mod3", "mod4", "mod5", "mod6", "mod7", "aspp")
    }
    expected = {"mod2": {1}, "mod3": {1}, "mod4": {1}, "mod5": {2}, "mod6": {4}, "mod7": {4}, "aspp": {12, 24, 36}}
    assert dilations == expected


def is_3x3(module):
    return isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)


def test_whole_channels_are_dropped_before_the_last_convolution_of_mod6_and_mod7_alone():
    model = full_size("learned").underlying_model
    found = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout2d)}
    assert found == {"mod6.block1.convs.dropout": 0.3, "mod7.block1.convs.dropout": 0.5}
    for stage in (model.mod6, model.mod7):
        assert [name for name, _ in stage.block1.convs.named_children()][-3:] == ["bn3", "dropout", "conv3"]


def test_a_block_without_change_of_shape_adds_its_raw_input():
    block = ResidualBlock(4, (6, 4), stride=1, dilation=2, dropout=0.0).eval()
    nn.init.zeros_(block.convs.conv2.weight)
    x = torch.randn(1, 4, 5, 6)
    assert torch.equal(block(x.clone()), x)


def test_a_block_that_changes_shape_adds_the_projected_activation():
    block = ResidualBlock(4, (6, 8), stride=2, dilation=1, dropout=0.0).eval()
    nn.init.zeros_(block.convs.conv2.weight)
    x = torch.randn(1, 4, 5, 6)
    activated = (x / torch.sqrt(torch.tensor(1 + 1e-5))).relu()[..., ::2, ::2]
    expected = torch.einsum("bkij,ck->bcij", activated, block.proj_conv.weight.flatten(1))
    torch.testing.assert_close(block(x.clone()), expected)


def test_aspp_puts_the_mean_of_the_image_first():
    aspp = Aspp(4, 2, rates=(1, 2, 3)).eval()
    x = torch.randn(1, 4, 6, 7)
    result = aspp(x)
    assert result.shape == (1, 10, 6, 7)
    assert (result[:, :2] == result[:, :2, :1, :1]).all()
    torch.testing.assert_close(result[:, :2, :1, :1], aspp.img_conv(x.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(result[:, 2:4], aspp.features[0](x))


def test_one_training_step_reaches_every_parameter():
    torch.manual_seed(0)
    model = build_model(config())
    output = model(torch.randn(2, 3, 40, 56))
    nn.functional.cross_entropy(output.logits, torch.randint(19, (2, 40, 56))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("learned", "underlying_model.final.0"),
        ("learned", "underlying_model.final.3"),
        ("learned", "h.h"),
        ("none", "final.6"),
    ],
)
def test_decoder_and_classes_start_he_normal(head, name):
    torch.manual_seed(0)
    model = build_model(config(head=head).model_copy(update={"decoder_channels": 256, "num_classes": 100}))
    convolution = model.get_submodule(name)
    fan_in = convolution.weight[0].numel()
    assert convolution.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
    assert convolution.weight.abs().max() > 3 * (2 / fan_in) ** 0.5  # normal, not uniform


def test_same_seed_gives_the_same_network():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_model(config()).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("head", HEADS)
def test_every_batch_normalisation_has_momentum_a_tenth_and_epsilon_1e_5(head):
    norms = [module for module in full_size(head).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == sum(name.endswith("running_var") for name in full_size(head).state_dict())
    assert {(norm.momentum, norm.eps, norm.affine, norm.track_running_stats) for norm in norms} == {
        (0.1, 1e-5, True, True)
    }


def test_baseline_equals_classifying_the_enlarged_features():
    model = build_model(config(head="baseline")).double().eval()
    image = torch.randn(1, 3, 33, 40, dtype=torch.float64)
    with torch.inference_mode():
        features = model.underlying_model(image)
        enlarged = F.interpolate(features, size=(33, 40), mode="bilinear", align_corners=True)
        expected = F.conv2d(enlarged, model.h.h.weight, model.h.h.bias)
        torch.testing.assert_close(model(image).logits, expected)


def maps_of(output):
    return [maps for maps in output if maps is not None]


def seeded(head):
    torch.manual_seed(0)
    return build_model(config(head=head)).eval()


@pytest.mark.parametrize("head", HEADS)
def test_channels_last_says_what_contiguous_says(head):
    model, image = seeded(head), torch.randn(2, 3, 65, 97)
    with torch.inference_mode():
        expected = maps_of(model(image))
        model.to(memory_format=torch.channels_last)
        seen = maps_of(model(image.contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_network_in_half_precision_says_float32_maps(head):
    model = seeded(head).bfloat16()
    with torch.inference_mode():
        output = maps_of(model(torch.randn(1, 3, 33, 40).bfloat16()))
    assert {maps.dtype for maps in output} == {torch.float32}
    assert all(maps.isfinite().all() for maps in output)


@pytest.mark.parametrize("head", HEADS)
def test_synchronised_batch_normalisation_keeps_every_name(head):
    model = build_model(config(head=head))
    names = list(model.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert list(converted.state_dict()) == names
    assert not any(type(module) is nn.BatchNorm2d for module in converted.modules())


@pytest.mark.parametrize("head", HEADS)
def test_shapes_and_operations_can_be_counted_without_memory(head):
    with torch.device("meta"), FlopCounterMode(display=False) as count:
        output = build_model(config("cityscapes_finetune", head)).eval()(torch.empty(1, 3, 1024, 2048))
    assert output.logits.shape == (1, 19, 1024, 2048)
    assert output.logits.is_meta
    assert 1e12 < count.get_total_flops() < 2e13


@pytest.mark.faults  # compiling takes seconds
@pytest.mark.parametrize("head", HEADS)
def test_compiled_network_is_one_graph_before_and_one_after_the_context_is_enlarged(head):
    model, image = seeded(head), torch.randn(1, 3, 40, 56)
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    with torch.no_grad():
        expected = maps_of(model(image))
        seen = maps_of(torch.compile(model, backend=backend)(image))
    torch.testing.assert_close(seen, expected)
    assert len(graphs) == 2


@pytest.mark.faults
def test_a_network_that_is_not_compiled_does_without_the_compiler():
    program = """
import sys, torch
from abet.config import load_recipe
from abet.models.build import build_model
build_model(load_recipe("demo_finetune").model).eval()(torch.zeros(1, 3, 32, 32))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
