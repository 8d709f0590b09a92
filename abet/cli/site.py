"""abet init | doctor"""

import os
from pathlib import Path
from typing import Annotated

import typer

from abet.cli.options import require_output, say
from abet.cli.panels import BEGIN
from abet.errors import UsageError

UNSET = "-"


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command(rich_help_panel=BEGIN)(init)
    app.command(rich_help_panel=BEGIN)(doctor)


def init(
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE answers one question (KEY= leaves it unset); repeat.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: the defaults, and what --set gives.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a site file; what stands in it is offered as the default.")
    ] = False,
) -> None:
    """Ask for this site's folders, buckets and scheduler, and write them to abet.site.yaml. Asks for no password."""
    from abet.site import FILE_NAME
    from abet.site_file import fault_of, parse_changes, questions, read_answers, write_site

    path = Path(os.environ.get("ABET_SITE") or FILE_NAME)
    if path.exists() and not force:
        raise UsageError(f"{path} exists already: edit it, or replace it with --force (its values become the defaults)")
    require_output(path, kind="file")
    answers = {question.key: question.default for question in questions()}
    if path.exists():
        answers |= read_answers(path)
    given = parse_changes(changes or [])
    faults = [fault for key, value in given.items() if (fault := fault_of(key, value))]
    if faults:
        raise UsageError("; ".join(faults))
    answers |= given
    if not yes:
        answers |= _ask(answers, set(given), path)
    write_site(path, answers)
    say(f"wrote {path}", "next: abet doctor")


def _ask(answers: dict[str, str | None], answered: set[str], path: Path) -> dict[str, str | None]:
    """An answer to every question but those of ``answered``; a wrong one is explained and asked for again."""
    from abet.site_file import fault_of, questions, remark_on

    say(f"Values for {path}. Enter takes what stands in [brackets]; {UNSET} leaves a value unset.")
    found: dict[str, str | None] = {}
    for question in questions():
        if question.key in answered:
            continue
        say("", f"{question.key}: {question.meaning}")
        while True:
            value = _prompt(question.key, answers[question.key])
            fault = fault_of(question.key, value)
            if fault is None:
                break
            say(f"  no: {fault}")
        if remark := remark_on(question.key, value, path.absolute().parent):
            say(f"  note: {remark}")
        found[question.key] = value
    say("", "Credentials are never kept here: boto3 finds them in the environment, ~/.aws, or the machine's role.")
    return found


def _prompt(key: str, default: str | None) -> str | None:
    try:
        text: str = typer.prompt(
            f"  {key} [{default or 'unset'}]", default=default or UNSET, show_default=False, err=True
        )
    except typer.Abort:
        raise UsageError(
            "no answer, and nothing was written; without a terminal: abet init --yes --set KEY=VALUE ..."
        ) from None
    return None if text.strip() == UNSET else text.strip()


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object on stdout.")] = False,
    image: Annotated[
        bool, typer.Option("--image", help="Inside a container: check the image, and not a site.")
    ] = False,
) -> None:
    """Check this machine and every value of the site file, and print what to do about each problem. Exits 3 for any."""
    import json

    from abet.doctor import examine, examine_image

    checks = []
    for check in examine_image() if image else examine():
        checks.append(check)
        if not as_json:
            typer.echo(str(check))
    problems = sum(check.state == "problem" for check in checks)
    if as_json:
        typer.echo(json.dumps({"schema": 1, "problems": problems, "checks": [check.to_json() for check in checks]}))
    else:
        say("1 problem" if problems == 1 else f"{problems or 'no'} problems")
    if problems:
        raise typer.Exit(3)
