"""The AbeT head as it is defined: enlarge the features, then compare. Slow and large; the measure of `head`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from abet.models.deeplab import AbeTModel
from abet.models.head import NORM_EPSILON, TEMPERATURE_EPSILON, AbeTHead, Output


def direct_output(head: AbeTHead | AbeTModel, features: Tensor, size: tuple[int, int]) -> Output:
    """What the head makes of ``features`` (B, K, h, w) at ``size`` (H, W), through all K enlarged channels."""
    enlarged = F.interpolate(features, size=size, mode="bilinear", align_corners=True)
    norm = torch.linalg.vector_norm(enlarged, dim=1, keepdim=True)
    cosine = F.conv2d(enlarged / (norm + NORM_EPSILON), head.h.directions()[:, :, None, None])
    temperature: Tensor = head.temperature(enlarged) + TEMPERATURE_EPSILON
    return Output(cosine / temperature, cosine, temperature)
