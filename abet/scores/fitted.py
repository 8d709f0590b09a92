"""What `abet fit` finds on in-distribution images for one network's weights: one safetensors file with a header.

    content = pack(tensors, header)
    fitted = unpack(content, source="weights/abet/fitted.safetensors")

It is kept with the checkpoint (`abet.companions`) as ``fitted.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from abet.errors import CheckpointError, UsageError
from abet.settings import Positive, Strict, parse

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME: Final = "fitted.safetensors"
FORMAT: Final = 2
TENSORS: Final = (
    *("sml.count", "sml.mean", "sml.variance"),
    *("mahalanobis.count", "mahalanobis.mean", "mahalanobis.covariance"),
    *("mahalanobis.centre", "mahalanobis.whitening", "mahalanobis.white_mean"),
    *("knn.bank", "react.threshold", "dice.mean", "dice.mean_direction"),
)


class FitSettings(Strict):
    """The choices of a fit; defaults are the papers' own where they give one."""

    seed: int = Field(default=0, ge=0, description="another seed, another bank of features")
    bank_vectors: Positive = Field(default=8192, description="features kept for knn at most, the same share per class")
    neighbours: Positive = Field(default=10, description="k of knn")
    react_percentile: float = Field(
        default=90.0, gt=0, le=100, description="activations above this percentile of the ID ones are clipped"
    )
    dice_percentile: float = Field(
        default=70.0, ge=0, lt=100, description="class weights up to this percentile of the contributions are set to 0"
    )


class FitHeader(Strict):
    """What a fit is of."""

    format: int
    abet: str
    weights_sha256: str
    dataset: str
    split: str
    list_sha256: str
    images: Positive
    pixels: Positive
    """ID pixels at full resolution, of which sml is fitted."""
    positions: Positive
    """ID positions of the feature maps, of which all else is."""
    settings: FitSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A read file, on one device. K: channels of the features, C: classes."""

    tensors: Mapping[str, Tensor]
    """By the names in `TENSORS`:

    sml.count, .mean, .variance (C,): pixels by predicted class, and of their largest logit mean and variance; NaN where
        no pixel was.
    mahalanobis.count (C,), .mean (C, K), .covariance (K, K): positions by labelled class, class means (NaN where no
        position was) and the covariance that all classes share.
    mahalanobis.centre (K,), .whitening (K, R), .white_mean (C', R) float32: the same as the distance is computed by it
        (`abet.fit.moments.whitening`); C' classes were seen, and features vary in R directions.
    knn.bank (M, K) float32: features of length 1.
    react.threshold (): upper bound of the activations.
    dice.mean (K,), dice.mean_direction (K,): mean of x, and of x / ||x||.
    """
    header: FitHeader
    sha256: str
    """Of the file."""

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def to(self, device: torch.device) -> Fitted:
        """The same on another device."""
        return replace(self, tensors={name: value.to(device) for name, value in self.tensors.items()})


def pack(tensors: Mapping[str, Tensor], header: FitHeader) -> bytes:
    """The file: equal statistics give equal bytes."""
    from safetensors.torch import save

    assert set(tensors) == set(TENSORS), sorted(tensors)
    # one entry: the order of several would be drawn anew each time
    metadata = {"abet": json.dumps(header.model_dump(mode="json"), sort_keys=True)}
    return save({name: tensors[name].contiguous() for name in TENSORS}, metadata)


def unpack(content: bytes, *, source: str) -> Fitted:
    """The file's content on the processor. Raises CheckpointError for a damaged one, or one of another format."""
    remedy = "remove it and run `abet fit` again"
    try:
        from safetensors.torch import load

        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        values: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["abet"])
        version = values["format"]
    except Exception as error:  # a damaged file raises whatever its parsers raise
        raise CheckpointError(f"{source}: damaged ({error}); {remedy}") from None
    if version != FORMAT:
        raise CheckpointError(f"{source}: of format {version}, not {FORMAT}; {remedy}")
    try:
        header = parse(FitHeader, values, source=source)
    except UsageError as error:
        raise CheckpointError(f"{error}; {remedy}") from None
    absent = [name for name in TENSORS if name not in tensors]
    if absent:
        raise CheckpointError(f"{source}: lacks {', '.join(absent)}; {remedy}")
    return Fitted(tensors=tensors, header=header, sha256=hashlib.sha256(content).hexdigest())
