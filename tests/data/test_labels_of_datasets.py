"""What each number in a label file means, against tables written out independently."""

import numpy as np
import pytest

from abet.data.layout import LabelTable
from abet.data.lost_and_found import LABEL_IDS, TRAIN_IDS
from abet.data.road_anomaly import EPFL_LABELS, SYNBOOST_LABELS
from abet.errors import DataError
from abet.labels import ID, OOD, VOID

HAZARDS = "2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 32 35 40 41 42 43"
HARMLESS = "0 31 33 34 36 37 38 39"


@pytest.mark.parametrize(
    ("table", "meaning"),
    [
        (SYNBOOST_LABELS, {0: ID, 1: OOD, 255: VOID}),
        (EPFL_LABELS, {0: ID, 1: ID, 2: OOD, 255: VOID}),
        (TRAIN_IDS, {0: VOID, 1: ID, 2: OOD, 255: VOID}),
        (LABEL_IDS, {1: ID} | {int(n): OOD for n in HAZARDS.split()} | {int(n): VOID for n in HARMLESS.split()}),
    ],
    ids=lambda value: value.title if isinstance(value, LabelTable) else "",
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
        "SynBoost's RoadAnomaly labels: ID 0; OOD 1; void 255"
    )


def test_a_label_full_of_foreign_values_is_summed_up(tmp_path):
    with pytest.raises(DataError, match="and 247 more values"):
        EPFL_LABELS.apply(np.arange(256, dtype=np.uint8)[None], file=tmp_path)  # 252 foreign ones would flood a screen


def test_a_table_reads_as_ranges():
    assert str(LABEL_IDS) == "LostAndFound label ids: ID 1; OOD 2-30, 32, 35, 40-43; void 0, 31, 33-34, 36-39"
