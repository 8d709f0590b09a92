"""Scores of other packages: a small one that is really installed, and some that are not sound."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from abet.counting import Counter, LabelledImage
from abet.data.index import Dataset
from abet.detector import Detector
from abet.errors import UsageError
from abet.merge import merge
from abet.metrics.reference import ReferenceState
from abet.run import evaluation_dir
from abet.scores.plugins import ScoreTable
from abet.scores.table import SCORES
from tests.conftest import Cli
from tests.evaluations import evaluate

SOUND = """
from abet.scores import Score

print("the plug-in is imported")

def second_gap(seen):
    best = seen.logits.float().topk(2, dim=1).values
    return best[:, 1] - best[:, 0]

SCORE = Score(
    key="second_gap", formula="l_2 - l_1", source="a test", needs=("logits",), function=second_gap,
    reference_absent="it is new",
)
"""


def install(site: Path, name: str, module: str, *points: str, version: str = "1.2") -> None:
    """What an installer leaves: a module, and beside it the folder that says so."""
    (site / f"{name}.py").write_text(module)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("\n".join(["[abet.scores]", *points]) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def table(site: Path, monkeypatch: pytest.MonkeyPatch) -> ScoreTable:
    """The table itself, which finds its plug-ins anew."""
    assert isinstance(SCORES, ScoreTable)
    monkeypatch.setattr(SCORES, "_all", SCORES.__dict__.get("_all"), raising=False)
    del SCORES.__dict__["_all"]
    for name in [name for name in sys.modules if name.startswith("abet_extra")]:
        monkeypatch.delitem(sys.modules, name)
    return SCORES


def test_an_installed_score_stands_last_in_the_table(site: Path, table: ScoreTable) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    assert list(table)[-1] == "second_gap"
    assert table["second_gap"].distribution == "abet_extra 1.2"
    assert table["abet"].distribution is None


def test_nothing_is_imported_before_scores_are_listed(site: Path) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    code = "from abet.scores import SCORES; SCORES['abet']; print('before'); list(SCORES)"
    paths = os.pathsep.join([str(site), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["before", "the plug-in is imported"]


def test_it_is_listed_evaluated_merged_and_reported(
    cli: Cli, site: Path, table: ScoreTable, learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    listed = " ".join(cli("scores").out.split())
    assert "second_gap" in listed
    assert "abet_extra 1.2" in listed
    run = tmp_path / "run"
    command = ("evaluate", "--checkpoint", learned.uri, "--dataset", "road_anomaly", "--data-root", mixed_sizes.root)
    finished = cli(*command, "--output", run, "--device", "cpu", "--scores", "second_gap,msp")
    assert finished.code == 0, finished.err
    metrics = json.loads((evaluation_dir(run, "road_anomaly") / "metrics.json").read_text())
    assert metrics["plugins"] == {"second_gap": "abet_extra 1.2"}
    assert metrics["scores"]["second_gap"]["auroc"]["value"] is not None
    assert "abet_extra 1.2" in metrics["scores"]["second_gap"]["reference_protocol_reason"]
    assert cli("report", run, "--output", tmp_path / "report.html").code == 0
    assert "second_gap" in (tmp_path / "report.html").read_text()
    image, _ = mixed_sizes.read(mixed_sizes.pairs[0])
    logits = np.sort(learned.output(image).logits[0].numpy(), axis=0)
    np.testing.assert_array_equal(learned.score(image, "second_gap"), logits[-2] - logits[-1])


def test_a_merge_does_without_the_package(
    site: Path, table: ScoreTable, learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    metrics = evaluate(learned, mixed_sizes, tmp_path / "run", scores=("second_gap",))
    table.__dict__["_all"] = {key: row for key, row in table.items() if row.distribution is None}
    assert merge(tmp_path / "run", "road_anomaly") == metrics


def test_a_second_pass_without_the_package_names_it(
    cli: Cli, site: Path, table: ScoreTable, learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    run = tmp_path / "run"
    evaluate(learned, mixed_sizes, run, scores=("second_gap", "msp"), protocols=True)
    table.__dict__["_all"] = {key: row for key, row in table.items() if row.distribution is None}
    command = ("components", run, "--checkpoint", learned.uri, "--dataset", "road_anomaly")
    finished = cli(*command, "--data-root", mixed_sizes.root, "--device", "cpu")
    assert (finished.code, "Traceback" in finished.err) == (2, False)
    assert "score 'second_gap' is of abet_extra 1.2, which is not installed" in finished.err
    assert "--scores msp" in finished.err
    assert cli(*command, "--data-root", mixed_sizes.root, "--device", "cpu", "--scores", "msp").code == 0


def test_shards_of_another_version_do_not_mix(
    site: Path, table: ScoreTable, learned: Detector, mixed_sizes: Dataset, tmp_path: Path
) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    evaluate(learned, mixed_sizes, tmp_path / "run", scores=("second_gap",))
    (site / "abet_extra-1.2.dist-info").rename(site / "abet_extra-1.3.dist-info")
    info = site / "abet_extra-1.3.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("1.2", "1.3"))
    del table.__dict__["_all"]
    with pytest.raises(UsageError, match=r"plugins .*abet_extra 1\.2.* there, .*abet_extra 1\.3.* here"):
        evaluate(learned, mixed_sizes, tmp_path / "run", scores=("second_gap",))


BROKEN = {
    "a name of ours": ("msp = abet_extra:SCORE", SOUND, "has the name of one of abet: rename or uninstall it"),
    "an error": ("new = abet_extra:SCORE", "1 / 0", r"does not load \(ZeroDivisionError: division by zero\)"),
    "no such thing": ("new = abet_extra:SCORES", SOUND, "does not load"),
    "another thing": ("new = abet_extra:second_gap", SOUND, "is a function, not an abet.scores.Score"),
    "another key": ("new = abet_extra:SCORE", SOUND, "has the key 'second_gap'"),
    "no key": ("a.b = abet_extra:SCORE", SOUND, "lower-case letters, digits and _"),
    "an unknown need": (
        "second_gap = abet_extra:SCORE",
        SOUND.replace('needs=("logits",)', 'needs=("logits", "logit")'),
        r"needs 'logit', which no network has: the choices are logits, cosine, temperature, features",
    ),
    "a need that is no text": (
        "second_gap = abet_extra:SCORE",
        SOUND.replace('needs=("logits",)', "needs=(None,)"),
        "needs None, which no network has",
    ),
    "needs without a comma": (
        "second_gap = abet_extra:SCORE",
        SOUND.replace('needs=("logits",)', 'needs=("logits")'),
        r"has needs='logits': a tuple is needed, of logits, cosine, temperature, features",
    ),
    "fitted": (
        "new = abet_extra:SCORE",
        SOUND.replace('"second_gap"', '"new"').replace("needs", 'fitted="much", needs'),
        "fits abet's own scores alone",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_an_unsound_package_is_named(cli: Cli, site: Path, table: ScoreTable, fault: str) -> None:
    point, module, said = BROKEN[fault]
    install(site, "abet_extra", module, point)
    with pytest.raises(UsageError, match=rf"abet_extra 1\.2.*{said}"):
        list(table)
    assert table["abet"].key == "abet", "what is ours stays usable from Python"
    finished = cli("scores")
    assert finished.code == 2
    assert "abet_extra 1.2" in finished.err
    assert "Traceback" not in finished.err


def test_two_packages_with_one_name_are_both_named(site: Path, table: ScoreTable) -> None:
    install(site, "abet_extra", SOUND, "second_gap = abet_extra:SCORE")
    install(site, "abet_extra2", SOUND, "second_gap = abet_extra2:SCORE")
    with pytest.raises(UsageError, match=r"of abet_extra2 1\.2 has the name of one of abet_extra 1\.2"):
        list(table)


def with_reference(body: str) -> str:
    return SOUND.replace('reference_absent="it is new"', f"reference=lambda raw, num_classes: {body}").replace(
        "from abet", "import numpy as np\nfrom abet"
    )


REFERENCES = {
    "it falls": ("-raw", r"falls from 3\.4\d*e\+38 at a raw score of -3\.4\d*e\+38 to 3\.\d*e\+38 at -3\.\d*e\+38"),
    "it falls in the end": (
        "np.where(raw > 5, 0.5, raw / 5)",
        r"falls from \S+ at a raw score of 4\.9\d* to 0\.5 at 5\.0",
    ),
    "it falls where it is not bound to [0, 1]": ("np.where(raw > 5, 2.5, raw)", "falls from"),
    "it falls little by little": ("1 - 1e-6 * np.clip(raw, 0, 100)", "falls from 1"),
    "no number above": ("np.where(raw > 1, np.nan, raw)", r"falls from \S+ at a raw score of \S+ to nan at 1\.0"),
    "it falls from infinity": ("np.where(raw < 0, np.inf, raw)", "falls from inf at"),
    "an error": ("1 // 0", "failed \\(ZeroDivisionError"),
    "one number for all": ("raw.max()", r"gave float32 \(\) for float32 \(65536,\)"),
    "complex numbers": ("raw + 0j", "gave complex64"),
}


@pytest.mark.parametrize("fault", REFERENCES)
def test_a_reference_that_falls_or_fails_is_named_before_the_first_image(
    site: Path, table: ScoreTable, learned: Detector, mixed_sizes: Dataset, tmp_path: Path, fault: str
) -> None:
    body, said = REFERENCES[fault]
    install(site, "abet_extra", with_reference(body), "second_gap = abet_extra:SCORE")
    with pytest.raises(
        UsageError, match=rf"the reference of score 'second_gap' of abet_extra 1\.2 {said}.*that package"
    ):
        evaluate(learned, mixed_sizes, tmp_path / "run", scores=("second_gap",))
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(
    "body",
    [
        "raw / 5 + num_classes / 190",
        "1 / (1 + np.exp(-raw))",
        "np.tanh(raw)",
        "np.log(raw)",
        "np.where(raw > 3, 1, np.where(raw > -3, 0.5, 0)).astype(np.float64)",
        "np.clip(raw, 0, np.inf) * np.inf",
        "(raw > 0).astype(int)",
        "raw > 0",
    ],
)
def test_a_reference_that_does_not_fall_is_counted_as_its_histogram(site: Path, table: ScoreTable, body: str) -> None:
    install(site, "abet_extra", with_reference(body), "second_gap = abet_extra:SCORE")
    raw = np.random.default_rng(0).normal(0, 4, (50, 60)).astype(np.float32)
    labels = (raw > 2).astype(np.uint8)
    counter = Counter("second_gap", num_classes=19, device=torch.device("cpu"), protocols=False)
    counter.add_map(torch.from_numpy(raw), LabelledImage.of("image", labels, torch.device("cpu")))
    reference = table["second_gap"].reference
    assert reference is not None
    with np.errstate(all="ignore"):
        wanted = ReferenceState.count(np.asarray(reference(raw, 19), np.float32), labels)
    found = counter.reference()
    assert found is not None
    for name, values in wanted.to_arrays().items():
        np.testing.assert_array_equal(found.to_arrays()[name], values)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("1 / 0", r"failed \(ZeroDivisionError"),
        ("seen.logits", r"gave torch.float32 \(1, 19, 40, 56\), not float32 \(1, 40, 56\)"),
        ("seen.logits[:, 0].double()", "gave torch.float64"),
        ("0", "gave int"),
        ('seen.logits[:, 0].to("meta")', "gave a map on meta, while the network is on cpu"),
    ],
)
def test_one_that_fails_on_an_image_is_named(
    site: Path, table: ScoreTable, learned: Detector, body: str, said: str
) -> None:
    install(site, "abet_extra", SOUND.replace("best[:, 1] - best[:, 0]", body), "second_gap = abet_extra:SCORE")
    with pytest.raises(UsageError, match=rf"'second_gap' of abet_extra 1\.2 {said}"):
        learned.score(np.zeros((40, 56, 3), np.uint8), "second_gap")
