"""A trained network with its normalisation: photographs in, class and OOD score maps out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abet import checkpoint, companions
from abet.config import load_recipe
from abet.data.images import read_image
from abet.devices import choose_device
from abet.errors import CheckpointError, DataError, UsageError, unknown_name
from abet.model_config import ModelConfig
from abet.models.build import build_model
from abet.models.deeplab import SegmentationModel
from abet.models.head import Output
from abet.models.inputs import normalise
from abet.models.precision import reproducible
from abet.places import Place, parse_place
from abet.remote import fetch_checkpoint
from abet.scores import SCORES, Observation, Score, missing
from abet.scores.fitted import NAME, Fitted, unpack
from abet.site import S3Settings, SiteConfig

NOT_FITTED: Final = "not fitted: `abet fit --checkpoint CHECKPOINT --dataset TRAINING-SET` finds what it needs"
"""Why a score is missing; the checkpoint has no name here, since the same weights give the same metrics.json."""
Image = NDArray[np.uint8]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What the detector says of one image of H x W pixels."""

    classes: NDArray[np.uint8]
    """(H, W) train ids: the arg-max of the logits."""
    scores: dict[str, Map]
    """Score key -> (H, W) float32 in raw score units, higher = more out-of-distribution."""


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A network in evaluation mode on one device. `abet.load` makes it."""

    network: nn.Module
    config: ModelConfig
    normalisation: checkpoint.Normalisation
    device: torch.device
    uri: str
    sha256: str
    fitted: Fitted | None = None
    """What `abet fit` found for these weights; `with_fitted` reads it."""

    def output(self, image: Image) -> Output:
        """The head's output at full size for one (H, W, 3) uint8 RGB image, as batch of one on the device.

        Deterministic kernels and full float32 (no TF32): the same image gives the same bits on the same machine.
        """
        batch = self._batch(image)
        with torch.inference_mode(), reproducible(self.device):
            result: Output = self.network(batch)
        return result

    def observe(self, image: Image, keys: Sequence[str]) -> Observation:
        """What the scores ``keys`` are computed from, by one pass of the network; its maps are those of `output`."""
        if not any("features" in SCORES[key].needs for key in keys):
            return Observation(**self.output(image)._asdict(), fitted=self.fitted)
        network, batch = cast(SegmentationModel, self.network), self._batch(image)
        with torch.inference_mode(), reproducible(self.device):
            features = network.features(batch)
            output = network.classify(features, (image.shape[0], image.shape[1]))
        return Observation(**output._asdict(), features=features, head=network, fitted=self.fitted)

    def _batch(self, image: Image) -> Tensor:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(f"image is {image.dtype} {image.shape}; expected uint8 RGB of shape (H, W, 3)")
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        return normalise(pixels.unsqueeze(0), self.normalisation.mean, self.normalisation.std)

    def with_fitted(self, keys: Sequence[str] | None = None, s3: S3Settings | None = None) -> "Detector":
        """The same detector with what `abet fit` left beside its checkpoint, if one of ``keys`` (None: any) needs it.

        It stays as it is where nothing is fitted: `why_missing` says so.

        Raises:
            CheckpointError: the file there is damaged, or was fitted for other weights.
        """
        rows = [SCORES[key] for key in (SCORES if keys is None else keys)]
        if not any(row.fitted and missing(row, self.config.temperature_model) is None for row in rows):
            return self
        place = parse_place(self.uri)
        content = companions.read(place, NAME, s3 or S3Settings())
        if content is None:
            return self
        source = companions.companion(place, NAME)
        fitted = unpack(content, source=str(source))
        if fitted.header.weights_sha256 != self.sha256:
            raise CheckpointError(
                f"{source}: fitted for other weights (sha256 {fitted.header.weights_sha256[:12]}, not "
                f"{self.sha256[:12]}); run `abet fit --checkpoint {self.uri}` again, or remove it"
            )
        return replace(self, fitted=fitted.to(self.device))

    def fitted_sha256(self, keys: Sequence[str]) -> str | None:
        """SHA-256 of the fitted file that decides what scores ``keys`` are; None where none of them needs one."""
        used = any(SCORES[key].fitted and self.why_missing(key) is None for key in keys)
        return self.fitted.sha256 if used and self.fitted is not None else None

    def available_scores(self) -> tuple[str, ...]:
        """Keys of the scores that are defined here: by the network's head and, if need be, a fit; in table order."""
        return tuple(key for key in SCORES if self.why_missing(key) is None)

    def why_missing(self, key: str) -> str | None:
        """Why score ``key`` is not defined here; None when it is. Raises UsageError for an unknown key."""
        if key not in SCORES:
            raise unknown_name(kind="score", name=key, choices=SCORES)
        reason = missing(SCORES[key], self.config.temperature_model)
        if reason is None and SCORES[key].fitted and self.fitted is None:
            return NOT_FITTED
        return reason

    def score(self, image: Image | str | Path, key: str = "abet") -> Map:
        """One score map, (H, W) float32 in raw units, of an image file or a (H, W, 3) uint8 RGB array."""
        return self.predict(image, scores=(key,)).scores[key]

    def predict(self, image: Image | str | Path, *, scores: Sequence[str] | None = None) -> Prediction:
        """Classes and score maps (default: every score that the head defines) in one pass.

        Raises:
            UsageError: a score is unknown or this head does not define it.
            DataError: the image cannot be read.
        """
        keys = self.available_scores() if scores is None else tuple(scores)
        for key in keys:
            reason = self.why_missing(key)
            if reason is not None:
                raise UsageError(f"{self.uri}: score {key!r} is not defined here: {reason}")
        pixels = image if isinstance(image, np.ndarray) else read_image(Path(image))
        seen = self.observe(pixels, keys)
        return Prediction(classes=class_map(seen), scores={key: score_map(key, seen) for key in keys})


def class_map(output: Output | Observation) -> NDArray[np.uint8]:
    """(H, W) uint8 train ids of a batch of one."""
    assert output.logits.shape[1] <= 256
    return output.logits[0].argmax(0).to(torch.uint8).cpu().numpy()


def score_map(key: str, seen: Observation) -> Map:
    """(H, W) float32 raw score of a batch of one. Raises UsageError for a plug-in that fails, or gives another map."""
    return score_tensor(key, seen).cpu().numpy()


def score_tensor(key: str, seen: Observation) -> Tensor:
    """The same where the network's output is."""
    score = SCORES[key]
    with torch.inference_mode():
        return (score.function(seen) if score.distribution is None else _plugin_map(score, seen))[0]


def _plugin_map(score: Score, seen: Observation) -> Tensor:
    what = f"score {score.key!r} of {score.distribution}"
    try:
        result = score.function(seen)
    except Exception as error:  # whatever somebody's module raises
        raise UsageError(f"{what} failed ({type(error).__name__}: {error}): mend or uninstall that package") from error
    wanted = (len(seen.logits), *seen.size)
    if not isinstance(result, Tensor) or result.shape != wanted or result.dtype != torch.float32:
        found = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise UsageError(f"{what} gave {found}, not float32 {wanted}: mend or uninstall that package")
    if result.device != seen.logits.device:
        raise UsageError(
            f"{what} gave a map on {result.device}, while the network is on {seen.logits.device}: mend or uninstall "
            "that package"
        )
    return result


def read_weights(path: Path, *, model: str | ModelConfig) -> checkpoint.Weights:
    """Weights of a checkpoint folder, a run directory (its best step) or a published ``.pth``; see `abet.load`."""
    if path.is_dir():
        return checkpoint.read(checkpoint.resolve(path))
    from abet.published import read_published

    base = load_recipe(model).model if isinstance(model, str) else model
    weights, _ = read_published(path, base=base)
    return weights


def _same_kind(found: torch.Tensor | None, wanted: torch.Tensor) -> bool:
    return found is not None and found.shape == wanted.shape and found.dtype == wanted.dtype


def load_detector(path: Path, *, device: str = "auto", model: str | ModelConfig = "cityscapes_finetune") -> Detector:
    """See `abet.load`; ``model`` may also be the configuration itself."""
    target = choose_device(device)
    path = checkpoint.resolve(path)
    weights = read_weights(path, model=model)
    if weights.contents != "model":
        raise CheckpointError(
            f"{path}: holds the {weights.contents} alone, without a segmentation head: a start for training, not a "
            "detector; docs/weights.md lists the models that evaluate"
        )
    if weights.model.num_classes > checkpoint.MAX_CLASSES:
        raise CheckpointError(
            f"{path}: tells {weights.model.num_classes} classes apart; class maps are uint8 and hold "
            f"{checkpoint.MAX_CLASSES} at most: use a checkpoint of fewer classes"
        )
    # On the meta device nothing is initialised only to be overwritten
    with torch.device("meta"):
        network = build_model(weights.model)
    wanted = network.state_dict()
    wrong = [name for name, value in wanted.items() if not _same_kind(weights.tensors.get(name), value)]
    if wrong or len(weights.tensors) != len(wanted):
        raise CheckpointError(
            f"{path}: its tensors do not fit its own configuration ({len(weights.tensors)} tensors for {len(wanted)}; "
            f"first difference: {wrong[0] if wrong else 'an unknown name'}); import the checkpoint again"
        )
    network.load_state_dict(dict(weights.tensors), assign=True)
    # channels_last convolutions are about a tenth faster on a CPU, and the format of tensor cores
    network.eval().to(target)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Detector(
        network=network,
        config=weights.model,
        normalisation=weights.normalisation,
        device=target,
        # resolved, so that shards started in other folders name the same checkpoint
        uri=path.resolve().as_posix(),
        sha256=weights.sha256,
    )


def load_place(
    place: Place, site: SiteConfig, *, device: str = "auto", model: str | ModelConfig = "cityscapes_finetune"
) -> Detector:
    """The same for a place that may be in S3: it is copied to this machine first, and keeps its name there."""
    if isinstance(place, Path):
        return load_detector(place, device=device, model=model)
    uri, path = fetch_checkpoint(place, site)
    return replace(load_detector(path, device=device, model=model), uri=str(uri))
