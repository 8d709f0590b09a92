"""Every tree that the readers know, in turn."""

import pytest

from tests.trees import make_lost_and_found, make_road_anomaly

TREES = {
    "synboost": ("road_anomaly", lambda root: make_road_anomaly(root, layout="synboost")),
    "epfl": ("road_anomaly", lambda root: make_road_anomaly(root, layout="epfl")),
    "train ids": ("lost_and_found", lambda root: make_lost_and_found(root, kinds=("labelTrainIds",))),
    "label ids": ("lost_and_found", lambda root: make_lost_and_found(root, kinds=("labelIds",))),
}


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    """(data set name, root, samples by pair name) of each layout in turn."""
    name, make = TREES[request.param]
    root = tmp_path / "data set ü"
    return name, root, make(root)
