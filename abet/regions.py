"""Connected regions of pixels above a threshold, as a list: what `abet predict` found in a photograph.

    found = find_regions(score, score >= threshold, minimum_pixels=50)

Coordinates are in pixels, x to the right and y down from the upper left corner. A box [x0, y0, x1, y1] holds the
columns from x0 to x1 - 1 and the rows from y0 to y1 - 1, so that ``image[y0:y1, x0:x1]`` cuts it out. A centroid
[x, y] is the mean of the pixels' columns and rows: the middle of the upper left pixel is [0, 0].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abet.data.opencv import keep_to_one_thread

Mask = NDArray[np.bool_]
Score = NDArray[np.float32]


def find_regions(score: Score, mask: Mask, *, minimum_pixels: int) -> list[dict[str, Any]]:
    """The 8-connected regions of ``mask`` with at least ``minimum_pixels`` pixels, the largest first, as strict JSON.

    score: (H, W) float32 in raw units. mask: (H, W) bool. Each has ``box`` and ``centroid`` (above), ``area_pixels``,
    ``mean_score`` and ``max_score``; these two are null beside a ``reason`` where a pixel's score is not finite. Of
    equal areas, the upper box comes first, then the left one.
    """
    assert score.shape == mask.shape
    keep_to_one_thread()
    import cv2

    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    rows = [
        _region(score, np.asarray(numbers, np.int32), number, stats[number].tolist())
        for number in range(1, len(stats))
        if stats[number, cv2.CC_STAT_AREA] >= minimum_pixels
    ]
    return sorted(rows, key=lambda row: (-row["area_pixels"], row["box"][1], row["box"][0], row["box"]))


def _region(score: Score, numbers: NDArray[np.int32], number: int, stats: Sequence[int]) -> dict[str, Any]:
    """stats: OpenCV's: left and upper end of the box, its width and height, and the area."""
    left, top, width, height, area = stats
    box = slice(top, top + height), slice(left, left + width)
    here = numbers[box] == number
    y, x = np.nonzero(here)
    values = score[box][here].astype(np.float64)
    region: dict[str, Any] = {
        "box": [left, top, left + width, top + height],
        "area_pixels": area,
        "centroid": [left + int(x.sum()) / area, top + int(y.sum()) / area],
    }
    if broken := int(np.count_nonzero(~np.isfinite(values))):
        reason = f"{broken} of its pixels have a score that is not a finite number"
        return region | {"mean_score": None, "max_score": None, "reason": reason}
    return region | {"mean_score": float(values.sum()) / area, "max_score": float(values.max())}
