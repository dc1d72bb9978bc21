"""What every ledger finds in its catalogue, and that versions of earlier releases are found too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.ledger import AssetFilter, Ledger
from app.models.asset import Asset, AssetMetadata, Bounds
from app.models.page import Page
from tests.contract.ledgers import MINUTE, T0, put_asset

pytestmark = pytest.mark.anyio

MILLISECOND = timedelta(milliseconds=1)


async def put(ledger: Ledger, dataset_id: str, **said: Any) -> Asset:
    """said: fields of the asset, or of the manifest's metadata."""
    own = {name: said.pop(name) for name in set(said) & set(Asset.model_fields)}
    metadata = AssetMetadata(manifest={"title": dataset_id, **said}, column_schema={})
    return await put_asset(ledger, dataset_id, metadata=metadata, **own)


async def found(ledger: Ledger, **where: Any) -> list[str]:
    """`dataset_id` of what fits, in the order of the alphabet; by one item a page, which must come to the same."""
    whole = await ledger.list_assets(AssetFilter(**where), Page(1000))
    page, items = Page(1), []
    while True:
        part = await ledger.list_assets(AssetFilter(**where), page)
        items += part.items
        if part.next_cursor is None:
            break
        page = Page(1, part.next_cursor)
    assert tuple(items) == whole.items
    return sorted(asset.dataset_id for asset in items)


def box(minx: float, miny: float, maxx: float, maxy: float) -> Bounds:
    return Bounds(minx=minx, miny=miny, maxx=maxx, maxy=maxy)


class TestCatalog:
    async def test_all_keywords_must_be_there_whatever_their_case(self, ledger: Ledger) -> None:
        await put(ledger, "roads", keywords=["Roads", "Zürich", "open data"])
        await put(ledger, "rivers", keywords=["rivers", "zürich"])
        assert await found(ledger, keywords=("zürich",)) == ["rivers", "roads"]
        assert await found(ledger, keywords=("ZÜRICH", "roads")) == ["roads"]
        assert await found(ledger, keywords=("Open Data",)) == ["roads"]
        for other in ("zurich", "data", "road", "roads rivers", "%", "", "\0"):
            assert await found(ledger, keywords=(other,)) == []

    async def test_words_of_a_text_are_looked_for_in_title_description_keywords_and_id(self, ledger: Ledger) -> None:
        await put(ledger, "ch.roads_2026", title="Straßen der Schweiz", description="Łódź, Ålesund: ÉTÉ")
        await put(ledger, "rivers", title="Rivers", keywords=["Open-Data", "北京地图"])
        for text in ("strassen SCHWEIZ", "STRASSEN", "lodz alesund", "été", "ete", "roads 2026", "ch", "der"):
            assert await found(ledger, text=text) == ["ch.roads_2026"], text
        for text in ("rivers", "open data", "data open", "北京", "地图", "Rivers rivers"):
            assert await found(ledger, text=text) == ["rivers"], text
        for text in ("schweiz rivers", "road", "strassen der alpen", "上海"):
            assert await found(ledger, text=text) == [], text

    async def test_a_project_is_meant_exactly(self, ledger: Ledger) -> None:
        await put(ledger, "a", project="Alps")
        await put(ledger, "b", project="alps")
        await put(ledger, "c", project=None, title="Alps", keywords=["Alps"])
        assert await found(ledger, project="Alps") == ["a"]
        assert await found(ledger, project="Alp") == []

    @pytest.mark.parametrize(
        ("tags", "fits", "not_these"),
        [
            ({"n": 12}, ("n:12", "n:12.0", "n:1.2e1"), ("n:012", "n:12 ", "n:1", "n:twelve", "m:12", "n:", "n")),
            ({"n": 12.5}, ("n:12.5", "n:12.50"), ("n:12", "n:12,5")),
            ({"n": "12"}, ("n:12",), ("n:12.0", "n:012")),
            ({"plz": "01234"}, ("plz:01234",), ("plz:1234",)),
            ({"n": 2**62 + 1}, (f"n:{2**62 + 1}",), (f"n:{2**62}", f"n:{float(2**62 + 1)}")),
            ({"n": -0.0}, ("n:0", "n:-0"), ("n:",)),
            ({"on": True}, ("on:true",), ("on:True", "on:1", "on:false", "on:")),
            ({"on": "true"}, ("on:true",), ("on:1",)),
            ({"on": 1}, ("on:1",), ("on:true",)),
            ({"s": ""}, ("s:",), ("s: ", "s")),
            ({"s": "A b"}, ("s:A b",), ("s:a b", "s:A", "S:A b")),
            ({"eo:cloud": 3}, ("eo:cloud:3",), ("eo:cloud", "cloud:3")),
            ({"at": "12:30"}, ("at:12:30",), ("at:12", "at:12:")),
            ({"a=s:b": "c"}, ("a=s:b:c",), ("a:b=s:c",)),
            ({"a%3D": "\ud800"}, ("a%3D:\ud800",), ("a=:\ud800",)),
            ({"long": "x" * 5000}, (f"long:{'x' * 5000}",), (f"long:{'x' * 4999}", f"long:{'x' * 5001}")),
        ],
    )
    async def test_tags_have_types(
        self, ledger: Ledger, tags: Mapping[str, Any], fits: tuple[str, ...], not_these: tuple[str, ...]
    ) -> None:
        await put(ledger, "tagged", tags=tags)
        await put(ledger, "other", tags={"other": 1})
        for tag in fits:
            assert await found(ledger, tags=(tag,)) == ["tagged"], tag
        for tag in not_these:
            assert await found(ledger, tags=(tag,)) == [], tag

    async def test_all_tags_must_fit_and_every_other_filter_too(self, ledger: Ledger) -> None:
        await put(ledger, "a", tags={"x": 1, "y": "b"}, keywords=["k"], project="p", bounds=box(0, 0, 1, 1))
        await put(ledger, "b", tags={"x": 1, "y": "c"}, keywords=["k"], project="p", bounds=box(0, 0, 1, 1))
        await put(ledger, "c", tags={"x": 1, "y": "b", "testing": True}, keywords=["k"], kind="tabular")
        assert await found(ledger, tags=("x:1",)) == ["a", "b", "c"]
        assert await found(ledger, tags=("x:1", "y:b")) == ["a", "c"]
        assert await found(ledger, tags=("x:1", "x:1")) == ["a", "b", "c"]
        every = {"keywords": ("k",), "text": "a", "project": "p", "bbox": box(1, 1, 2, 2), "since": T0}
        assert await found(ledger, tags=("x:1", "y:b"), kind="spatial", testing=False, latest_only=True, **every) == [
            "a"
        ]
        for name, value in (("keywords", ("l",)), ("text", "a b"), ("project", "q"), ("bbox", box(2, 2, 3, 3))):
            assert await found(ledger, **{**every, name: value}) == [], name
        assert await found(ledger, **{**every, "since": T0 + MILLISECOND}) == []

    async def test_a_filter_as_long_as_the_api_takes(self, ledger: Ledger) -> None:
        """A hundred conditions: a database that planned them as joins would take minutes."""
        letters = [chr(ord("a") + number) for number in range(26)] + [chr(0x4E00 + number) for number in range(74)]
        keywords = tuple(f"k{number}" for number in range(10))
        tags = {f"{letter}:" * 400: 3 for letter in letters[:10]}
        said = {"description": " ".join(letters), "keywords": list(keywords), "project": "p"}
        await put(ledger, "all", tags=tags, **said)
        await put(ledger, "one-less", tags=tags, **said | {"description": " ".join(letters[:-1])})
        await put(ledger, "another", tags={**tags, next(iter(tags)): 4}, **said)
        wanted = {"keywords": keywords, "tags": tuple(f"{name}:3" for name in tags), "text": " ".join(letters)}
        assert await found(ledger, project="p", latest_only=True, **wanted) == ["all"]

    async def test_test_runs_can_be_told_apart(self, ledger: Ledger) -> None:
        await put(ledger, "test", tags={"testing": True})
        await put(ledger, "text", tags={"testing": "true"})
        await put(ledger, "none")
        assert await found(ledger, testing=True) == ["test"]
        assert await found(ledger, testing=False) == ["none", "text"]

    async def test_since_is_a_moment_and_includes_it(self, ledger: Ledger) -> None:
        for name, at in (("old", T0 - MILLISECOND), ("now", T0), ("new", T0 + MINUTE)):
            await put(ledger, name, created_at=at, keywords=["k"])
        for more in ({}, {"keywords": ("k",)}, {"kind": "spatial"}, {"latest_only": True}):
            assert await found(ledger, since=T0, **more) == ["new", "now"], more

    async def test_boxes_that_touch_intersect(self, ledger: Ledger) -> None:
        await put(ledger, "here", bounds=box(10, 20, 11, 21), crs="EPSG:4326")
        await put(ledger, "point", bounds=box(5, 5, 5, 5))
        await put(ledger, "world", bounds=box(-180, -90, 180, 90), crs="OGC:CRS84")
        for west, south, east, north in ((10.2, 20.2, 10.3, 20.3), (11, 21, 12, 22), (0, 20.5, 90, 20.5)):
            assert await found(ledger, bbox=box(west, south, east, north)) == ["here", "world"]
        assert await found(ledger, bbox=box(5, 5, 5, 5)) == ["point", "world"]
        for west, south, east, north in ((11.001, 20, 12, 21), (10, 21.001, 11, 22), (-11, -21, -10, -20)):
            assert await found(ledger, bbox=box(west, south, east, north)) == ["world"]
        assert await found(ledger, bbox=box(-180, -90, 180, 90)) == ["here", "point", "world"]

    async def test_a_box_without_place_in_degrees_is_nowhere(self, ledger: Ledger) -> None:
        utm = box(500_000, 5_500_000, 600_000, 5_600_000)
        place = {"bounds_4326": {"minx": 9.0, "miny": 49.0, "maxx": 10.0, "maxy": 50.0}}
        await put(ledger, "table", kind="tabular", format="parquet")
        await put(ledger, "projected", bounds=utm, crs="EPSG:25832")
        await put(ledger, "raster", kind="raster", format="cog", bounds=utm, crs="EPSG:25832", statistics=place)
        await put(ledger, "unknown", kind="raster", format="cog", bounds=utm, statistics={"bounds_4326": None})
        assert await found(ledger, bbox=box(-180, -90, 180, 90)) == ["raster"]
        assert await found(ledger, bbox=box(9.5, 49.5, 9.6, 49.6)) == ["raster"]
        assert await found(ledger, bbox=box(10.5, 49.5, 11, 50)) == []

    async def test_boxes_across_the_antimeridian(self, ledger: Ledger) -> None:
        """Every pair of boxes compared with the quarters of a degree that they share."""
        sides = [(-180, 180), (-165, 150), (170, -170), (90, -90), (150, 165), (-30, 30), (-180, -150), (165, 180)]
        sides += [(-165, -165), (15, 0)]

        def quarters(west: float, east: float) -> set[int]:
            end = east if west <= east else east + 360
            return {step % 1440 for step in range(int((west + 180) * 4), int((end + 180) * 4) + 1)}

        for number, (west, east) in enumerate(sides):
            place = {"bounds_4326": {"minx": west, "miny": 0, "maxx": east, "maxy": 1}}
            await put(ledger, f"{number}", kind="raster", format="cog", statistics=place)
        for west, east in sides:
            # Half a degree inside, so that no two only meet at the meridian itself.
            inner = (west + 0.5, east - 0.5) if west != east else (west, east)
            shared = [str(n) for n, each in enumerate(sides) if quarters(*each) & quarters(*inner)]
            assert await found(ledger, bbox=box(inner[0], 0.2, inner[1], 0.4)) == shared, inner
            assert await found(ledger, bbox=box(inner[0], 2, inner[1], 3)) == []

    async def test_longitudes_beyond_180_degrees_are_the_same_places(self, ledger: Ledger) -> None:
        await put(ledger, "east", bounds=box(170, 0, 190, 1))
        await put(ledger, "far", bounds=box(185, 0, 190, 1))
        await put(ledger, "round", bounds=box(0, 0, 360, 1))
        assert await found(ledger, bbox=box(-180, 0, -171, 1)) == ["east", "far", "round"]
        assert await found(ledger, bbox=box(175, 0, 176, 1)) == ["east", "round"]
        assert await found(ledger, bbox=box(-160, 0, 160, 1)) == ["round"]

    async def test_of_the_newest_versions_only(self, ledger: Ledger) -> None:
        first = await put(ledger, "a", keywords=["old"])
        newest = await put(ledger, "a", keywords=["new"])
        assert await found(ledger, keywords=("old",)) == ["a"]
        assert await found(ledger, keywords=("old",), latest_only=True) == []
        assert (await ledger.list_assets(AssetFilter(keywords=("new",), latest_only=True), Page())).items == (newest,)
        assert await ledger.get_asset("a", 1) == first

    async def test_pages_stay_right_where_times_are_equal(self, ledger: Ledger) -> None:
        names = sorted(f"d{number}" for number in range(7))
        for number, name in enumerate(names):
            said = {"keywords": ["k"], "tags": {"n": number % 2 or "1"}, "bounds": box(0, 0, 1, 1)}
            await put(ledger, name, created_at=T0 + MINUTE * (number // 3), **said)
        for where in ({"keywords": ("k",)}, {"tags": ("n:1",)}, {"bbox": box(0, 0, 1, 1)}, {"text": "k"}):
            assert await found(ledger, **where) == names, where
            assert await found(ledger, latest_only=True, **where) == names, where

    async def test_a_cursor_is_good_for_its_own_filter_only(self, ledger: Ledger) -> None:
        for name in ("a", "b", "c"):
            await put(ledger, name, keywords=["k", "l"], tags={"n": 1})
        filters = [
            AssetFilter(),
            AssetFilter(latest_only=True),
            AssetFilter(keywords=("k",)),
            AssetFilter(keywords=("l",)),
            AssetFilter(keywords=("k", "l")),
            AssetFilter(tags=("n:1",)),
            AssetFilter(testing=False),
            AssetFilter(text="k"),
            AssetFilter(since=T0),
            AssetFilter(kind="spatial"),
            AssetFilter(bbox=box(0, 0, 1, 1)),
        ]
        for one, other in product(filters, filters):
            cursor = (await ledger.list_assets(one, Page(1))).next_cursor
            if cursor is None or one == other:
                continue
            with pytest.raises(InvalidRequest, match="cursor"):
                await ledger.list_assets(other, Page(1, cursor))

    async def test_what_is_searched_does_not_change_what_is_read(self, ledger: Ledger) -> None:
        odd = {"keywords": ["a\0b", "\ud800", 7, None], "tags": {"a.b": 1, "$x": "\0", "": True}, "project": 5}
        for said in (odd, {"keywords": "text", "tags": [1], "title": None}, {"keywords": 3, "tags": None}):
            asset = await put(ledger, "odd", bounds=box(0, 0, 1, 1), **said)
            assert await ledger.get_asset("odd") == asset
        assert await found(ledger, keywords=("a\0b",)) == ["odd"]
        assert await found(ledger, tags=("$x:\0", "a.b:1", "testing:true")) == []
        assert await found(ledger, tags=("$x:\0", "a.b:1")) == ["odd"]
