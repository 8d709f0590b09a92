"""Benchmarks run from a checkout and write their own report."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluations import evaluate
from tests.training.states import small_recipe

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, options)], capture_output=True, text=True, check=False
    )


@pytest.mark.faults
@pytest.mark.parametrize("script", ["centroids.py", "head.py", "metrics.py", "storage.py", "training_step.py"])
def test_measuring_nothing_is_refused(script):
    result = run(script, "--repeats", 0)
    assert result.returncode == 2
    assert "'0' is no integer of at least 1" in result.stderr


def test_less_than_one_image_is_refused():
    result = run("metrics.py", "--pixels", 50_000)
    assert result.returncode == 2
    assert "--pixels 50000: less than one image, which has 2097152" in result.stderr


@pytest.mark.faults
def test_resampling_says_whether_the_figures_of_all_pixels_lie_inside_the_brackets():
    result = run("bootstrap.py", "--images", 3)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("figure of the first draw inside its bracket") == 3


@pytest.mark.faults
def test_streams_are_compared_with_keeping_everything():
    result = run("evaluation_stream.py", "--frames", 1, 2, "--compared", 1, "--scores", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("inside the bracket for 1 of 1 scores") == 3
    assert "Peak memory from 1 to 2 frames" in result.stdout


@pytest.fixture
def script(monkeypatch):
    """A script of benchmarks/ by its name, as a module."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in [name for name in set(sys.modules) - before if "." not in name and (FOLDER / f"{name}.py").is_file()]:
        del sys.modules[name]


@pytest.fixture
def refusal(script, monkeypatch, capsys):
    """What a script says of options that it refuses, called in this process."""

    def said(name: str, *options: object) -> str:
        monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, options)])
        with pytest.raises(SystemExit) as stop:
            script(name).main()
        assert stop.value.code == 2
        return capsys.readouterr().err

    return said


def test_no_image_to_resample_is_refused(refusal):
    assert "'0' is no integer of at least 1" in refusal("bootstrap", "--images", 0)


def test_scores_of_no_demo_are_refused(refusal, tmp_path):
    assert "no folder abet in it; run `abet demo` first" in refusal("scores", "--runs", tmp_path)


def test_no_frame_to_count_is_refused(refusal):
    assert "'0' is no integer of at least 1" in refusal("evaluation_stream", "--frames", 10, 0)


@pytest.fixture
def metrics(script):
    return script("metrics")


def test_the_report_compares_with_the_same_pixels_and_tells_how_memory_grows(metrics, monkeypatch):
    answers = {
        "images alone": {"seconds": 0.0, "peak_mib": 50.0},
        "scikit-learn": {"seconds": 30.0, "peak_mib": 900.0, "figures": {"auroc": 0.5, "ap": 0.5}},
        "abet": {
            "seconds": 0.5,
            "peak_mib": 200.0,
            "figures": {"auroc": 0.5, "ap": 0.25},
            "brackets": {"auroc": [0.4, 0.6], "ap": [0.1, 0.3]},
        },
    }

    def measured(name, pixels, repeats=1):
        larger = pixels // 1_000_000
        return answers[name] | {
            "pixels": pixels,
            "seconds": answers[name]["seconds"] * larger,
            "peak_mib": 199 + larger,
        }

    monkeypatch.setattr(metrics, "measure", measured)
    text = metrics.report(1_000_000, [10, 20], 3)
    assert "| times scikit-learn's pixels/s at 1,000,000 |" in text
    assert "| abet, 20 times the pixels | 20,000,000 | 10.00 | 2.00 M | 60.0 | 219 |" in text
    assert "- Peak memory +9 MiB at 10 times the pixels." in text
    assert "- auroc: bracket 2.0e-01 wide, scikit-learn's figure inside." in text
    assert "- ap: bracket 2.0e-01 wide, scikit-learn's figure OUTSIDE." in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {8}


def test_the_report_on_storage_names_a_tool_that_could_not_be_had(script):
    storage = script("storage")
    times = {"upload": {"abet sync": [2.0, 1.0, 9.0], "aws s3": [3.0, 4.0, 5.0]}}
    tools = [SimpleNamespace(name=name, version="1", remark="its remark") for name in ("abet sync", "aws s3")]
    text = storage.report(times, tools, ["s5cmd could not be installed"], "a machine", 3)
    assert "| upload | 2.00 | 4.00 | 2.00 |" in text
    assert "- aws s3 1: its remark." in text
    assert "- s5cmd could not be installed" in text


def test_the_report_on_centroids_compares_what_agrees_with_it(script, monkeypatch):
    centroids = script("centroids")
    for name, pixels in (("HEIGHT", 200), ("WIDTH", 300), ("TILE", 64)):
        monkeypatch.setattr(centroids, name, pixels)
    text = centroids.report(maps=1, repeats=1, files=2)
    assert "Labels of 200 x 300 pixels (1, synthetic)" in text
    assert text.count("\n| ") == 4 + 4
    assert "| 32 | " in text
    answers = iter([np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 3))])
    monkeypatch.setattr(centroids, "CONTESTANTS", dict.fromkeys(centroids.CONTESTANTS, lambda *_: next(answers)))
    with pytest.raises(AssertionError, match="disagree"):
        centroids.compare([None], 1)


@pytest.fixture
def memory(script):
    return script("memory")


def kept_by(node, seen):
    """Storage -> bytes of what ``node`` and all below it say that they keep for the backward pass."""
    found, waiting = {}, [node]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [after for after, _ in node.next_functions]
        values = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        for value in [*values, *getattr(node, "saved_tensors", ())]:
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(tensor, torch.Tensor):
                    found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return found


@pytest.mark.faults
def test_memory_is_counted_as_the_graph_of_a_real_pass_keeps_it_and_less_where_blocks_are_recomputed(memory):
    config, setting = small_recipe().model, memory.Setting(48, 2, "float32", recompute=False)
    model = memory.network(config, setting, torch.device("cpu"))
    loss = memory.forward(model, setting, torch.device("cpu"))
    state = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    naive = {storage: size for storage, size in kept_by(loss.grad_fn, set()).items() if storage not in state}
    parameters, buffers = (sum(value.nbytes for value in values()) for values in (model.parameters, model.buffers))

    counted, less = (memory.count(config, setting._replace(recompute=recompute)) for recompute in (False, True))

    assert counted.saved == pytest.approx(sum(naive.values()), abs=16)  # scalars
    assert counted.fixed == less.fixed == 3 * parameters + buffers
    assert counted.peak > counted.fixed + counted.saved
    assert less.saved < 0.9 * counted.saved
    assert less.peak < counted.peak


def test_the_table_of_memory_says_which_cards_hold_a_step_with_the_margin(memory):
    gib = 2**30
    assert memory.usable_gib(16) == pytest.approx(16e9 / gib * 0.9 - 1)
    setting = memory.Setting(896, 2, "float32", True)
    counted = memory.Counted(2 * gib, 9 * gib, 13 * gib)
    row = memory.table({setting: counted}, {setting: None}).splitlines()[-1]
    assert row == "| 896 | 2 | float32 | recomputed | 2.00 | 9.00 | 13.00 | out of memory | - | fits | fits |"


def test_every_entry_of_the_reference_s_training_is_compared_and_agrees(script, golden_dir):
    report = script("reference_training")
    rows = list(report.rows(golden_dir))
    assert max(row.difference for row in rows) < 1e-6
    figures = json.loads((golden_dir / "train_golden.json").read_text())
    shown = {row.entry.partition(":")[0] for row in rows}
    assert {name for name in figures if name not in shown and not name.startswith("rlx/")} <= {
        "cu/tiles_1024x2048_t1024",  # the origins of tiles, which the places follow from: tests/data/test_centroids.py
        "cu/tiles_1500x2500_t1024",
    }
    assert {name.split("/")[1] for name in figures if name.startswith("rlx/")} == {
        entry.split("/")[1] for entry in shown if entry.startswith("rlx/")
    }


@pytest.fixture
def training_step(script):
    return script("training_step")


def test_the_table_of_a_step_compares_with_the_baseline_and_tells_what_did_not_fit(training_step):
    results = {
        training_step.BASELINE: {"ms": 200.0, "peak_gib": 17.5, "crops": 2},
        "abet, bfloat16": {"ms": 100.0, "peak_gib": 7.75, "crops": 2},
        "abet, bfloat16, compiled": {"error": "out of memory", "crops": 2},
    }
    rows = training_step.table(results, 20.0, {"of 400": 400.0}).splitlines()
    assert rows[3] == "| abet, bfloat16 | 100.0 | 20.0 | 2.00 | 7.75 | 200 | 50% |"
    assert rows[4].startswith("| abet, bfloat16, compiled | out of memory |")
    assert {row.count("|") for row in rows} == {8}
    del results[training_step.BASELINE]
    assert (
        training_step.table(results, 20.0, {}).splitlines()[2] == "| abet, bfloat16 | 100.0 | 20.0 | - | 7.75 | 200 |"
    )


def test_a_steps_operations_are_those_of_its_convolutions_three_times(training_step):
    recipe = small_recipe()
    network = training_step.build_model(recipe.model).underlying_model
    total = []

    def count(module, _inputs, output):
        kernel = module.weight[0].numel()
        total.append(2 * kernel * output.numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(2, 3, 64, 64))
    assert training_step.training_tflop(recipe, 2, 64) == pytest.approx(3 * sum(total) / 1e12)


@pytest.mark.faults
def test_a_step_of_each_kind_learns_the_same(training_step):
    """Without dropout all rows begin with one loss; what is left of half precision is their rounding."""
    recipe = small_recipe("model.trunk.dropout=[0,0,0,0,0,0]")
    losses = []
    for variant in training_step.VARIANTS:
        if not variant.compile:
            training = training_step.Training(recipe, variant, torch.device("cpu"), (2, 64))
            losses.append(training.step())
    assert losses == pytest.approx([losses[0]] * len(losses), rel=0.02)


@pytest.fixture
def protocols(script):
    return script("protocols")


def test_every_hard_case_shows_what_it_says(script, protocols, monkeypatch):
    made = script("protocol_cases")
    monkeypatch.setattr(made.scenes, "__defaults__", (2,))
    cases = {name: make(np.random.default_rng(1)) for name, make in made.CASES.items()}
    rows = {name: protocols.row_of_case(case) for name, case in cases.items()}
    assert all(row.wrong() for row in rows.values())
    seen = {name: case.labels != 255 for name, case in cases.items()}
    msp = cases["saturated_msp"]
    assert (msp.reference[seen["saturated_msp"]] == 0).mean() > 0.5
    assert (msp.raw > 0).all()
    assert (rows["saturated_msp"].abet["fpr95"], rows["saturated_msp"].meta_ood["fpr95"]) == (0, 1)
    assert np.isnan(cases["overflowing_softmax"].reference).any()
    assert np.isfinite(cases["overflowing_softmax"].raw).all()
    assert min(rows["large_logsumexp"].dropped.values()) > 0.3
    assert np.unique(cases["heavy_ties"].raw).size == 5
    assert np.ptp(cases["narrow_range"].reference) < 0.06
    assert cases["few_ood_pixels"].shows.startswith("12 OOD among")
    jump = rows["jump_at_95"]
    assert (jump.exact["fpr95"]["tpr"], jump.meta_ood["tpr"]) == (1, 1)
    assert jump.abet["tpr"] == pytest.approx(0.45, abs=1e-3)
    assert jump.abet["fpr95"] < 0.1 < 0.3 < jump.exact["fpr95"]["value"]
    broken = rows["nan_scores"]
    assert (
        broken.exact["non_finite"]["ood"] == round(broken.dropped["OOD"] * (cases["nan_scores"].labels == 1).sum()) > 0
    )


def test_figures_more_than_one_point_off_are_marked(protocols):
    exact = {"auroc": 0.9, "ap": 0.5, "fpr95": 0.3}
    exact = {name: {"value": value, "low": value, "high": value + 1e-6, "tpr": 0.95} for name, value in exact.items()}
    theirs = {"auroc": 0.9101, "auprc": None, "fpr95": 0.2901, "tpr": 0.93}
    row = protocols.Row(
        name="a", exact=exact, abet=theirs, meta_ood=theirs | {"fpr95": 0.2}, dropped={"ID": 0.25, "OOD": 0}
    )
    assert row.wrong() == ["AUROC", "AP", "FPR95 (Meta-OoD)"]
    assert row.line() == (
        "| a | 90.00 (1e-04) | **91.01** | 50.00 (1e-04) | **n/a** | 30.00 (1e-04) at 95.0 "
        "| 29.01 at 93.0 | **20.00** at 93.0 | 25.0 / 0.0 |"
    )


def test_independent_metrics_agree_and_one_that_does_not_is_named(script, protocols, monkeypatch):
    large = [script("protocol_cases").blobs(np.random.default_rng(seed)) for seed in (1, 2)]
    images = [tuple(each[:size, :50] for each in image) for image, size in zip(large, (40, 60), strict=True)]
    assert "| yes, yes, yes |" in protocols.agreement({"x": images})[2]
    naive = protocols.by_scikit_learn
    monkeypatch.setattr(protocols, "by_scikit_learn", lambda *each: naive(*each) | {"ap": 1.1})
    assert "| yes, AP OUTSIDE, yes |" in protocols.agreement({"x": images})[2]


def test_rows_of_a_run_are_those_of_its_metrics(protocols, learned, mixed_sizes, tmp_path):
    metrics = evaluate(learned, mixed_sizes, tmp_path / "run", shards=2, scores=("abet", "energy", "msp"))
    rows = list(protocols.rows_of_run(tmp_path / "run"))
    assert [row.name for row in rows] == ["run, road_anomaly, `abet`", "run, road_anomaly, `msp`"]
    for row, key in zip(rows, ("abet", "msp"), strict=True):
        assert row.abet == metrics["scores"][key]["reference_protocol"]
        assert row.exact["auroc"] == metrics["scores"][key]["auroc"]
    with pytest.raises(SystemExit, match="nothing is evaluated here"):
        list(protocols.rows_of_run(tmp_path))
