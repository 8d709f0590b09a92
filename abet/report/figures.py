"""Plotly figures as plain dictionaries; the page's script draws them.

A score looks alike everywhere (`abet.report.looks`), and of several runs each has one dash style: each line can be told
apart without colour vision.
"""

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from abet.report.looks import INK, Look, run_dash
from abet.report.records import Curves, Histogram
from abet.report.runs import RunResults, score_keys

ID_COLOUR, OOD_COLOUR = "#0072B2", "#D55E00"
MARKERS_PER_LINE = 9
GRID = "#e4e7eb"

FigureSpec = dict[str, Any]


def curves_figure(
    runs: Sequence[RunResults], labels: Sequence[str], dataset: str, looks: Mapping[str, Look]
) -> FigureSpec:
    """ROC and precision-recall curves side by side, one legend entry per (run, score) that switches both.

    ``narrow`` holds the layout changes that stack them on a small screen, ``line_height`` the pixels that a legend
    entry adds to the height; a trace's ``meta`` says whose it is, and ``several`` whether its name says the run too.
    """
    traces: list[FigureSpec] = []
    several = sum(dataset in run.datasets for run in runs) > 1
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        curves: Mapping[str, Curves] = run.datasets[dataset].curves if dataset in run.datasets else {}
        for key in (key for key in looks if key in curves):
            name = f"{key} · {label}" if several else key
            style = _style(looks[key], run_dash(number) if len(runs) > 1 else looks[key].dash)
            group = {"legendgroup": f"{number} {key}", "meta": {"run": number, "score": key}}
            traces += _pair(curves[key], {**style, "name": html.escape(name), **group})
    return {
        "data": traces,
        "layout": _curves_layout(_chances(runs, labels, dataset)),
        "narrow": _STACKED,
        "line_height": 11,
        "several": several,
    }


def _chances(runs: Sequence[RunResults], labels: Sequence[str], dataset: str) -> dict[float, str]:
    """By what share of the pixels is OOD, which is chance's precision, what a line there is called.

    Runs that were evaluated on different pixels have one each, named after them.
    """
    named: dict[float, list[str]] = {}
    for run, label in zip(runs, labels, strict=True):
        if dataset in run.datasets:
            pixels = run.datasets[dataset].metrics.pixels
            named.setdefault(pixels.ood / max(pixels.ood + pixels.id, 1), []).append(label)
    if len(named) == 1:
        return dict.fromkeys(named, "chance")
    return {share: html.escape(f"chance ({', '.join(of)})") for share, of in named.items()}


def _style(look: Look, dash: str) -> FigureSpec:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "line": {"color": look.colour, "dash": dash, "width": 2},
        "marker": {**look.marker(), "size": 8, "maxdisplayed": MARKERS_PER_LINE},
    }


def _pair(curves: Curves, style: FigureSpec) -> list[FigureSpec]:
    pair: list[FigureSpec] = []
    if curves.roc and curves.roc.fpr:
        hover = "FPR %{x:.4f}<br>TPR %{y:.4f}"
        left: FigureSpec = {"xaxis": "x", "yaxis": "y", "hovertemplate": hover}
        pair.append({**style, "x": _short(curves.roc.fpr), "y": _short(curves.roc.tpr), **left})
    if curves.pr and curves.pr.recall:
        hover = "recall %{x:.4f}<br>precision %{y:.4f}"
        right: FigureSpec = {"xaxis": "x2", "yaxis": "y2", "hovertemplate": hover, "showlegend": not pair}
        # A precision holds from the recall before its own: vertical, then level
        style = {**style, "line": {**style["line"], "shape": "vh"}}
        pair.append({**style, "x": _short(curves.pr.recall), "y": _short(curves.pr.precision), **right})
    return pair


def _short(values: Sequence[float]) -> list[float]:
    """Six significant digits: below what a screen resolves, a third of the bytes."""
    return [float(f"{value:.6g}") for value in values]


def _axis(title: str, **more: Any) -> FigureSpec:
    style = {"gridcolor": GRID, "zeroline": False, "linecolor": INK, "mirror": True, "ticks": "outside"}
    return {"title": {"text": title, "standoff": 8, "font": {"size": 13}}, **style, **more}


_UNIT = {"range": [-0.01, 1.01], "tickformat": ".0%"}
_STACKED: FigureSpec = {
    "xaxis.domain": [0, 1],
    "xaxis2.domain": [0, 1],
    "yaxis.domain": [0.6, 1],
    "yaxis2.domain": [0.06, 0.46],
}


# A good detector's ROC curve hugs the left edge: a logarithmic axis opens it up
_SCALE_BUTTONS: FigureSpec = {
    "type": "buttons",
    "direction": "right",
    "showactive": True,
    "x": 0,
    "xanchor": "left",
    "y": 1.01,
    "yanchor": "bottom",
    "pad": {"t": 0, "b": 2, "l": 0, "r": 0},
    "font": {"size": 11},
    "buttons": [
        {"label": label, "method": "relayout", "args": [{f"xaxis.{key}": value for key, value in axis.items()}]}
        for label, axis in (
            ("linear", {"type": "linear", "range": [-0.01, 1.01], "tickformat": ".0%", "dtick": 0.2}),
            ("log FPR", {"type": "log", "range": [-5, 0.02], "tickformat": ".3~%", "dtick": 1}),
        )
    ],
}


def _curves_layout(chances: Mapping[float, str]) -> FigureSpec:
    guides = [_line("x", "y", y=0.95), *(_line("x2", "y2", y=share) for share in chances)]
    above: FigureSpec = {"xanchor": "center", "yanchor": "bottom"}
    notes = [
        _note("x domain", "y", x=1, y=0.95, text="95 % of OOD found", xanchor="right", yanchor="top", xshift=-4),
        # Side by side, since shares may lie close together
        *(
            _note("x2", "y2", x=(place + 0.5) / len(chances), y=share, text=text, **above)
            for place, (share, text) in enumerate(chances.items())
        ),
    ]
    return {
        **_base_layout(height=490, top=44),
        "xaxis": _axis("False positive rate (ID flagged)", domain=[0, 0.435], dtick=0.2, **_UNIT),
        "yaxis": _axis("True positive rate (OOD found)", **_UNIT),
        "xaxis2": _axis("Recall (OOD found)", domain=[0.565, 1], dtick=0.2, anchor="y2", **_UNIT),
        "yaxis2": _axis("Precision", anchor="x2", **_UNIT),
        "legend": {"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0, "itemwidth": 50, "tracegroupgap": 0},
        "shapes": guides,
        "annotations": notes,
        "updatemenus": [_SCALE_BUTTONS],
    }


def _base_layout(*, height: int, top: int = 14) -> FigureSpec:
    return {
        "height": height,
        "margin": {"l": 62, "r": 26, "t": top, "b": 54},
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hoverlabel": {"bgcolor": "#ffffff", "font": {"color": INK}, "namelength": 48},
    }


def _line(xref: str, yref: str, *, x: float | None = None, y: float | None = None) -> FigureSpec:
    """A dotted guide across the whole plot, upright at ``x`` or level at ``y``."""
    style = {"type": "line", "line": {"color": INK, "width": 1.2, "dash": "dot"}}
    if x is not None:
        return {**style, "xref": xref, "yref": f"{yref} domain", "x0": x, "x1": x, "y0": 0, "y1": 1}
    return {**style, "xref": f"{xref} domain", "yref": yref, "x0": 0, "x1": 1, "y0": y, "y1": y}


def _note(xref: str, yref: str, **place: Any) -> FigureSpec:
    return {
        "xref": xref,
        "yref": yref,
        "showarrow": False,
        "font": {"size": 11},
        "bgcolor": "rgba(255,255,255,.8)",
    } | place


def histogram_figure(histogram: Histogram, threshold: float | None) -> FigureSpec:
    """Share of the ID (solid) and of the OOD pixels (dashed) per bin of raw scores, with the 95% threshold."""
    edges = _short(histogram.edges)
    layout = {
        **_base_layout(height=250),
        "xaxis": _axis("raw score", nticks=6),
        "yaxis": _axis("share of pixels", rangemode="tozero", tickformat=".0%", nticks=5),
        "legend": {"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "orientation": "h", "itemwidth": 40},
    }
    layout["margin"] = {"l": 54, "r": 10, "t": 26, "b": 44}
    if threshold is not None:
        layout["shapes"] = [_line("x", "y", x=threshold)]
        place = {"x": threshold, "y": 1, "xanchor": "left", "yanchor": "top", "xshift": 2}
        layout["annotations"] = [_note("x", "y domain", text="95 %", **place)]
    return {
        "data": [
            _steps("ID", edges, histogram.id, ID_COLOUR, "solid"),
            _steps("OOD", edges, histogram.ood, OOD_COLOUR, "dash"),
        ],
        "layout": layout,
    }


def _steps(name: str, edges: list[float], shares: Sequence[float], colour: str, dash: str) -> FigureSpec:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": edges,
        "y": [*_short(shares), 0.0],
        "line": {"shape": "hv", "color": colour, "dash": dash, "width": 1.8},
        "fill": "tozeroy",
        "fillcolor": f"rgba({red},{green},{blue},0.15)",
        "hovertemplate": "%{x:.4g}: %{y:.2%}",
    }


def histograms(runs: Sequence[RunResults], labels: Sequence[str], dataset: str) -> list[tuple[str, str, FigureSpec]]:
    """(run label, score, figure) for every histogram of a data set: the runs of one score stand together."""
    found = []
    for key, (run, label) in itertools.product(score_keys(runs), zip(runs, labels, strict=True)):
        curves = run.datasets[dataset].curves.get(key) if dataset in run.datasets else None
        if curves and curves.histogram and curves.histogram.edges:
            found.append((label, key, histogram_figure(curves.histogram, curves.threshold)))
    return found
