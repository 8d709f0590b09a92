"""Which weights ``--snapshot`` means: decided once, by rank 0, so that all processes start from the same ones.

A run that still trains gets new best steps; whoever asks it a moment later may get another answer.
"""

from dataclasses import dataclass
from pathlib import Path

from abet.checkpoint import read_manifest, resolve
from abet.distributed import Topology, from_rank_0, rank_0_alone, work_apart
from abet.errors import CheckpointError
from abet.files import sha256_of
from abet.places import Place, S3Uri, parse_place
from abet.remote import fetch_checkpoint, local_checkpoint
from abet.site import SiteConfig


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """The weights that a run starts from."""

    uri: str
    """Of a run the step that was chosen; absolute."""
    sha256: str
    """Of ``model.safetensors``, or of the published file."""
    path: Path
    """Where this process reads them."""

    @property
    def record(self) -> dict[str, str]:
        """What ``config.yaml`` and ``run.json`` say."""
        return {"uri": self.uri, "sha256": self.sha256}


def choose_start_weights(place: Place, site: SiteConfig, topology: Topology) -> StartWeights:
    """What ``place`` means; all ranks together.

    Raises:
        CheckpointError: nothing of the kind is there, it is damaged, or this node finds other weights than rank 0.
        StorageRefused, StorageUnavailable: S3 did not let us, or did not answer.
    """
    chosen: list[StartWeights] = []
    rank_0_alone(topology, lambda: chosen.append(_choose(place, site)))
    decided = from_rank_0(topology, chosen[0].record if chosen else None)
    work_apart(topology, None if chosen else lambda: chosen.append(_follow(site, **decided)))
    return chosen[0]


def _follow(site: SiteConfig, *, uri: str, sha256: str) -> StartWeights:
    """What rank 0 chose, as this process finds it."""
    path = local_checkpoint(parse_place(uri), site)
    if (found := _digest(path)) != sha256:
        raise CheckpointError(
            f"{uri}: here are other weights (sha256 {found[:12]}) than rank 0 found ({sha256[:12]}): name a checkpoint "
            "that is the same on all nodes and changes no more"
        )
    return StartWeights(uri=uri, sha256=sha256, path=path)


def _choose(place: Place, site: SiteConfig) -> StartWeights:
    if isinstance(place, S3Uri):
        uri, path = fetch_checkpoint(place, site)
        return StartWeights(uri=str(uri), sha256=_digest(path), path=path)
    path = resolve(place).resolve()
    return StartWeights(uri=path.as_posix(), sha256=_digest(path), path=path)


def _digest(path: Path) -> str:
    if path.is_dir():
        return read_manifest(path).sha256
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder; docs/weights.md says where each checkpoint is obtained")
    return sha256_of(path)
