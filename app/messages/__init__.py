"""THE catalogue of what a document is wrong in, a run is refused for and warned of: code, when, text and fix, once.

A rule of manifests returns `FILES_MIXED(pointer, types=...)`, a pipeline raises `FILE_EMPTY(file=...)` and warns with
`ctx.watch.warn(NULL_GEOMETRIES(count=3))`. The tables of docs/formats.md and of the OpenAPI document are made from
here. How the texts are written: docs/messages.md.
"""
