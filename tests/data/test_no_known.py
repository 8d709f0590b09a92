"""Which of LostAndFound's images SegmentMeIfYouCan evaluates, and how it reads their labels."""

from pathlib import Path

import numpy as np
import pytest

from abet.data.index import open_dataset
from abet.data.layout import Pair
from abet.data.no_known import EMPTY_PLACES, without_known
from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from tests.trees import make_lost_and_found, make_sample, save

NAME = "lost_and_found_no_known"
CHILDREN = "15_Rechbergstr_Deckenpfronn"


def pairs_of(stems):
    names = [f"leftImg8bit/test/{stem.rsplit('_', 2)[0]}/{stem}_leftImg8bit.png" for stem in stems]
    return [Pair(name=name, image=Path(name), label=Path("x.png")) for name in names]


def test_streets_and_sequences_with_known_objects_are_left_out():
    left_out = [
        f"{CHILDREN}_000003_000010",
        "01_Hanns_Klemm_Str_45_000006_000010",
        "01_Hanns_Klemm_Str_45_000007_000200",
        "10_Schlossberg_9_000004_000010",
    ]
    kept = [
        "01_Hanns_Klemm_Str_45_000005_000010",
        "10_Schlossberg_9_000003_000010",
        "02_Hanns_Klemm_Str_44_000006_000010",
    ]
    pairs = pairs_of([*left_out, *kept])
    assert without_known(pairs) == tuple(pairs[4:])


def test_of_the_complete_list_the_empty_labels_go_by_their_place():
    pairs = pairs_of([f"02_Hanns_Klemm_Str_44_{number:06d}_000010" for number in range(1203)])
    kept = without_known(pairs)
    assert [pair for place, pair in enumerate(pairs) if place not in EMPTY_PLACES] == list(kept)
    assert len(kept) == 1203 - 17


def test_places_count_from_the_sorted_stems_whatever_the_order_of_the_pairs():
    pairs = pairs_of([f"02_Hanns_Klemm_Str_44_{number:06d}_000010" for number in range(1203)])
    assert without_known(pairs[::-1]) == without_known(pairs)[::-1]


def test_of_an_incomplete_list_none_goes_by_its_place(tmp_path):
    pairs = pairs_of([f"02_Hanns_Klemm_Str_44_{number:06d}_000010" for number in range(1202)])
    assert len(without_known(pairs)) == 1202
    make_lost_and_found(tmp_path)
    assert any("3 of LostAndFound's 1203 images are here" in note for note in open_dataset(NAME, tmp_path).notes)


def test_the_number_of_images_left_out_is_noted(tmp_path):
    make_lost_and_found(tmp_path, count=2)
    stem = f"{CHILDREN}_000000_000010"
    save(tmp_path / f"leftImg8bit/test/{CHILDREN}/{stem}_leftImg8bit.png", make_sample().image)
    save(tmp_path / f"gtCoarse/test/{CHILDREN}/{stem}_gtCoarse_labelIds.png", make_sample().label)
    dataset = open_dataset(NAME, tmp_path)
    assert len(dataset.pairs) == 2
    assert "1 image with children or bicycles left out" in dataset.notes


def test_train_ids_are_not_read(tmp_path):
    make_lost_and_found(tmp_path, count=1, kinds=("labelTrainIds",))
    with pytest.raises(DataError, match=r"image without label.*_gtCoarse_labelIds\.png"):
        open_dataset(NAME, tmp_path)


# 0 unlabelled, 1 road, 9 a hazard, 33 a pole that one may drive over
@pytest.mark.parametrize("name", ["lost_and_found", NAME])
@pytest.mark.parametrize(
    ("definition", "meaning"),
    [
        ("road", [VOID, ID, OOD, VOID]),
        ("road_all_objects", [VOID, ID, OOD, OOD]),
        ("image", [ID, ID, OOD, VOID]),
        ("image_all_objects", [ID, ID, OOD, OOD]),
    ],
)
def test_each_definition_reads_road_hazards_and_the_rest_as_it_says(tmp_path, name, definition, meaning):
    make_lost_and_found(tmp_path, count=1, size=(48, 64))
    labels = np.repeat(np.array([0, 1, 9, 33], dtype=np.uint8), 16 * 48).reshape(64, 48).T
    save(next(tmp_path.rglob("*_labelIds.png")), labels)
    train_ids = np.choose(np.searchsorted([0, 1, 9, 33], labels), [255, 1, 2, 0]).astype(np.uint8)
    save(next(tmp_path.rglob("*_labelTrainIds.png")), train_ids)
    dataset = open_dataset(name, tmp_path, definition=definition)
    assert dataset.read(dataset.pairs[0])[1][0, ::16].tolist() == meaning
