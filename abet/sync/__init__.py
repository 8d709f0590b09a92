"""Bring a place up to date with another one: folders and S3 in any combination. No torch import.

    report = sync(open_storage(Path("data")), open_storage(parse_place("s3://models/data")))

A file is copied when it is not known to be there already, by size and SHA-256; nothing is deleted unless asked.
"""

from abet.sync.run import SourceChanged, SyncReport, sync

__all__ = ["SourceChanged", "SyncReport", "sync"]
