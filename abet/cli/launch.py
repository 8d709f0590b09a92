"""abet launch"""

from typing import Annotated

import typer

from abet.cli.options import say
from abet.cli.panels import TRAIN
from abet.exits import INTERRUPTED, STOPPED, leave_verdict


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    # Everything behind the command's name is the command's own, with or without `--`
    app.command(
        rich_help_panel=TRAIN,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )(launch)


def launch(
    command: Annotated[
        list[str], typer.Argument(help="An abet command and its options, for example: train RECIPE ...")
    ],
    processes: Annotated[int, typer.Option(min=1, help="Processes on this machine: one per GPU.")],
    nodes: Annotated[int, typer.Option(min=1, help="Machines; each runs this command.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="This machine's number, from 0.")] = 0,
    rendezvous: Annotated[
        str | None, typer.Option(help="HOST:PORT on machine 0 where several machines meet.", metavar="HOST:PORT")
    ] = None,
    run_id: Annotated[str, typer.Option(help="Name of the job at the rendezvous, the same on each machine.")] = "abet",
) -> None:
    """Run an abet command in several processes that train together, and end with one exit code for all of them."""
    from abet.launch import Launch
    from abet.launch import launch as run

    job = Launch(
        command=command, processes=processes, nodes=nodes, node_rank=node_rank, rendezvous=rendezvous, run_id=run_id
    )
    code, reason = run(job)
    # Without a reason a rank has said it already (a wrong option); of an interruption `abet.cli.main` speaks
    if reason and code != INTERRUPTED:
        say(f"abet: {reason}" if code == STOPPED else f"abet: error: {reason}")
    leave_verdict(code, reason)
    raise typer.Exit(code)
