"""What an epoch is made of: a function of seed and epoch; every image once, or as many places of each class."""

import json
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from abet.data.epochs import Crop, EpochLists, draw

IMAGES, BOOSTED_IMAGES = 40, 7


def places_of(counts: list[int], *, images: range = range(IMAGES), seed: int = 0) -> list[NDArray[np.int32]]:
    """So many places of each class, no two alike."""
    rng = np.random.default_rng(seed)
    found = []
    for train_id, count in enumerate(counts):
        image = rng.integers(images.start, images.stop, count)
        found.append(np.column_stack([image, np.arange(count), np.full(count, train_id)]).astype(np.int32))
    return found


def lists_of(counts: list[int], *, share: float = 0.5, boosted: list[int] | None = None, last: int = 2) -> EpochLists:
    beyond = range(IMAGES, IMAGES + BOOSTED_IMAGES)
    return EpochLists(
        seed=7,
        images=IMAGES,
        share=share,
        places=places_of(counts),
        boosted=places_of(boosted, images=beyond, seed=1) if boosted else (),
        last_boosted_epoch=last,
    )


def by_class(found: list[Crop]) -> Counter[int | None]:
    """How many crops lie around each class (its number is each place's y), and how many anywhere: None."""
    return Counter(None if crop.centroid is None else crop.centroid[1] for crop in found)


@given(st.integers(0, 2**70), st.integers(0, 1000), st.integers(1, 200))
def test_without_a_share_for_classes_an_epoch_visits_every_image_once(seed: int, epoch: int, count: int) -> None:
    lists = EpochLists(seed=seed, images=count)
    found = lists.crops(epoch)
    assert sorted(crop.image for crop in found) == list(range(count))
    assert {crop.centroid for crop in found} == {None}


def test_orders_differ_between_epochs_and_seeds_and_repeat_for_the_same() -> None:
    orders = [EpochLists(seed=seed, images=100).crops(epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert orders[5] == EpochLists(seed=1, images=100).crops(2)


def test_every_class_has_the_same_number_of_crops_and_the_rest_lie_anywhere() -> None:
    lists = lists_of([3, 50, 1, 8])
    assert lists.per_class == 5
    for epoch in range(3):
        assert by_class(lists.crops(epoch)) == {None: 20, 0: 5, 1: 5, 2: 5, 3: 5}


def test_a_crop_lies_around_a_place_of_its_image() -> None:
    lists = lists_of([3, 50, 1, 8])
    known = {(int(image), int(x), int(y)) for places in lists.places for image, x, y in places}
    assert {(crop.image, *crop.centroid) for crop in lists.crops(0) if crop.centroid} <= known


def test_places_are_gone_through_in_turn_before_one_comes_again() -> None:
    found = Counter(crop for crop in lists_of([2, 50, 1, 8]).crops(1) if crop.centroid)
    assert sorted(count for crop, count in found.items() if crop.centroid and crop.centroid[1] == 0) == [2, 3]
    assert [count for crop, count in found.items() if crop.centroid and crop.centroid[1] == 2] == [5]
    assert all(count == 1 for crop, count in found.items() if crop.centroid and crop.centroid[1] in (1, 3))


def test_a_class_without_a_place_takes_its_share_away() -> None:
    lists = lists_of([3, 0, 1, 8])
    assert lists.length == 35
    assert by_class(lists.crops(0)) == {None: 20, 0: 5, 2: 5, 3: 5}


def test_boosted_places_join_in_up_to_their_last_epoch_and_epochs_stay_of_one_length() -> None:
    lists = lists_of([3, 0, 1, 8], boosted=[0, 4, 200, 0])
    assert lists.length == IMAGES
    for epoch in range(5):
        found = lists.crops(epoch)
        beyond = {crop.centroid[1] for crop in found if crop.centroid and crop.image >= IMAGES}
        if epoch <= 2:
            assert by_class(found) == {None: 20, 0: 5, 1: 5, 2: 5, 3: 5}
            assert beyond == {1, 2}
        else:  # class 1 has no place of its own left
            assert by_class(found) == {None: 25, 0: 5, 2: 5, 3: 5}
            assert beyond == set()


def test_crops_that_lie_anywhere_come_from_the_training_split_alone() -> None:
    found = lists_of([3, 2, 1, 8], boosted=[0, 4, 200, 0]).crops(0)
    assert max(crop.image for crop in found if crop.centroid is None) < IMAGES


def test_drawing_more_than_there_are_walks_the_same_shuffled_list_again() -> None:
    drawn = draw(np.random.default_rng(0), 4, 11).tolist()
    assert sorted(drawn[:4]) == [0, 1, 2, 3]
    assert drawn[4:8] == drawn[:4]
    assert drawn[8:] == drawn[:3]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any), st.floats(0.01, 1))
def test_the_length_is_that_of_every_epoch(counts: list[int], share: float) -> None:
    lists = lists_of(counts, share=share)
    assert {len(lists.entries(epoch)) for epoch in range(3)} == {lists.length}


@pytest.mark.parametrize(("images", "classes", "per_class", "anywhere"), [(2975, 19, 78, 1493), (18000, 65, 138, 9030)])
def test_the_full_sets_have_the_numbers_of_the_reference(
    images: int, classes: int, per_class: int, anywhere: int
) -> None:
    lists = EpochLists(seed=0, images=images, share=0.5, places=[np.zeros((1, 3), np.int32)] * classes)
    assert lists.per_class == per_class
    assert sum(crop.centroid is None for crop in lists.crops(0)) == anywhere
    assert lists.length == images


def test_a_list_is_drawn_as_the_reference_draws_it(golden_dir: Path) -> None:
    """With the reference's random numbers: the same images, then the same places class by class."""
    figures = json.loads((golden_dir / "train_golden.json").read_text())
    places = [
        np.array([(image, *place) for image, place in figures["cu/centroids_tile32"].get(str(k), [])], np.int32)
        for k in range(12)
    ]
    lists = EpochLists(seed=0, images=40, share=0.5, places=[each.reshape(-1, 3) for each in places])
    found = lists.in_order(cast(np.random.Generator, np.random.RandomState(3)), boost=False)
    expected = figures["cu/build_epoch_seed3"]
    assert lists.length == len(expected) == len(found)
    for (image, x, y), entry in zip(found.tolist(), expected, strict=True):
        if len(entry) == 1:
            assert (f"im{image}", x) == (entry[0], -1)
        else:
            assert (f"img{image}", [x, y]) == (entry[0], entry[1])
