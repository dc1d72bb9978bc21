"""A version that a check compared another with is an input of its run, and no column was made of it."""

from __future__ import annotations

from app.models.asset import AssetMetadata, ColumnSchema, ParentInput
from app.services.lineage.columns import column_origins
from app.services.lineage.graph import Provenance
from tests.contract.ledgers import a_run, an_asset


def test_no_column_comes_from_a_version_that_was_only_compared() -> None:
    columns = {"id": ColumnSchema(title="id", type_name="string")}
    columns["geom"] = ColumnSchema(title="geom", type_name="binary", logical_type="geometry")
    described = AssetMetadata(manifest={}, column_schema=columns)
    districts = an_asset(a_run("a", partition_key="districts"), 1, metadata=described)
    for role, origins in (("spatial", {"id", "geom"}), ("within", set())):
        parent = ParentInput(dataset_id="districts", version=1, role=role)
        asset = an_asset(a_run("b", partition_key="parcels"), 1, metadata=described, inputs=(parent,))
        assert column_origins(Provenance(asset, None, None), {("districts", 1): districts}).keys() == origins
