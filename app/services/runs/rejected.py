"""Products that failed their checks: kept in the lake for a while, and part of no dataset."""

from __future__ import annotations

from app.clients import Clients
from app.errors import NotFound
from app.models.manifests.manifest import LAKE_BUCKET, REJECTED_PREFIX
from app.services.runs.read import get_run


async def rejected_product(run_id: str, clients: Clients) -> str:
    """The key of the newest product of the run that failed its checks. Raises NotFound."""
    run = await get_run(clients.ledger, run_id)
    listing = await clients.objects.list_objects(LAKE_BUCKET, f"{REJECTED_PREFIX}{run.run_id}/")
    if not listing.objects:
        raise NotFound(
            f"Run {run.run_id} has no product that failed its checks.",
            "Such a product is kept for SPATIAL_ETL_RETENTION__REJECTED_PRODUCTS_DAYS days. Run the batch again to see "
            "it once more.",
        )
    return max(listing.objects, key=lambda info: info.modified_at).key
