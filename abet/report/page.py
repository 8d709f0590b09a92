"""The report: one HTML page that holds everything it shows and asks no network for anything.

abet report runs/abet runs/baseline --output report.html
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from abet.errors import UsageError
from abet.files import write_bytes
from abet.labels import CITYSCAPES
from abet.places import Place
from abet.report import figures, table
from abet.report.gallery import colour_bar, gallery
from abet.report.runs import RunResults, label_runs, score_keys
from abet.site import S3Settings
from abet.storage import open_storage
from abet.version import __version__

MAX_GALLERY_IMAGES = 12


def write_report(
    runs: Sequence[RunResults], output: Place, *, max_images: int = MAX_GALLERY_IMAGES, s3: S3Settings | None = None
) -> None:
    """Write the page that compares ``runs``; atomic.

    Args:
        runs: from `abet.report.runs.load_run`; their data sets may differ.
        output: an ``.html`` file or object; parent folders are made.
        max_images: images per data set in the gallery, spread evenly over those kept.
        s3: how S3 is reached, for an object.

    Raises:
        UsageError: no run, or an output that is a folder.
        DataError: a sample is damaged.
    """
    if not runs:
        raise UsageError("a report needs at least one run directory")
    if isinstance(output, Path) and output.is_dir():
        raise UsageError(f"{output} is a folder: give --output the name of an .html file")
    page = render_page(runs, max_images=max_images).encode()
    if isinstance(output, Path):
        write_bytes(output, page)
    else:
        open_storage(output.parent, s3 or S3Settings()).write(output.name, page, expect=None)


def render_page(runs: Sequence[RunResults], *, max_images: int = MAX_GALLERY_IMAGES) -> str:
    """The page as text; the same runs give the same text."""
    labels = label_runs(runs)
    names = sorted({name for run in runs for name in run.datasets})
    sections = [_section(runs, labels, name, max_images) for name in names]
    scripts = {"plotly": _plotly_script(), "draw": _template_file("report.js")}
    environment = Environment(
        loader=PackageLoader("abet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        version=__version__,
        runs=list(zip(labels, runs, strict=True)),
        sections=sections,
        columns=table.COLUMNS,
        measured=table.MEASURED,
        classes=CITYSCAPES,
        cityscapes=all(run.num_classes == len(CITYSCAPES) for run in runs),
        colour_bar=colour_bar(),
        style=Markup(_template_file("report.css")),
        scripts={name: Markup(text) for name, text in scripts.items()},
        policy=_policy(scripts.values()),
        figures=Markup(_json([spec for section in sections for spec in section["figures"]])),
    )


def _section(runs: Sequence[RunResults], labels: Sequence[str], name: str, max_images: int) -> dict[str, Any]:
    """What the template shows of one data set; ``figures`` are drawn by their place among all of the page."""
    keys = score_keys(runs)
    found = figures.histograms(runs, labels, name)
    metrics = [run.datasets[name].metrics for run in runs if name in run.datasets]
    kept = {sample for run in runs if name in run.datasets for sample in run.datasets[name].samples}
    return {
        "name": name,
        "metrics": metrics[0],
        "runs": [label for run, label in zip(runs, labels, strict=True) if name in run.datasets],
        "absent": [label for run, label in zip(runs, labels, strict=True) if name not in run.datasets],
        "same_images": all(other.pixels == metrics[0].pixels for other in metrics),
        "table": table.comparison(runs, labels, name),
        "several_runs": len(metrics) > 1,
        "histograms": [(run, score) for run, score, _ in found],
        "gallery": gallery(runs, labels, name, max_images),
        "kept": len(kept),
        "figures": [figures.curves_figure(runs, labels, name, keys), *(spec for _, _, spec in found)],
    }


def _template_file(name: str) -> str:
    return (resources.files("abet.report") / "templates" / name).read_text(encoding="utf-8")


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    # Either would end or suspend the script element that holds it
    assert "</script" not in script.lower()
    assert "<!--" not in script
    return script


def _policy(scripts: Iterable[str]) -> str:
    """A Content-Security-Policy that forbids every request and every script but the given ones."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _json(value: Any) -> str:
    """Strict JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
