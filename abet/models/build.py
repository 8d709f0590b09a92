"""From a configuration to a network.

model = build_model(load_recipe("cityscapes_finetune").model).eval()
output = model(image)
"""

from typing import Final

from abet.model_config import ModelConfig, TemperatureModel
from abet.models.deeplab import AbeTModel, BaselineModel, PlainModel, SegmentationModel

NETWORKS: Final[dict[TemperatureModel, type[SegmentationModel]]] = {
    "none": PlainModel,
    "baseline": BaselineModel,
    "learned": AbeTModel,
}


def build_model(config: ModelConfig) -> SegmentationModel:
    """The network that ``config`` describes, freshly initialised, in training mode, on the default device.

    WiderResNet, ASPP and 1x1 convolutions start as torch's layers do; the decoder's 3x3 convolutions, the plain
    classifier and the class directions He-normal (reference behaviour); a ResNet as torchvision's.
    """
    return NETWORKS[config.temperature_model](config)
