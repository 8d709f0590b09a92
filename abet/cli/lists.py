"""abet scores | show-config"""

from typing import Annotated

import typer

from abet.cli.panels import EVALUATE, TRAIN
from abet.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command(rich_help_panel=EVALUATE)(scores)
    app.command(name="show-config", rich_help_panel=TRAIN)(show_config)


def scores() -> None:
    """List the scores: key, formula, source and what each needs of the network and of `abet fit`."""
    from rich.table import Table
    from rich.text import Text

    from abet.cli.tables import console
    from abet.scores import SCORES
    from abet.text import printable

    table = Table("key", "formula", "source", "needs")
    for score in SCORES.values():
        source = f"{score.source} ({score.distribution})" if score.distribution else score.source
        needs = (*score.needs, *(("fit",) if score.fitted else ()))
        cells = (score.key, score.formula, source, ", ".join(needs))
        table.add_row(*(Text(printable(cell, limit=400)) for cell in cells))  # a plug-in's words are anyone's
    console().print(table)


def show_config(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe, or path of a .yaml file.")],
    explain: Annotated[bool, typer.Option("--explain", help="With what each key means, as comments.")] = False,
) -> None:
    """Print a recipe, validated and complete."""
    import yaml

    from abet.config import Recipe, load_recipe
    from abet.settings import explained

    if not recipe:
        raise UsageError("show-config needs the name of a recipe")
    values = load_recipe(recipe).model_dump(mode="json")
    text = explained(Recipe, values) if explain else yaml.safe_dump(values, sort_keys=False)
    typer.echo(text.rstrip())
