"""Where the light comes from and what the air and the road are like."""

from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import Final

import numpy as np

from abet.data.synthetic.camera import World
from abet.data.synthetic.chance import pick
from abet.data.synthetic.materials import Colour, mixed, scaled

_WEATHER: Final = {
    "clear": 0.28, "broken": 0.22, "overcast": 0.18, "rain": 0.09, "fog": 0.05, "low": 0.13, "dusk": 0.05
}  # fmt: skip
"""How often each sky is."""
_FAIR: Final = {"clear": 0.4, "broken": 0.35, "overcast": 0.25}


@dataclass(frozen=True, kw_only=True)
class Light:
    """Sun, sky and weather of one scene."""

    sun: World
    """Unit vector towards the sun."""
    direct: float
    """Share of the sun in the light, 0 under clouds."""
    tint: Colour
    """Colour of the light, brightness included."""
    zenith: Colour
    haze: Colour
    """Colour of the sky at the horizon and of distant things."""
    visibility: float
    """Metres after which 1/e of the contrast is left."""
    clouds: float
    """Cloudiness, 0 to 1."""
    wetness: float
    """How much the road mirrors, 0 when dry."""

    def on(self, normal: World) -> float:
        """Brightness of a surface with this outward unit normal, about 1 for the ground."""
        facing = normal.x * self.sun.x + normal.y * self.sun.y + normal.z * self.sun.z
        hemisphere = 0.82 + 0.18 * normal.y
        level = self.sun.y * self.direct + (1 - self.direct)
        return (self.direct * max(facing, 0.0) + (1 - self.direct) * hemisphere) / max(level, 0.35)

    @property
    def shadow(self) -> tuple[float, float]:
        """Where the shadow of a point one metre up falls: metres to the right and ahead; at most four away."""
        reach = 1 / max(self.sun.y, 0.25)
        return -self.sun.x * reach, -self.sun.z * reach

    @property
    def shadow_depth(self) -> float:
        """How much darker the ground is in the shade of the sun."""
        return 0.62 * self.direct * self.sun.y / max(self.sun.y * self.direct + 1 - self.direct, 0.3)


def sample_light(rng: np.random.Generator, *, calm: bool) -> Light:
    """Clear noon, low sun, thin or thick cloud, rain grey, fog, dusk; the first and clouds alone if ``calm``."""
    azimuth, elevation = rng.uniform(0, 2 * pi), rng.uniform(0.35, 1.2)
    weather = _FAIR if calm else _WEATHER
    sky = pick(rng, list(weather), list(weather.values()))
    clear: Colour = (rng.uniform(0.20, 0.38), rng.uniform(0.42, 0.58), rng.uniform(0.72, 0.92))
    pale: Colour = (rng.uniform(0.72, 0.86), rng.uniform(0.8, 0.88), rng.uniform(0.86, 0.94))
    grey = rng.uniform(0.6, 0.9)
    cloud: Colour = (grey, grey * 1.01, min(grey * 1.04, 1.0))
    gain = rng.uniform(0.82, 1.12)
    cool: Colour = (gain * 0.97, gain, gain * 1.04)
    direct, zenith, haze, visibility, clouds, wet, tint = 0.6, clear, pale, rng.uniform(250, 700), 0.25, 0.0, cool
    if sky == "broken":
        direct, clouds = rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.7)
    elif sky == "overcast":
        direct, zenith, haze, clouds, visibility = 0.05, scaled(cloud, 0.88), cloud, 0.85, rng.uniform(150, 400)
    elif sky == "rain":
        dark = scaled(cloud, rng.uniform(0.65, 0.85))
        direct, zenith, haze, clouds, wet = 0.0, scaled(dark, 0.85), dark, 0.9, rng.uniform(0.25, 0.5)
        visibility, tint = rng.uniform(80, 200), scaled(cool, 0.82)
    elif sky == "fog":
        direct, zenith, haze, clouds, visibility = 0.0, scaled(cloud, 0.97), cloud, 0.1, rng.uniform(35, 80)
    elif sky == "low":
        elevation, direct = rng.uniform(0.28, 0.5), 0.65
        zenith, haze, tint = mixed(clear, pale, 0.35), (0.95, 0.83, 0.66), (gain * 1.1, gain * 0.98, gain * 0.83)
    elif sky == "dusk":
        direct, zenith, haze, clouds = 0.05, (0.22, 0.26, 0.42), (0.68, 0.55, 0.53), 0.4
        tint = (gain * 0.6, gain * 0.59, gain * 0.68)
    sun = World(cos(elevation) * sin(azimuth), sin(elevation), cos(elevation) * cos(azimuth))
    assert abs(hypot(*sun) - 1) < 1e-6
    return Light(
        sun=sun, direct=direct, tint=tint, zenith=zenith, haze=haze, visibility=visibility, clouds=clouds, wetness=wet
    )
