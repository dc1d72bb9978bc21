"""Versions that are deleted, on every ledger: what is refused, what stays, and what a join meets at that moment."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.errors import VersionDeleted, VersionHasChildren, VersionIsNewest
from app.ledger import AssetFilter, AssetTotal, Guard, Ledger
from app.models.asset import Asset, Deletion, ParentInput
from app.models.page import Page
from app.models.runs.run import RunStatus
from tests.contract.ledgers import MINUTE, T0, an_asset, put_asset, put_running

pytestmark = pytest.mark.anyio

DELETION = Deletion(at=T0 + MINUTE, by="ada", reason="request")


def parent(asset: Asset) -> ParentInput:
    return ParentInput(dataset_id=asset.dataset_id, version=asset.version, role="spatial")


async def listed(ledger: Ledger, **where: Any) -> list[tuple[str, int]]:
    found = await ledger.list_assets(AssetFilter(**where), Page())
    return sorted((asset.dataset_id, asset.version) for asset in found.items)


async def test_a_deleted_version_stays_as_a_record(ledger: Ledger) -> None:
    first, second = await put_asset(ledger, "a", size=2), await put_asset(ledger, "a", size=3)
    gone = await ledger.delete_version("a", 1, DELETION, ip="::1")
    assert gone == first.model_copy(update={"deletion": DELETION})
    assert await ledger.get_asset("a", 1) == gone
    assert await ledger.get_asset_by_key(first.s3_key) == gone
    assert await ledger.get_asset("a") == second
    assert await listed(ledger) == [("a", 2)] == await listed(ledger, dataset_id="a", latest_only=True)
    assert await listed(ledger, deleted=True) == [("a", 1), ("a", 2)]
    assert (await ledger.totals()).assets == (AssetTotal("spatial", 1, 3),)
    (entry,) = (await ledger.list_activity(Page())).items
    assert (entry.timestamp, entry.user, entry.action, entry.ip) == (T0 + MINUTE, "ada", "asset.deleted", "::1")
    assert (entry.resource_type, entry.resource_id) == ("asset", "a/v1")
    assert (entry.details["reason"], entry.details["keys"]) == ("request", [first.s3_key])


async def test_it_is_deleted_once(ledger: Ledger) -> None:
    await put_asset(ledger, "a")
    await put_asset(ledger, "a")
    gone = await ledger.delete_version("a", 1, DELETION)
    again = Deletion(at=T0, by="bob", reason="rule")
    assert await ledger.delete_version("a", 1, again, keep_newest=False) == gone
    assert len((await ledger.list_activity(Page())).items) == 1
    for version in (0, -1, 3, 2**63, 10**40):
        assert await ledger.delete_version("a", version, DELETION) is None
    assert await ledger.delete_version("b", 1, DELETION) is None


async def test_the_newest_stays_unless_told_otherwise(ledger: Ledger) -> None:
    for _ in range(3):
        await put_asset(ledger, "a")
    with pytest.raises(VersionIsNewest, match="3"):
        await ledger.delete_version("a", 3, DELETION)
    assert await listed(ledger) == [("a", 1), ("a", 2), ("a", 3)]
    assert await ledger.delete_version("a", 3, DELETION, keep_newest=False) is not None
    # Now the second is.
    with pytest.raises(VersionIsNewest, match="2"):
        await ledger.delete_version("a", 2, DELETION)
    newest = await ledger.get_asset("a")
    assert newest is not None
    assert newest.version == 2
    assert await listed(ledger, latest_only=True) == [("a", 2)]
    assert await listed(ledger, latest_only=True, deleted=True) == [("a", 3)]
    for version in (1, 2):
        assert await ledger.delete_version("a", version, DELETION, keep_newest=False) is not None
    assert await ledger.get_asset("a") is None
    assert await listed(ledger) == []


async def test_a_number_is_never_given_again(ledger: Ledger) -> None:
    await put_asset(ledger, "a")
    second = await put_asset(ledger, "a")
    await ledger.delete_version("a", 2, DELETION, keep_newest=False)
    assert (await put_asset(ledger, "a")).version == 3
    run = await ledger.get_run(second.run_id)
    assert run is not None
    committed = await ledger.commit_asset(second, 1)
    assert committed is not None
    assert committed.deletion is not None, "what was committed and deleted is not registered anew"


async def test_what_others_were_made_from_stays(ledger: Ledger) -> None:
    first, _ = await put_asset(ledger, "a"), await put_asset(ledger, "a")
    children = [await put_asset(ledger, name, parent(first), parent(first)) for name in ("c", "b")]
    with pytest.raises(VersionHasChildren, match="b v1, c v1"):
        await ledger.delete_version("a", 1, DELETION)
    assert await ledger.get_asset("a", 1) == first
    assert (await ledger.list_activity(Page())).items == ()
    for child in children:
        await ledger.delete_version(child.dataset_id, 1, DELETION, keep_newest=False)
    gone = await ledger.delete_version("a", 1, DELETION)
    assert gone is not None
    # Lineage is read both ways all the same.
    assert {asset.dataset_id for asset in await ledger.list_children((("a", 1),))} == {"b", "c"}


async def test_nothing_is_made_from_what_was_deleted(ledger: Ledger) -> None:
    first, _ = await put_asset(ledger, "a"), await put_asset(ledger, "a")
    await ledger.delete_version("a", 1, DELETION)
    for gone in (parent(first), ParentInput(dataset_id="nowhere", version=1, role="spatial")):
        run = await put_running(ledger, partition_key="joined")
        asset = an_asset(run, inputs=(gone,))
        with pytest.raises(VersionDeleted, match=f"{gone.dataset_id} v1"):
            await ledger.commit_asset(asset, 1)
        assert await ledger.get_asset("joined") is None
        # Nothing of the commit is left in the way of the run's end.
        over = await ledger.change_run(
            run.run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.FAILURE, completed_at=T0
        )
        assert over is not None
        assert await ledger.commit_asset(asset, 1) is None


async def test_objects_are_to_be_removed_until_they_are(ledger: Ledger) -> None:
    for number in range(4):
        await put_asset(ledger, "a", created_at=T0 + timedelta(seconds=number))
    for version in (3, 1, 2):
        await ledger.delete_version("a", version, DELETION)
    assert [asset.version for asset in await ledger.list_deleted(2)] == [1, 2]
    removed = await ledger.version_removed("a", 1, T0 + 2 * MINUTE)
    assert removed is not None
    assert removed.deletion == DELETION.model_copy(update={"removed_at": T0 + 2 * MINUTE})
    assert await ledger.get_asset("a", 1) == removed
    assert await ledger.version_removed("a", 1, T0) is None
    assert await ledger.version_removed("a", 4, T0) is None, "it was not deleted"
    assert [asset.version for asset in await ledger.list_deleted(10)] == [2, 3]


async def test_a_commit_and_the_deletion_of_its_parent_at_once(ledger: Ledger) -> None:
    """Exactly one of the two succeeds, whichever comes first."""
    ended = set()
    for round_ in range(8):
        name = f"a{round_}"
        first, _ = await put_asset(ledger, name), await put_asset(ledger, name)
        run = await put_running(ledger, partition_key=f"joined{round_}")
        # One time the one, one time the other is a little ahead.
        acts = [
            ledger.commit_asset(an_asset(run, inputs=(parent(first),)), 1),
            ledger.delete_version(name, 1, DELETION),
        ]
        made = await asyncio.gather(*(acts if round_ % 2 else acts[::-1]), return_exceptions=True)
        committed, deleted = made if round_ % 2 else made[::-1]
        there = await ledger.get_asset(name, 1)
        assert there is not None
        if isinstance(committed, Asset):
            assert isinstance(deleted, VersionHasChildren)
            assert there.deletion is None
            assert await ledger.get_asset(f"joined{round_}") == committed
        else:
            assert isinstance(committed, VersionDeleted)
            assert isinstance(deleted, Asset)
            assert there.deletion == DELETION
            assert await ledger.get_asset(f"joined{round_}") is None
        ended.add(type(committed).__name__)
    assert ended, "each of the rounds had an end"
