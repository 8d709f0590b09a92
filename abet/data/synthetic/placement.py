"""Where things stand. One rule for known and unseen objects, so that place, depth and size give nothing away."""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from abet.data.synthetic.camera import Road
from abet.data.synthetic.chance import pick

Zone = Literal["lane", "parking", "sidewalk"]

NEAREST: Final = 4.5
FARTHEST: Final = 48.0
_TRIES: Final = 12


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A free place on the ground: metres right of the road's centre line, and ahead."""

    s: float
    z: float


@dataclass
class Places:
    """Gives out places on a road such that footprints do not overlap."""

    road: Road
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def find(
        self, rng: np.random.Generator, zone: Zone, *, half_width: float, half_length: float, sign: int | None = None
    ) -> Spot | None:
        """A free place in a zone on the given side (either one by default), or None where there is none."""
        for _ in range(_TRIES):
            chosen = sign or pick(rng, (-1, 1))
            interval = self._across(zone, chosen, half_width)
            if interval is None:
                continue
            s, z = float(rng.uniform(*interval)), sample_depth(rng)
            if self._free(s, z, half_width, half_length):
                self.take(s, z, half_width, half_length)
                return Spot(s=s, z=z)
        return None

    def take(self, s: float, z: float, half_width: float, half_length: float) -> None:
        """Mark a footprint as used."""
        self.taken.append((s, z, half_width, half_length))

    def _across(self, zone: Zone, sign: int, half_width: float) -> tuple[float, float] | None:
        """The interval of s that a thing of this width may stand in."""
        side = self.road.side(sign)
        kerb = side.road - side.parking
        low, high = {
            "lane": (half_width + 0.2, kerb - half_width),
            "parking": (kerb + 0.45 * side.parking, kerb + 0.55 * side.parking),
            "sidewalk": (side.strip + min(half_width, 0.5), side.sidewalk - min(half_width, 0.5)),
        }[zone]
        if high < low or (zone == "parking" and side.parking == 0):
            return None
        return (low, high) if sign > 0 else (-high, -low)

    def _free(self, s: float, z: float, half_width: float, half_length: float) -> bool:
        return all(
            abs(s - other_s) > half_width + width + 0.15 or abs(z - other_z) > half_length + length + 0.4
            for other_s, other_z, width, length in self.taken
        )


def sample_depth(rng: np.random.Generator) -> float:
    """Metres ahead: three in four evenly over image rows, the others evenly over the street."""
    if rng.random() < 0.75:
        return float(1 / rng.uniform(1 / FARTHEST, 1 / NEAREST))
    return float(rng.uniform(NEAREST, FARTHEST))
