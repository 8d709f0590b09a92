"""What is known of a data set before looking at a disk, for people and for machines.

abet data info road_anomaly_21
"""

from typing import Any

from abet.data.layout import DatasetSpec, Definition, Layout


def facts(spec: DatasetSpec) -> dict[str, Any]:
    """All that is known as plain values, for JSON: images by split, definitions, where it comes from, its trees."""
    return {
        "title": spec.title,
        "kind": spec.kind,
        "splits": dict(spec.published_images),
        "default_split": spec.default_split,
        "refused_splits": dict(spec.refused_splits),
        "definitions": [_definition(row) for row in spec.definitions],
        "citation": spec.citation,
        "page": spec.page,
        "downloads": list(spec.downloads),
        "licence": spec.licence,
        "trees": [_tree(layout) for layout in spec.layouts],
        "submission": None if spec.submission is None else spec.submission.folder,
    }


def _definition(row: Definition) -> dict[str, str]:
    return {"name": row.name, "id": row.id, "ood": row.ood, "void": row.void, "source": row.source}


def _tree(layout: Layout) -> dict[str, Any]:
    return {"name": layout.name, "origin": layout.origin, "files": list(layout.tree)}


def split_lines(spec: DatasetSpec) -> list[str]:
    """One line per split: its name and how many images are published; the default is marked."""
    return [
        f"{split} {count}" + (" (default)" if split == spec.default_split and len(spec.splits) > 1 else "")
        for split, count in spec.published_images.items()
    ]


def describe_set(name: str, spec: DatasetSpec) -> str:
    """The same as plain text."""
    lines = [f"{name}: {spec.title}", spec.citation, f"page: {spec.page}"]
    lines += [f"download: {text}" for text in spec.downloads]
    lines += [f"licence: {spec.licence}", f"images: {', '.join(split_lines(spec))}"]
    lines += [f"split {split} cannot be used: {reason}" for split, reason in spec.refused_splits.items()]
    if spec.definitions:
        lines.append("what its pixels are (--ood-definition; the first is the default):")
    for row in spec.definitions:
        lines += [f"  {row.name} (by {row.source})"]
        lines += [f"    {word}: {text}" for word, text in (("ID", row.id), ("OOD", row.ood), ("void", row.void))]
    lines.append("expected below its root:")
    for layout in spec.layouts:
        lines += [f"  {layout.origin}:", *(f"    {line}" for line in layout.tree)]
    return "\n".join(lines)
