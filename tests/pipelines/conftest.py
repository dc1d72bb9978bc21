"""A small real run context: a landing zone and a lake that are directories, everything else the product's own code."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely

from app.errors import RunRefused
from app.models.asset import Asset, AssetInput, AssetMetadata, SourceInput
from app.models.base import utcnow
from app.models.formats import find_format
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.plan import Plan
from app.models.recipes.table import SHIPPED, RecipeTable
from app.models.runs.run import RunWarning
from app.pipelines.contract.context import FetchedAsset, FetchedFile, Product
from app.pipelines.contract.engine import VectorEngine
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.ingest import pipeline as ingest
from app.pipelines.job.make_plan import make_plan
from app.pipelines.job.pipeline import pipeline_function
from app.pipelines.vector.engines.local import LocalEngine
from app.settings import Limits
from tests.pipelines.engines import ENGINES, OVER_ALL_ENGINES, assert_agree, assert_same_geometries


@dataclass
class Watch:
    """Remembers what it is told."""

    progress: list[tuple[int, int | None]] = field(default_factory=list)
    warnings: dict[str, tuple[str, int, tuple[Any, ...]]] = field(default_factory=dict)
    stop_after: int | None = None
    error: Exception | None = None

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        self.progress.append((rows_done, rows_total))
        if self.error is not None and rows_done >= (self.stop_after or 0):
            raise self.error

    def warn(self, warning: RunWarning) -> None:
        self.warnings[warning.code] = (warning.message, warning.count, warning.samples)


@dataclass
class Context:
    """One attempt over files in `landing`."""

    manifest: Manifest
    landing: Path
    scratch: Path
    lake: Path
    limits: Limits = field(default_factory=Limits)
    threads: int = 2
    memory_bytes: int = 256 * 1024 * 1024
    engine: VectorEngine = field(default_factory=LocalEngine)
    watch: Watch = field(default_factory=Watch)
    steps: list[str] = field(default_factory=list)
    product: Product | None = None
    rows_before: int | None = None
    parents: Mapping[str, FetchedAsset] = field(default_factory=dict)

    @contextmanager
    def step(self, name: Literal["load", "transform", "export"]) -> Iterator[None]:
        self.steps.append(name)
        yield

    def fetch(self, file: ManifestFile) -> FetchedFile:
        source = self.landing / file.key
        if not source.exists():
            raise RunRefused(f"{file.key} is missing.", "Upload it.", reason="file_missing", file=file.key)
        into = self.scratch / hashlib.sha256(file.key.encode()).hexdigest()[:8]
        into.mkdir(parents=True, exist_ok=True)
        fmt = find_format(file.format)
        assert fmt is not None
        for suffix in (*fmt.required_sidecars, *fmt.optional_sidecars):
            beside = source.with_suffix(suffix)
            if beside.exists():
                shutil.copy(beside, into)
        path = Path(shutil.copy(source, into))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found = SourceInput(s3_key=file.key, size=path.stat().st_size, etag=digest[:32], sha256=digest)
        return FetchedFile(file, path, (found,))

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        found = self.parents[dataset_id]
        assert version in (None, found.asset.version)
        return found

    def unchanged(self, *_: object) -> Asset | None:
        return None

    def newest_rows(self) -> int | None:
        return self.rows_before

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        self.product = product
        target = self.lake / "v1.parquet"
        shutil.copy(product.path, target)
        return Asset(
            dataset_id=self.manifest.dataset_id,
            version=1,
            s3_key=target.name,
            content_hash="sha256:" + hashlib.sha256(target.read_bytes()).hexdigest(),
            size=target.stat().st_size,
            kind=product.kind,
            format=product.format,
            crs=product.crs,
            bounds=product.bounds,
            run_id="run",
            inputs=tuple(inputs),
            metadata=AssetMetadata(
                manifest={},
                column_schema=product.column_schema,
                header_mapping=product.header_mapping,
                geometry_type=product.geometry_type,
            ),
            statistics={**product.statistics, **product.counts},
            created_at=utcnow(),
        )


@dataclass
class Result:
    asset: Asset
    product: Product
    watch: Watch
    path: Path
    steps: list[str]

    @property
    def frame(self) -> geopandas.GeoDataFrame:
        return geopandas.read_parquet(self.path)

    @property
    def counts(self) -> Mapping[str, int]:
        return self.product.counts


class Bench:
    """Puts files into the landing zone and runs manifests over them."""

    def __init__(self, root: Path, engine: str = "local") -> None:
        self.engine = engine
        self.landing, self.lake = root / "landing", root / "lake"
        self._root, self._runs = root, 0
        self.landing.mkdir()
        self.lake.mkdir()

    def context(
        self,
        *files: dict[str, Any],
        intent: str = "ingest_vector",
        recipe: Mapping[str, Any] | None = None,
        recipes: RecipeTable = SHIPPED,
        checks: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Context:
        self._runs += 1
        scratch = self._root / f"scratch{self._runs}"
        scratch.mkdir()
        entries = [{"type": "vector", **file, "path": f"s3://landing-zone/{file['path']}"} for file in files]
        metadata = {"title": "t", "description": "", "source": "", "license": "", "attribution": ""}
        document = {"batch_id": f"b{self._runs}", "uploader": "u", "intent": intent, "files": entries}
        asked: dict[str, Any] = {} if recipe is None else {"recipe": recipe}
        asked |= {"dataset": {"checks": checks}} if checks else {}
        manifest = recipes.resolve(Manifest.model_validate({**document, **asked, "metadata": metadata}))
        return Context(manifest, self.landing, scratch, self.lake, **{"engine": ENGINES[self.engine](), **more})

    def agree(self, found: Any, wanted: Any, tolerance: float = 0.0, *, simplified: float = 0.0) -> None:
        """Geometries of the last run against GEOS' own in this process. tolerance: what the format loses."""
        if self.engine == "local":
            assert_same_geometries(found, wanted, tolerance)
        else:
            assert_agree(found, wanted, self._versions, simplified, tolerance)

    def run(self, *files: dict[str, Any], intent: str = "ingest_vector", **more: Any) -> Result:
        ctx = self.context(*files, intent=intent, **more)
        asset = ingest.run(ctx)
        assert ctx.product is not None
        self._versions = ctx.product.engine
        assert "engine" in more or self._versions["engine"] == self.engine
        return Result(asset, ctx.product, ctx.watch, self.lake / asset.s3_key, ctx.steps)

    def plan(self, *files: dict[str, Any], intent: str = "ingest_vector", **more: Any) -> Plan:
        """The plan of the same files, made in this process."""
        ctx = self.context(*files, intent=intent, **more)
        local = PlanContext(
            manifest=ctx.manifest, inputs=ctx, scratch=ctx.scratch, limits=ctx.limits, threads=ctx.threads,
            memory_bytes=ctx.memory_bytes, engine=ctx.engine,
        )  # fmt: skip
        return make_plan(local, pipeline_function(ctx.manifest, "plan"), lambda: 0)

    def one(self, path: str, fmt: str, **more: Any) -> Result:
        """Run over one file; limits=… goes to the context, everything else into the manifest's entry."""
        limits = {"limits": more.pop("limits")} if "limits" in more else {}
        return self.run({"path": path, "format": fmt, **more}, **limits)

    def refused(self, path: str, fmt: str, **more: Any) -> RunRefused:
        """Run over one file that must be refused; what it says must name the file and a fix."""
        with pytest.raises(RunRefused) as caught:
            self.one(path, fmt, **more)
        error = caught.value
        assert error.file == path
        assert path in error.detail
        assert error.fix
        assert str(self._root) not in str(error)
        assert not list(self.lake.iterdir())
        return error

    def write(self, name: str, content: bytes | str) -> str:
        target = self.landing / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def zip(self, name: str, members: Mapping[str, bytes | str]) -> str:
        with zipfile.ZipFile(self.landing / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return name


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    """With the local engine, or with the one that `pytest_generate_tests` chose."""
    return Bench(tmp_path, getattr(request, "param", "local"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that use `bench` run once for each engine where their module is about what engines do."""
    if "bench" in metafunc.fixturenames and metafunc.module.__name__ in OVER_ALL_ENGINES:
        metafunc.parametrize("bench", ENGINES, indirect=True)


@pytest.fixture(scope="session")
def countries() -> geopandas.GeoDataFrame:
    """Natural Earth's 177 countries, as the pyogrio wheel carries them."""
    fixtures = Path(pyogrio.__file__).parent / "tests" / "fixtures"
    return geopandas.read_file(fixtures / "naturalearth_lowres" / "naturalearth_lowres.shp")


@pytest.fixture(scope="session")
def parcels() -> geopandas.GeoDataFrame:
    """600 polygons in UTM 32: rectangles, some with holes, some multi, two bow ties; attributes of many types."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(600):
        x, y = rng.uniform(4e5, 6e5), rng.uniform(5.4e6, 5.8e6)
        w, h = rng.uniform(20, 400, 2)
        box = shapely.box(x, y, x + w, y + h)
        if i % 10 == 1:
            box = box.difference(shapely.box(x + w / 4, y + h / 4, x + w / 2, y + h / 2))
        if i % 10 == 2:
            box = shapely.MultiPolygon([box, shapely.box(x + 2 * w, y, x + 3 * w, y + h)])
        if i in (7, 300):
            box = shapely.Polygon([(x, y), (x + w, y + h), (x + w, y), (x, y + h)])
        # GEOS' segmentize would repair a bow tie, by leaving half of it out.
        made.append(box if i in (7, 300) else shapely.segmentize(box, 60))
    return geopandas.GeoDataFrame(
        {
            "name": [f"Straße {i} – “{chr(0x4E00 + i)}”" if i % 5 else None for i in range(600)],
            "count": rng.integers(-5, 5_000, 600).astype("int64"),
            "area": np.round(rng.uniform(1, 99, 600), 3),
        },
        geometry=made,
        crs=25832,
    )


def expected(frame: geopandas.GeoDataFrame, tolerance: float | None = None) -> np.ndarray[Any, Any]:
    """The shipped recipe, and simplification by a tolerance in degrees, computed with geopandas and shapely alone."""
    moved = frame.to_crs(4326).geometry.to_numpy()
    invalid = ~shapely.is_valid(moved) & ~shapely.is_missing(moved)
    moved[invalid] = shapely.make_valid(moved[invalid], method="linework")
    if tolerance is None:
        return moved
    simple = shapely.simplify(moved, tolerance, preserve_topology=True)
    bad = ~shapely.is_valid(simple) & ~shapely.is_missing(simple)
    simple[bad] = moved[bad]
    for row, geometry in enumerate(simple):  # GEOS makes a single geometry of a multi geometry with one part
        if geometry is not None and moved[row].geom_type == f"Multi{geometry.geom_type}":
            simple[row] = type(moved[row])([geometry])
    return simple
