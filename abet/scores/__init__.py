"""Pixel scores of how out-of-distribution (OOD) a pixel is; higher = more OOD.

abet scores

Every function is pure: what one pass of the network says of a batch (`Observation`) in, (B, H, W) float32 out, in raw
units (nothing is squashed to [0, 1]: ranking metrics need every digit). No torch import before one is computed.
"""

from abet.scores.score import Head, Observation, Score, missing
from abet.scores.table import OWN_KEYS, SCORES

__all__ = ["OWN_KEYS", "SCORES", "Head", "Observation", "Score", "missing"]
