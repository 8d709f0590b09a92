"""All jobs of `jobs.catalogue` from the pre-training to the report, each waiting for what it needs."""

from dataclasses import replace

from abet.errors import UsageError
from abet.names import PAPER_NAMES
from abet.site import SiteConfig
from jobs import catalogue
from jobs.catalogue import Request
from jobs.spec import JobSpec


def pipeline(pretrain: str, finetune: str, request: Request, site: SiteConfig) -> list[JobSpec]:
    """Pre-training, fine-tuning, evaluation of the paper's OOD sets and the report; each waits for what it needs.

    ``request.snapshot`` starts the pre-training; ``request.run`` names the folder below the artifacts that holds both
    runs. ``request.shards`` of each evaluation. Nodes, processes, CPUs, memory and time limit are for the trainings.
    """
    base = catalogue.run_named(request.run or "pipeline", site)
    shared = replace(request, name=None, output=None, checkpoint=None, options=())
    evaluate_gpus = 0 if shared.gpus == 0 or catalogue.trains_on_cpus(finetune) else 1
    first = catalogue.training(pretrain, replace(shared, output=base / "pretrain"), site)
    second = catalogue.training(finetune, replace(shared, output=base / "finetune", snapshot=base / "pretrain"), site)
    if first.name == second.name:
        raise UsageError(f"both recipes of the pipeline are called {first.name}: name two different ones")
    second = second.model_copy(update={"after": (first.name,)})
    jobs, merges = [first, second], list[str]()
    for dataset in PAPER_NAMES:
        shards = request.shards or catalogue.SHARDS
        wanted = Request(
            checkpoint=base / "finetune",
            gpus=evaluate_gpus,
            shards=shards,
            components=request.components,
            retries=request.retries,
            grace_seconds=request.grace_seconds,
            secrets=request.secrets,
        )
        every = range(1, shards + 1)
        made = catalogue.evaluation(dataset, wanted, site, run=base / "finetune", missing=every, lacking=every)
        jobs += [made[0].model_copy(update={"after": (second.name,)}), *made[1:]]
        merges.append(made[-1].name)
    page = catalogue.report([base / "finetune"], shared, site)
    return [*jobs, page.model_copy(update={"after": tuple(merges)})]
