"""Opens a table of any format through the module that the table of formats names for it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from app.jobs.shared_state import record_current_file
from app.messages.tabular import FORMAT_NOT_TABULAR
from app.models.formats import FORMATS, find_format, format_names
from app.models.manifests.file_options import FileOptions
from app.pipelines.contract.context import FetchedFile
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.decompress import decompress
from app.pipelines.tabular.source import OpenedTable, OpenSource
from app.settings import Limits

# Imported here rather than at the first use: a worker imports this module once, before it forks its jobs.
_READERS: Mapping[str, OpenSource] = {
    fmt.name: importlib.import_module(fmt.reader).open_source for fmt in FORMATS if fmt.type == "tabular"
}


def open_table(fetched: FetchedFile, limits: Limits, watch: Watch) -> OpenedTable:
    """Open and check the file that the manifest declares.

    Args:
        fetched: the file in scratch. Formats that may be zipped are decompressed beside it.
        watch: gets progress from readers that must read the whole file to know its columns.

    Raises:
        RunRefused: format_not_tabular, and what `decompress` and the format's `open_source` raise.
    """
    declared, file = fetched.declared, fetched.declared.key
    record_current_file(file)
    fmt = find_format(declared.format)
    if fmt is None or fmt.type != "tabular":
        raise FORMAT_NOT_TABULAR(file=file, format=declared.format, formats=", ".join(format_names("tabular")))
    options = declared.options or FileOptions.model_validate({})
    path = decompress(fetched.path, fmt, limits, file, declared.member) if fmt.zipped else fetched.path
    return _READERS[fmt.name](path, fmt, options, limits, file, watch)
