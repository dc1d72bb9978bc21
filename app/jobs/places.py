"""What the settings say of the places that a job must reach: directories, and variables of its clients."""

from __future__ import annotations

from pathlib import Path

from app.jobs.ledger_files import hold_ledger_files
from app.settings import Settings


def writable_places(settings: Settings) -> list[Path]:
    """Return what a job writes: scratch, the buckets, and the files of a SQLite ledger. Missing directories are made.

    Call it in the process of the job. The rest of the data directory is not among them: that has the private Redis.
    """
    folders = [settings.scratch_dir]
    if settings.objects.backend == "local":
        folders.append(settings.objects_dir)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    linked = [path.resolve() for folder in folders for path in (folder, *_links(folder))]
    return [*linked, *hold_ledger_files(settings.ledger_url)]


def needed_variables(settings: Settings) -> list[str]:
    """Beginnings of the names of variables that clients of ours may take their credentials from."""
    found = []
    if settings.objects.backend == "s3" and settings.objects.access_key is None:
        found.append("AWS_")
    if any(url.startswith("postgres") for url in (settings.ledger_url, _postgis(settings))):
        found.append("PG")
    return found


def _links(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_symlink()] if folder.is_dir() else []


def _postgis(settings: Settings) -> str:
    if settings.engine.name != "postgis" or settings.engine.postgis_url is None:
        return ""
    return settings.engine.postgis_url.get_secret_value()
