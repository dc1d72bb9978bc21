"""Tab-separated text: CSV with a delimiter that is known beforehand."""

from __future__ import annotations

from pathlib import Path

from app.models.formats import Format
from app.models.manifests.file_options import FileOptions
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.csv.reader import CsvSource, open_delimited
from app.settings import Limits


def open_source(path: Path, fmt: Format, options: FileOptions, limits: Limits, file: str, _watch: Watch) -> CsvSource:
    """See OpenSource. Raises RunRefused as `open_delimited` does."""
    return open_delimited(path, fmt, options, limits, file, delimiter="\t")
