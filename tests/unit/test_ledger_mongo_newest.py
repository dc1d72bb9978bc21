"""Which version is the newest in MongoDB, wherever a commit or a deletion dies or sleeps between two of its writes."""

from __future__ import annotations

import asyncio
from itertools import count, product
from typing import Any

import pytest

from app.ledger import AssetFilter
from app.models.asset import Asset, Deletion
from app.models.page import Page
from app.storage.mongo.database import Collection
from app.storage.mongo.ledger import MongoLedger
from tests.contract.ledgers import T0, an_asset, put_asset, put_running
from tests.contract.test_ledger_newest import listed, marked
from tests.unit.test_ledger_mongo_crash_points import Fate, broken_off, ledger, other_process, url

__all__ = ["ledger", "url"]

pytestmark = pytest.mark.anyio

DELETION = Deletion(at=T0, by="ada", reason="request")


async def versions(ledger: MongoLedger, name: str, number: int) -> None:
    for _ in range(number):
        await put_asset(ledger, name)


async def next_version(ledger: MongoLedger, name: str) -> Asset:
    """Ready to be committed."""
    run = await put_running(ledger, partition_key=name)
    version = await ledger.reserve_version(run.run_id, 1)
    assert version is not None
    return an_asset(run, version)


def delete(ledger: MongoLedger, name: str, version: int) -> Any:
    return ledger.delete_version(name, version, DELETION, keep_newest=False)


async def newest(ledger: MongoLedger, name: str) -> int | None:
    """Of the listing, which has at most one version of a dataset; and the same without the marks."""
    found = [version for _, version in await listed(ledger, dataset_id=name)]
    assert len(found) <= 1
    asset = await ledger.get_asset(name)
    assert found == ([] if asset is None else [asset.version])
    return found[0] if found else None


async def marks_of(ledger: MongoLedger, name: str) -> set[int]:
    return {version for dataset_id, version in await marked(ledger) if dataset_id == name}


async def test_a_commit_that_dies_leaves_one_newest_version(ledger: MongoLedger) -> None:
    for turn in count():
        name = f"data-{turn}"
        await versions(ledger, name, 2)
        asset = await next_version(ledger, name)
        died, _ = await broken_off(ledger, lambda other, asset=asset: other.commit_asset(asset, 1), turn)
        # At that moment, before anybody finishes it.
        assert await newest(ledger, name) == (2 if turn < 2 else 3)
        await ledger.list_due_runs(100)
        assert await newest(ledger, name) == (2 if turn < 1 else 3)
        assert await marks_of(ledger, name) == {2 if turn < 1 else 3}
        if not died:
            assert turn == 4, "the mark in the run, the version, the mark of the older one, the end of the first mark"
            return


async def test_a_deletion_that_dies_leaves_one_newest_version(ledger: MongoLedger) -> None:
    for turn in count():
        name = f"data-{turn}"
        await versions(ledger, name, 3)
        died, _ = await broken_off(ledger, lambda other, name=name: delete(other, name, 3), turn)
        assert await newest(ledger, name) == (3 if turn < 3 else 2)
        await ledger.list_due_runs(100)
        assert await newest(ledger, name) == (3 if turn < 1 else 2)
        assert await marks_of(ledger, name) == ({3} if turn < 1 else {2, 3})
        if not died:
            assert turn == 5, "its mark, the one below, the decision, the entry, that it is there"
            return


async def test_a_process_that_sleeps_in_one_while_others_do_the_other(ledger: MongoLedger) -> None:
    """A commit or a deletion sleeps before each of its writes, while another process deletes or commits."""
    for sleeping, waking, turn in product(
        ("commit", "delete 3", "delete 2"), ("commit", "delete 3", "delete 2"), range(5)
    ):
        name = f"{sleeping} {waking} {turn}"
        await versions(ledger, name, 3)
        ready = [await next_version(ledger, name) for _ in range(2)]

        def act(process: MongoLedger, what: str, asset: Asset, name: str = name) -> Any:
            return process.commit_asset(asset, 1) if what == "commit" else delete(process, name, int(what[-1]))

        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(act(other_process(ledger, fate), sleeping, ready[0]))
        asleep = asyncio.create_task(fate.asleep.wait())
        await asyncio.wait({task, asleep}, return_when=asyncio.FIRST_COMPLETED)
        await newest(ledger, name)
        assert await act(ledger, waking, ready[1]) is not None
        await newest(ledger, name)
        fate.wake.set()
        asleep.cancel()
        assert await task is not None
        await ledger.list_due_runs(100)
        living = [v for v in (1, 2, 3) if f"delete {v}" not in (sleeping, waking)]
        living += [asset.version for asset, what in zip(ready, (sleeping, waking), strict=True) if what == "commit"]
        assert await newest(ledger, name) == max(living), name
        assert max(living) in await marks_of(ledger, name)


async def test_a_listing_reads_little_more_than_it_shows(ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three datasets has many versions, and they come before the others in the order of the listing."""
    for name in ("a", "b", "c"):
        await versions(ledger, name, 12)
    read: list[int] = []
    original = Collection.many

    async def many(self: Collection, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = await original(self, *args, **kwargs)
        read.append(len(found))
        return found

    monkeypatch.setattr(Collection, "many", many)
    first = await ledger.list_assets(AssetFilter(latest_only=True), Page(2))
    assert [(asset.dataset_id, asset.version) for asset in first.items] == [("c", 12), ("b", 12)]
    assert read == [3, 3]
    read.clear()
    second = await ledger.list_assets(AssetFilter(latest_only=True), Page(2, first.next_cursor))
    assert [(asset.dataset_id, asset.version) for asset in second.items] == [("a", 12)]
    assert read == [1, 1]
