"""The lineage of one version, in the encoding that the client asks for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from app.deps import ClientsDep, SettingsDep
from app.http.negotiation import preferred
from app.http.problems import responses
from app.models.lineage import LineageGraph
from app.routers.assets import DatasetId, Version
from app.services.lineage import graph as lineage
from app.services.lineage.graph import Direction, Encoding

router = APIRouter(prefix="/assets", tags=["assets"])

# The first is the default. `text/plain` is Mermaid too.
_MEDIA_TYPES: dict[str, Encoding] = {
    "application/json": "graph",
    "application/vnd.openlineage+json": "openlineage",
    "application/prov+json": "prov",
    "text/vnd.mermaid": "mermaid",
    "text/plain": "mermaid",
}
_MEDIA_TYPE_OF = {encoding: media_type for media_type, encoding in reversed(_MEDIA_TYPES.items())}

_CONTENT = {
    "application/vnd.openlineage+json": {
        "schema": {"type": "array", "items": {"type": "object"}, "description": "RunEvents of OpenLineage 2-0-2."}
    },
    "application/prov+json": {"schema": {"type": "object", "description": "W3C PROV-JSON."}},
    "text/vnd.mermaid": {"schema": {"type": "string"}, "example": "flowchart TD\n"},
    "text/plain": {"schema": {"type": "string", "description": "The same Mermaid text."}},
}


@router.get(
    "/{dataset_id}/v{version}/lineage",
    summary="Read the lineage of one version",
    response_model=LineageGraph,
    responses={
        200: {
            "description": "The lineage: a graph, OpenLineage run events, PROV-JSON or a Mermaid flowchart.",
            "content": _CONTENT,
            "headers": {
                "Lineage-Truncated": {
                    "description": "`true` when there is more, beyond `depth` or SPATIAL_ETL_API__LINEAGE_NODES.",
                    "schema": {"type": "string", "enum": ["true", "false"]},
                }
            },
        },
        **responses(404, 406, 422),
    },
)
async def get_lineage(
    dataset_id: DatasetId,
    version: Version,
    clients: ClientsDep,
    settings: SettingsDep,
    direction: Direction = "both",
    depth: Annotated[int, Query(ge=1, le=64, description="Maximum distance from this version.")] = 8,
    encoding: Annotated[
        Encoding | None, Query(alias="format", description="Overrides the Accept header; for browsers.")
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """What it was made from and what was made from it."""
    if encoding is None:
        media_type = preferred(accept, tuple(_MEDIA_TYPES))
        encoding = _MEDIA_TYPES[media_type]
    else:
        media_type = _MEDIA_TYPE_OF[encoding]
    nodes = settings.api.lineage_nodes
    found = await lineage.trace(clients.ledger, dataset_id, version, direction, depth, nodes)
    text = await lineage.encode(clients.ledger, found, encoding)
    headers = {"Vary": "Accept", "Lineage-Truncated": str(found.truncated).lower(), "X-Content-Type-Options": "nosniff"}
    return Response(text, headers=headers, media_type=media_type)
