"""What stands between this machine and a job that runs: one check per value of the site file, each with its remedy.

    abet doctor

Runs in the light install too, and then says what that cannot do. Nothing that is checked is changed: what is written
to see whether it can be is removed again. No value of a credential is read, let alone shown.
"""

from collections.abc import Iterator

from abet.doctor.check import Check
from abet.doctor.folders import check_folders
from abet.doctor.image import examine_image
from abet.doctor.machine import check_gpus, check_install, check_scheduler, check_shared_memory
from abet.doctor.objects import check_s3
from abet.doctor.sets import check_data_sets
from abet.errors import AbetError
from abet.site import FILE_NAME, SiteConfig, find_site_file, load_site

__all__ = ["Check", "examine", "examine_image"]


def examine() -> Iterator[Check]:
    """Every check, as soon as it is done; a site file that cannot be read ends them early."""
    yield from check_install()
    site = None
    try:
        path, site = find_site_file(), load_site()
    except AbetError as error:
        yield Check.problem("site file", str(error), "correct it, or write it anew: abet init --force")
    else:
        if path is None:
            yield Check.unset("site file", f"no {FILE_NAME} here or above; the defaults hold", "abet init")
        else:
            yield Check.ok("site file", str(path.absolute()))
    if site is not None:
        yield from _check_site(site)
    yield from check_scheduler(site)
    yield from check_gpus()
    yield from check_shared_memory()


def _check_site(site: SiteConfig) -> Iterator[Check]:
    yield from check_data_sets(site)
    yield from check_folders(site)
    yield from check_s3(site)
