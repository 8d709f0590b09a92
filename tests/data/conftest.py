"""Every tree that the readers know, in turn; and ten scenes to load."""

import numpy as np
import pytest

from abet.data.index import Dataset, Pair
from tests.data.scenes import COUNT, TABLE
from tests.trees import (
    make_cityscapes,
    make_fishyscapes,
    make_lost_and_found,
    make_mapillary,
    make_road_anomaly,
    make_segment_me,
    save,
)

TREES = {
    "synboost": ("road_anomaly", lambda root: make_road_anomaly(root, layout="synboost")),
    "epfl": ("road_anomaly", lambda root: make_road_anomaly(root, layout="epfl")),
    "train ids": ("lost_and_found", lambda root: make_lost_and_found(root, kinds=("labelTrainIds",))),
    "label ids": ("lost_and_found", lambda root: make_lost_and_found(root, kinds=("labelIds",))),
    "no known": ("lost_and_found_no_known", make_lost_and_found),
    "fishyscapes": ("fishyscapes_lost_and_found", lambda root: make_fishyscapes(root, layout="original")),
    "fishyscapes static": ("fishyscapes_static", lambda root: make_fishyscapes(root, layout="original")),
    "fishyscapes masks": ("fishyscapes_static", lambda root: make_fishyscapes(root, layout="images")),
    "road anomaly 21": ("road_anomaly_21", lambda root: make_segment_me(root, suffix=".png")),
    "road obstacle 21": ("road_obstacle_21", lambda root: make_segment_me(root, "road_obstacle_21", suffix=".png")),
    "mapillary v1.1": ("mapillary", lambda root: make_mapillary(root, version="v1.1", suffix=".png")),
    "mapillary v1.2": ("mapillary", lambda root: make_mapillary(root, version="v1.2", suffix=".png")),
    "cityscapes": ("cityscapes", make_cityscapes),
    "cityscapes of nvidia": ("cityscapes", lambda root: make_cityscapes(root, tree="nvidia")),
    "cityscapes train ids": ("cityscapes", lambda root: make_cityscapes(root, kinds=("labelTrainIds",))),
}


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    """(data set name, root, samples by pair name) of each layout in turn."""
    name, make = TREES[request.param]
    root = tmp_path / "data set ü"
    return name, root, make(root)


@pytest.fixture
def dataset(tmp_path):
    """Ten scenes of 48 x 64 pixels."""
    rng = np.random.default_rng(0)
    pairs = []
    for place in range(COUNT):
        image = save(tmp_path / f"images/{place}.png", rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        label = save(tmp_path / f"labels/{place}.png", rng.integers(0, 3, (48, 64), dtype=np.uint8))
        pairs.append(Pair(name=f"images/{place}.png", image=image, label=label))
    return Dataset(name="scenes", split="train", root=tmp_path, layout="test", pairs=tuple(pairs), labels=TABLE)
