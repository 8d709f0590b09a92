"""What each number in a label file means, against tables written out independently."""

from dataclasses import replace

import numpy as np
import pytest

from abet.data import cityscapes, fishyscapes, mapillary, segment_me
from abet.data.lost_and_found import ALL_OBJECTS, IMAGE, IMAGE_ALL_OBJECTS, LABEL_IDS, TRAIN_IDS
from abet.data.road_anomaly import EPFL_LABELS, SYNBOOST_LABELS
from abet.errors import DataError
from abet.labels import CITYSCAPES, ID, IGNORE, MAPILLARY, OOD, VOID

HAZARDS = "2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 32 35 40 41 42 43"
HARMLESS = "0 31 33 34 36 37 38 39"
# The published table from label id 0 on: the class that each is evaluated as, or none
CITYSCAPES_TABLE = """
-, -, -, -, -, -, -, road, sidewalk, -, -, building, wall, fence, -, -, -, pole, -, traffic light, traffic sign,
vegetation, terrain, sky, person, rider, car, truck, bus, -, -, train, motorcycle, bicycle
"""
TRAIN_ID_OF = {row.name: train_id for train_id, row in enumerate(CITYSCAPES)} | {"-": IGNORE}
CITYSCAPES_MEANING = {label_id: TRAIN_ID_OF[name.strip()] for label_id, name in enumerate(CITYSCAPES_TABLE.split(","))}


@pytest.mark.parametrize(
    ("table", "meaning"),
    [
        (SYNBOOST_LABELS, {0: ID, 1: OOD, 255: VOID}),
        (EPFL_LABELS, {0: ID, 1: ID, 2: OOD, 255: VOID}),
        (TRAIN_IDS, {0: VOID, 1: ID, 2: OOD, 255: VOID}),
        (LABEL_IDS, {1: ID} | {int(n): OOD for n in HAZARDS.split()} | {int(n): VOID for n in HARMLESS.split()}),
        (ALL_OBJECTS, {0: VOID, 1: ID} | dict.fromkeys(range(2, 44), OOD)),
        (IMAGE, {int(n): VOID for n in HARMLESS.split()} | {0: ID, 1: ID} | {int(n): OOD for n in HAZARDS.split()}),
        (IMAGE_ALL_OBJECTS, {0: ID, 1: ID} | dict.fromkeys(range(2, 44), OOD)),
        (fishyscapes.LABELS, {0: ID, 1: OOD, 255: VOID}),
        (segment_me.LABELS, {0: ID, 1: OOD, 255: VOID}),
        (cityscapes.LABEL_IDS, CITYSCAPES_MEANING),
        (cityscapes.TRAIN_IDS, {n: n for n in (*range(19), 255)}),
        (mapillary.LABELS, {**{n: n for n in range(65)}, 65: 255}),
    ],
    ids=lambda value: getattr(value, "title", ""),
)
def test_each_value_is_mapped_and_every_other_refused(tmp_path, table, meaning):
    for value in range(256):
        raw = np.full((2, 3), value, dtype=np.uint8)
        if value in meaning:
            assert table.apply(raw, file=tmp_path).tolist() == [[meaning[value]] * 3] * 2
        else:
            with pytest.raises(DataError, match=f"label value {value} in 6 pixels outside the table"):
                table.apply(raw, file=tmp_path)


def test_the_message_names_file_values_pixels_and_the_table(tmp_path):
    raw = np.array([[0, 7, 7], [1, 255, 9]], dtype=np.uint8)
    with pytest.raises(DataError) as caught:
        SYNBOOST_LABELS.apply(raw, file=tmp_path / "labels" / "x.png")
    assert str(caught.value) == (
        f"{tmp_path}/labels/x.png: label value 7 in 2 pixels, 9 in 1 pixels outside the table of "
        "SynBoost's RoadAnomaly labels: ID 0; OOD 1; void 255; take the label files that docs/datasets.md names"
    )


def test_a_label_full_of_foreign_values_is_summed_up(tmp_path):
    with pytest.raises(DataError, match="and 247 more values"):
        EPFL_LABELS.apply(np.arange(256, dtype=np.uint8)[None], file=tmp_path)  # 252 foreign ones would flood a screen


def test_a_table_reads_as_ranges():
    assert str(LABEL_IDS) == "LostAndFound label ids: ID 1; OOD 2-30, 32, 35, 40-43; void 0, 31, 33-34, 36-39"


def test_a_table_of_classes_reads_as_ranges():
    assert str(mapillary.LABELS) == "Mapillary Vistas v1 labels: 65 classes 0-64; ignored 65"


def test_the_signature_tells_other_numbers_other_names_and_other_ignored_values_apart():
    table = cityscapes.TRAIN_IDS
    renamed = (table.classes[0]._replace(name="street"), *table.classes[1:])
    swapped = {**table.train_ids, 0: 1, 1: 0}
    others = [
        replace(table, classes=renamed),
        replace(table, train_ids=swapped),
        replace(table, ignored=frozenset({254, 255})),
        cityscapes.LABEL_IDS,
    ]
    assert len({table.signature, *(other.signature for other in others)}) == 5
    recoloured = tuple(row._replace(colour=(0, 0, 0)) for row in table.classes)
    assert replace(table, classes=recoloured).signature == table.signature


def test_the_mapillary_table_has_each_name_once_in_the_published_order():
    names = [row.name for row in MAPILLARY]
    assert len(set(names)) == 65
    # Every eighth class, as the archive's config.json numbers them
    assert {number: names[number] for number in range(0, 65, 8)} == {
        0: "Bird",
        8: "Crosswalk - Plain",
        16: "Bridge",
        24: "Lane Marking - General",
        32: "Banner",
        40: "Mailbox",
        48: "Traffic Light",
        56: "Caravan",
        64: "Ego Vehicle",
    }


def test_what_comes_out_has_the_shape_of_what_went_in_and_may_be_written_to(tmp_path):
    raw = np.arange(60, dtype=np.uint8).reshape(6, 10)[::2, ::3].T
    label = mapillary.LABELS.apply(raw, file=tmp_path)
    np.testing.assert_array_equal(label, raw)
    label[:] = 7
    assert raw[0, 0] == 0
