"""Which options make an evaluation go on: every entry of a fingerprint, and what no option mends."""

import re
import shlex
from dataclasses import fields
from typing import Any

import pytest

from abet.same_options import same_options
from abet.scores import SCORES
from abet.shards import Fingerprint
from tests.conftest import Cli
from tests.evaluations import ALL

CPU = "cpu AVX2, 2 threads, torch 2.13.0+cpu, bits 0123456789ab"
BEGUN = ["/usr/bin/abet", "evaluate", "--dataset", "road_anomaly"]


def fingerprint(**changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "dataset": "road_anomaly",
        "split": "test",
        "images": 60,
        "list_sha256": "b" * 64,
        "checkpoint_sha256": "a" * 64,
        "num_classes": 19,
        "scores": ("abet", "msp"),
        "shards": 1,
        "arithmetic": CPU,
    }
    return Fingerprint(**{**base, **changed}).to_json()


def told(there: dict[str, Any], here: dict[str, Any], *, begun: list[str] | None = None) -> list[str]:
    """For an evaluation that differs in what is ``there`` from what is asked for ``here``."""
    found = {**fingerprint(**there), "data_root": "data", "started": {"argv": BEGUN if begun is None else begun}}
    return [line.strip() for line in same_options(found, wanted=fingerprint(**here)).splitlines() if line]


OPTIONS = {
    "scores": ({}, {"scores": ("msp",)}, "add or change: --scores abet,msp"),
    "all scores": ({"scores": tuple(SCORES)}, {}, "add or change: --scores all"),
    "protocols": ({"protocols": True}, {}, "add or change: --protocols"),
    "no protocols": ({}, {"protocols": True}, "leave out: --protocols, --components"),
    "shards": ({"shards": 3}, {"shards": 4}, "add or change: --shard I/3"),
    "shards from none": ({"shards": 3}, {}, "add or change: --only-missing"),
    "no shards": ({}, {"shards": 3}, "leave out: --shard"),
    "definition": ({"ood_definition": "road"}, {}, "add or change: --ood-definition road"),
    "no definition": ({}, {"ood_definition": "road"}, "leave out: --ood-definition"),
    "split": ({"split": "train"}, {}, "add or change: --split train"),
    "threads": ({}, {"arithmetic": CPU.replace("2 threads", "8 threads")}, "add or change: --threads 2"),
    "threads and what follows": (
        {},
        {"arithmetic": "cpu AVX2, 8 threads, torch 2.13.0+cpu, bits ba9876543210"},
        "add or change: --threads 2",
    ),
    "processor": ({}, {"arithmetic": "NVIDIA H100, torch 2.13.0"}, "add or change: --device cpu --threads 2"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_what_an_option_mends_is_told_as_the_option(case: str) -> None:
    there, here, line = OPTIONS[case]
    assert told(there, here) == [line]


def test_what_is_not_on_the_command_line_need_not_be_left_out() -> None:
    found = {**fingerprint(), "started": {"argv": BEGUN}}
    wanted = fingerprint(images=3, list_sha256="c" * 64, protocols=True)
    argv = ["abet", "evaluate", "--limit=3", "--protocols"]
    assert same_options(found, wanted=wanted, argv=argv).split() == ["leave", "out:", "--protocols,", "--limit"]


def test_where_something_cannot_be_mended_no_option_is_offered() -> None:
    (line,) = told({"abet": "0.0.9", "protocols": True}, {})
    assert line.startswith("no option mends this: it was begun with abet 0.0.9")


def test_several_options_stand_in_one_line_that_can_be_copied() -> None:
    lines = told({"protocols": True, "shards": 3}, {"scores": ("msp",), "ood_definition": "road"})
    assert lines == ["add or change: --protocols --scores abet,msp --only-missing", "leave out: --ood-definition"]


@pytest.mark.parametrize(
    ("begun", "lines"),
    [
        ([], ["leave out: --images, --limit"]),
        (["--limit", "12"], ["add or change: --limit 12", "leave out: --images"]),
        (["--images=a b,c", "--limit=2"], ["add or change: --images 'a b,c' --limit 2"]),
    ],
)
def test_other_images_are_traced_to_the_command_that_began(begun: list[str], lines: list[str]) -> None:
    assert told({}, {"images": 3, "list_sha256": "c" * 64}, begun=[*BEGUN, *begun]) == lines


def test_other_images_that_no_command_explains_are_told_as_such() -> None:
    (line,) = told({}, {"images": 3, "list_sha256": "c" * 64}, begun=["python", "mine.py"])
    assert line == "add or change: --images and --limit as it was begun with"
    assert told({}, {"images": 3, "list_sha256": "c" * 64}, begun=["abet", "demo"]) == ["leave out: --images, --limit"]
    (line,) = told({}, {"list_sha256": "c" * 64})
    assert line.startswith("no option mends this: as many images, 60, of other names or sizes")
    lines = told({"split": "train"}, {"images": 3, "list_sha256": "c" * 64})
    assert lines == ["add or change: --split train", "leave out: --images, --limit"]


BEYOND = {
    "abet": ({"abet": "0.0.9"}, {}, r"begun with abet 0\.0\.9"),
    "weights": ({}, {"checkpoint_sha256": "d" * 64}, r"other weights \(sha256 a{12}\)"),
    "machine": ({}, {"arithmetic": CPU.replace("AVX2", "AVX512")}, r"machine .*cpu AVX2, 2 threads"),
    "version of torch": ({}, {"arithmetic": CPU.replace("2.13.0", "2.14.0")}, r"machine .*torch 2\.13\.0\+cpu"),
    "bits": (
        {},
        {"arithmetic": CPU.replace("0123456789ab", "ba9876543210")},
        r"machine .*bits 0123456789ab\): all but the bits is the same here, .*ONEDNN_MAX_CPU_ISA or MKL_CBWR",
    ),
    "no bits then": (
        {"arithmetic": CPU.removesuffix(", bits 0123456789ab")},
        {},
        "it was begun with an abet that noted no bits of its CPU: finish it with that one",
    ),
    "a fit that is gone": ({"fitted_sha256": "e" * 64}, {}, "is gone"),
    "another fit": ({"fitted_sha256": "e" * 64}, {"fitted_sha256": "f" * 64}, "is another by now"),
    "no fit then": ({}, {"fitted_sha256": "f" * 64}, "were not fitted then"),
    "a package": ({"plugins": {"gap": "extra 1.2"}}, {}, "score 'gap' is of extra 1.2, which is not installed"),
    "what is not known yet": ({"dataset": "other"}, {}, "dataset is 'other' there"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_no_option_mends_is_told_as_such(case: str) -> None:
    there, here, pattern = BEYOND[case]
    (line,) = told(there, here)
    assert re.match(rf"no option mends this: .*{pattern}", line)


def test_what_follows_from_something_else_is_not_told_twice() -> None:
    assert told({"fitted_sha256": "e" * 64}, {"scores": ("msp",)}) == ["add or change: --scores abet,msp"]
    assert len(told({"abet": "0.0.9", "format": 0}, {})) == 1


def test_every_entry_of_a_fingerprint_has_its_remedy() -> None:
    """One that is added to it is to be added here: in the test above it is told by its name alone."""
    from abet.same_options import _REMEDIES

    assert {field.name for field in fields(Fingerprint)} == {*_REMEDIES, "dataset"}


def test_the_options_named_are_those_of_the_command(cli: Cli) -> None:
    help_text = cli("evaluate", "--help").out
    for _, _, line in OPTIONS.values():
        for word in shlex.split(line.replace(",", " ")):
            assert not word.startswith("--") or word in help_text
    assert set(ALL) <= set(SCORES)
