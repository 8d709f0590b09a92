"""The report: one HTML page that holds everything it shows and asks no network for anything.

abet report runs/abet runs/baseline --output report.html
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from abet.data.registry import known_definition
from abet.errors import UsageError, unknown_name
from abet.files import write_bytes
from abet.labels import CITYSCAPES, colour_table
from abet.places import Place
from abet.report import figures, table
from abet.report.fit import fit
from abet.report.images import image_columns, image_names
from abet.report.looks import INK, Look, looks, run_dash, swatch
from abet.report.maps import Choice, Kept, check_wanted, choices, sampled
from abet.report.overview import overview
from abet.report.protocols import differences, protocol_tables
from abet.report.records import Metrics
from abet.report.render import colour_ramp
from abet.report.runs import RunResults, label_runs, score_keys
from abet.site import S3Settings
from abet.storage import open_storage
from abet.version import __version__

MAX_MEGABYTES: Final = 25.0
"""Of 10^6 bytes: what mail and chat still take."""
SCORES_AT_FIRST: Final = 8
"""Scores that are shown when the page opens; the others wait in the filter."""
SCRIPTS: Final = ("state.js", "curves.js", "table.js", "pixels.js", "viewer.js", "images.js")


def write_report(
    runs: Sequence[RunResults],
    output: Place,
    *,
    max_megabytes: float = MAX_MEGABYTES,
    maps: Sequence[str] = (),
    s3: S3Settings | None = None,
) -> None:
    """Write the page that compares ``runs``; atomic.

    Args:
        runs: from `abet.report.runs.load_run`; their data sets may differ.
        output: an ``.html`` file or object; parent folders are made.
        max_megabytes: of the page (10^6 bytes); maps are shown smaller, then fewer, until it fits.
        maps: scores whose maps can be looked at; default: a few of each run (`abet.report.maps.choices`).
        s3: how S3 is reached, for an object.

    Raises:
        UsageError: no run, an output that is a folder, a score that is unknown or has no map, a limit that is no
            number, or a page that is too large without any map.
        DataError: a sample is damaged.
    """
    if not runs:
        raise UsageError("a report needs at least one run directory")
    if isinstance(output, Path) and output.is_dir():
        raise UsageError(f"{output} is a folder: give --output the name of an .html file")
    page = render_page(runs, max_megabytes=max_megabytes, maps=maps).encode()
    if isinstance(output, Path):
        write_bytes(output, page)
    else:
        open_storage(output.parent, s3 or S3Settings()).write(output.name, page, expect=None)


def render_page(runs: Sequence[RunResults], *, max_megabytes: float = MAX_MEGABYTES, maps: Sequence[str] = ()) -> str:
    """The page as text; the same runs give the same text. Arguments and errors are those of `write_report`."""
    if not math.isfinite(max_megabytes):
        raise UsageError(f"--max-megabytes {max_megabytes}: a finite number of 10^6 bytes, such as {MAX_MEGABYTES:g}")
    labels = label_runs(runs)
    names = sorted({name for run in runs for name in run.datasets})
    sections = [_section(runs, labels, name) for name in names]
    for key in maps:
        if key not in score_keys(runs):
            raise unknown_name(kind="score of these runs", name=key, choices=score_keys(runs))
    chosen = {name: choices(runs, name, maps) for name in names}
    check_wanted(runs, chosen, maps)
    return fit(runs, chosen, partial(_render, runs, labels, sections), int(max_megabytes * 1e6))


def _render(
    runs: Sequence[RunResults],
    labels: Sequence[str],
    sections: Sequence[Mapping[str, Any]],
    kept: Mapping[str, Kept],
) -> str:
    scripts = {
        "plotly": _plotly_script(),
        "draw": "".join(_template_file(name) for name in SCRIPTS),
    }
    shown = overview(
        {section["name"]: (section["table"], section["protocols"]) for section in sections},
        apart=[section["name"] for section in sections if not section["compares"]],
    )
    data = {
        "runs": labels,
        "scores": score_keys(runs),
        "shown": first_scores(runs),
        "overview": shown.to_json(),
        "ramp": colour_ramp().ravel().tolist(),
        "colours": [[list(colour) for colour in colour_table(run.num_classes)] for run in runs],
        "sets": [_set_data(section, kept[section["name"]]) for section in sections],
    }
    return _template().render(
        version=__version__,
        runs=list(zip(labels, runs, strict=True)),
        labels=labels,
        run_looks=[swatch(INK, run_dash(number)) for number in range(len(runs))],
        scores=[(key, swatch(look.colour, look.dash, look)) for key, look in _looks(runs).items()],
        sections=sections,
        overview=shown,
        columns=table.COLUMNS,
        measured=table.MEASURED,
        classes=CITYSCAPES,
        cityscapes=all(run.num_classes == len(CITYSCAPES) for run in runs),
        style=Markup(_template_file("report.css")),
        scripts={name: Markup(text) for name, text in scripts.items()},
        policy=_policy(scripts.values()),
        figures=Markup(_json([spec for section in sections for spec in section["figures"]])),
        data=Markup(_json(data)),
        kept=kept,
        blocks=[
            (f"image-{number}-{section['images'].index(name)}", Markup(_json(_pictures(block))))
            for number, section in enumerate(sections)
            for name, block in kept[section["name"]].blocks.items()
        ],
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("abet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def first_scores(runs: Sequence[RunResults]) -> list[str]:
    """The scores that are shown at first: all if they are few, else the first and the best of every run and set by AP.

    Sets differ in their share of OOD pixels, and with it in AP: scores are ranked within each. First come the best of
    every run on its first set, so that no run is hidden as long as they are few, on its second, and so on; then the
    second best.
    """
    keys = score_keys(runs)
    of_runs = ([_by_ap(data.metrics) for data in run.datasets.values()] for run in runs)
    ranked = [scores for of_set in zip_longest(*of_runs) for scores in of_set if scores is not None]
    by_rank = (key for places in zip_longest(*ranked) for key in places if key is not None)
    kept = set(list(dict.fromkeys([*keys[:1], *by_rank, *keys]))[:SCORES_AT_FIRST])
    return [key for key in keys if key in kept]


def _definition(metrics: Metrics) -> str:
    """What counts as OOD, in words; of one that is not known here, its name."""
    found = known_definition(metrics.dataset, metrics.ood_definition)
    usual = "" if metrics.ood_definition else " (the usual one)"
    return f"{found}{usual}" if found else metrics.ood_definition or ""


def _looks(runs: Sequence[RunResults]) -> dict[str, Look]:
    return looks(score_keys(runs), first_scores(runs), dashed=len(runs) == 1)


def _by_ap(metrics: Metrics) -> list[str]:
    values = {key: entry.ap.value for key, entry in metrics.scores.items() if entry.ap and entry.ap.value is not None}
    return sorted(values, key=lambda key: -values[key])


def _section(runs: Sequence[RunResults], labels: Sequence[str], name: str) -> dict[str, Any]:
    """What the template shows of one data set; ``figures`` are drawn by their place among all of the page."""
    found = figures.histograms(runs, labels, name)
    metrics = [run.datasets[name].metrics for run in runs if name in run.datasets]
    held = [label for run, label in zip(runs, labels, strict=True) if name in run.datasets]
    images = image_names(runs, name)
    return {
        "name": name,
        "metrics": metrics[0],
        "runs": held,
        "evaluated": list(zip(held, metrics, strict=True)),
        "definition": _definition(metrics[0]),
        "absent": [label for run, label in zip(runs, labels, strict=True) if name not in run.datasets],
        "compares": table.compares(runs, name),
        "table": table.comparison(runs, labels, name),
        "protocols": protocol_tables(runs, labels, name),
        "differences": differences(runs, labels, name),
        "several_runs": len(metrics) > 1,
        "histograms": [(run, score) for run, score, _ in found],
        "images": images,
        "image_columns": image_columns(runs, name, images),
        "sampled": len(sampled(runs, name)),
        "place": _place(runs, name),
        "figures": [figures.curves_figure(runs, labels, name, _looks(runs)), *(spec for _, _, spec in found)],
    }


def _place(runs: Sequence[RunResults], name: str) -> str:
    """A run that the set was evaluated in, for the command that adds to it."""
    return str(next(run.place for run in runs if name in run.datasets))


def _set_data(section: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    return {
        "name": section["name"],
        "images": section["images"],
        "table": section["image_columns"],
        "choices": [_choice_data(choice) for choice in kept.choices],
        "thumbnails": {section["images"].index(name): block["thumbnail"] for name, block in kept.blocks.items()},
    }


def _choice_data(choice: Choice) -> dict[str, Any]:
    levels = choice.levels
    low, high, shades = levels.shades()
    rates = {name: [float(f"{rate:.6g}") for rate in getattr(levels, name)] for name in ("tpr", "fpr", "precision")}
    return {
        "run": choice.run,
        "score": choice.score,
        "threshold": [float(value) for value in levels.threshold],
        **rates,
        "at95": levels.at_95,
        "low": low,
        "high": high,
        "shades": shades,
    }


def _pictures(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: block[key] for key in ("size", "full", "photo", "labels", "label_of", "classes", "maps")}


def _template_file(name: str) -> str:
    return (resources.files("abet.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    # Either would end or suspend the script element that holds it
    assert "</script" not in script.lower()
    assert "<!--" not in script
    return script


_NOWHERE: Final = "base-uri 'none'; form-action 'none'"
"""What ``default-src`` leaves open."""


def _policy(scripts: Iterable[str]) -> str:
    """A Content-Security-Policy that forbids every request and every script but the given ones."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; {_NOWHERE}"


def _json(value: Any) -> str:
    """Strict JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
