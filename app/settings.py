"""Settings: small nested groups, read from the environment by the API, the worker and the command line.

A variable is `SPATIAL_ETL_` + group + `__` + name, e.g. SPATIAL_ETL_API__PORT=8080. Further
variables are read from the file that SPATIAL_ETL_ENV_FILE names. Paths are made absolute, because roles leave the
directory in which they were started.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.models.intents import LANES
from app.models.recipes.table import SHIPPED, RecipeTable
from app.models.runs.run import Retries

MiB = 1024 * 1024
GiB = 1024 * MiB
ENV_FILE = "SPATIAL_ETL_ENV_FILE"


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(text: str) -> tuple[str, ...]:
    """The words of a comma-separated setting."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


class ApiSettings(Group):
    host: str = Field("127.0.0.1", description="Address that the API binds.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the API; 0 chooses a free one.")
    max_manifest_bytes: int = Field(1 * MiB, ge=1024, description="Largest manifest body.")
    max_upload_bytes: int = Field(16 * GiB, ge=1, description="Largest object that PUT /landing accepts.")
    auth: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Whether API keys are required. `auto`: yes, unless `host` is a loopback address and no key was "
        "ever created.",
    )
    allow_anonymous: bool = Field(
        False,
        description="Allow other addresses than loopback with `auth=off`, behind a proxy that authenticates users.",
    )
    open_probes: bool = Field(False, description="GET /metrics and the details of GET /ready need no key.")
    trusted_proxies: str = Field(
        "",
        description="Comma-separated addresses or networks of proxies whose X-Forwarded-For is trusted.",
    )
    rate_limit: int = Field(
        2000, ge=0, description="Requests per second of one key, or of one address without a valid key; 0: no limit."
    )
    wrong_key_limit: int = Field(
        100,
        ge=0,
        description="Requests per second with an unknown API key or webhook token of one address; 0: no limit.",
    )
    max_waiting: int = Field(
        500, ge=1, description="Event streams and waiting requests of one key, or of one address without a valid key."
    )
    max_connections: int = Field(
        8000, ge=16, description="Connections at once; of those whose request head is incomplete a quarter."
    )
    lineage_nodes: int = Field(500, ge=10, description="Most nodes of one lineage: versions, runs and sources.")
    cors_origins: str = Field(
        "", description="Comma-separated origins whose pages may use the API, e.g. `https://maps.example.org`."
    )
    patience_seconds: float = Field(
        30, gt=0, description="Time-out for a request head, and for each pause in a request body."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for word in listed(value):
            ip_network(word)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for word in listed(value):
            if not re.fullmatch(r"https?://[^/*?#@]+", word):
                raise ValueError(f"{word!r} is not an origin; write scheme and host, e.g. https://maps.example.org")
        return value


class LedgerSettings(Group):
    url: SecretStr | None = Field(
        None,
        description="`mongodb://…/database`, or a SQLAlchemy URL such as `postgresql+asyncpg://…`; "
        "default: SQLite under the data directory.",
    )

    @field_validator("url")
    @classmethod
    def _absolute_file(cls, value: SecretStr | None) -> SecretStr | None:
        scheme, _, path = value.get_secret_value().partition(":///") if value is not None else ("", "", "")
        if not scheme.startswith("sqlite") or not path or path.startswith(("/", ":", "file:")):
            return value
        return SecretStr(f"{scheme}:///{quote(str(Path.cwd()))}/{path}")


class ObjectsSettings(Group):
    """Where the buckets are. Without an endpoint and keys: directories under the data directory."""

    backend: Literal["local", "s3"] = Field("local", description="Where the buckets are: directories, or an S3 API.")
    endpoint: str | None = Field(
        None, description="S3 endpoint, with or without scheme, e.g. `minio:9000`; default: AWS."
    )
    public_endpoint: str | None = Field(
        None, description="The endpoint as the users of presigned URLs reach it; default: `endpoint`."
    )
    region: str = Field("us-east-1", description="S3 region.")
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto",
        description="Where a request names its bucket: in the `path`, or in the host name (`virtual`). "
        "`auto`: in the path if there is an endpoint, else as AWS wants it.",
    )
    access_key: SecretStr | None = Field(None, description="S3 access key; default: the credential chain of AWS.")
    secret_key: SecretStr | None = Field(None, description="S3 secret key.")
    bucket_prefix: str = Field(
        "", description="Prefix of the names of both buckets, for a store that several services share."
    )
    create_buckets: bool = Field(True, description="Create missing buckets at the start.")
    part_bytes: int = Field(16 * MiB, ge=5 * MiB, le=GiB, description="Bytes of one part of a large transfer.")
    concurrency: int = Field(4, ge=1, le=32, description="Parts of one transfer that are sent concurrently.")
    presign_seconds: int = Field(900, ge=1, le=604_800, description="How long a presigned URL is valid.")


class QueueSettings(Group):
    redis_url: SecretStr | None = Field(
        None, description="Redis URL; default: a private Redis that the service starts itself."
    )
    name: str = Field("spatial-etl", description="Name of the RQ queue.")
    max_queued: int = Field(
        100_000, ge=1, description="Runs that may be queued or running before further manifests are answered 429."
    )


class WorkerSettings(Group):
    processes: int = Field(2, ge=0, le=64, description="Worker processes that `serve` starts.")
    threads: int = Field(2, ge=1, le=64, description="Threads that transform geometries within one run.")
    memory_bytes: int = Field(
        512 * MiB,
        ge=128 * MiB,
        description="Memory for matching the keys of a join, and for checks; beyond it, scratch disk is used.",
    )


class RunSettings(Group):
    lease_seconds: float = Field(
        30, gt=1, description="A run whose worker sends no heartbeat for longer is given to another."
    )
    heartbeat_seconds: float = Field(5, gt=0, description="How often a worker renews its lease.")
    max_attempts: int = Field(3, ge=1, description="Attempts after which a run whose worker keeps dying fails.")
    backoff_seconds: float = Field(
        10, ge=0, description="Wait after the first attempt died; doubled after each further one."
    )
    backoff_max_seconds: float = Field(300, ge=0, description="The longest such wait.")
    time_limit_seconds: int = Field(3600, ge=1, description="Longest time of one attempt.")
    memory_limit_bytes: int = Field(4 * GiB, ge=256 * MiB, description="Private memory limit of a job process.")
    queued_seconds: float = Field(
        2_592_000, ge=7200, description="A run that no worker starts for longer fails. It can be run again."
    )
    scratch_limit_bytes: int = Field(
        64 * GiB, ge=MiB, description="Disk space limit of the scratch directory of an attempt."
    )
    cancel_seconds: float = Field(10, gt=0, description="Time for a canceled run to stop before its process is killed.")

    @property
    def retries(self) -> Retries:
        return Retries(self.max_attempts, self.backoff_seconds, self.backoff_max_seconds)


class LaneSettings(Group):
    limits: str = Field("", description="Concurrent runs per lane, such as `tabular=2,join=1`; other lanes: no limit.")

    @field_validator("limits")
    @classmethod
    def _known(cls, value: str) -> str:
        cls._split(value)
        return value

    @staticmethod
    def _split(value: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for word in filter(None, (word.strip() for word in value.split(","))):
            lane, _, limit = (part.strip() for part in word.partition("="))
            if lane not in LANES:
                raise ValueError(f"unknown lane {lane!r}; lanes are {', '.join(LANES)}")
            if not limit.isascii() or not limit.isdigit() or int(limit) < 1:
                raise ValueError(f"the limit of {lane} must be an integer of at least 1")
            found[lane] = int(limit)
        return found

    @property
    def by_lane(self) -> dict[str, int]:
        return self._split(self.limits)


class PlanSettings(Group):
    time_limit_seconds: int = Field(60, ge=1, le=600, description="Time limit for examining the sources of a plan.")
    wait_seconds: float = Field(20, gt=0, le=600, description="How long a plan waits for a free worker.")
    max_waiting: int = Field(
        50, ge=1, description="Plans that may wait for a worker before further ones are answered 429."
    )


class EngineSettings(Group):
    name: Literal["local", "postgis"] = Field("local", description="Engine of the recipes of vector intents.")
    postgis_url: SecretStr | None = Field(None, description="`postgresql://…` of the PostGIS engine.")
    statement_seconds: int = Field(3600, ge=1, description="Time limit of one statement of the PostGIS engine.")

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        if self.name == "postgis" and self.postgis_url is None:
            raise ValueError("the postgis engine needs SPATIAL_ETL_ENGINE__POSTGIS_URL")
        return self


class WebhookSettings(Group):
    token: SecretStr | None = Field(
        None, description="Bearer token of POST /webhooks/minio; without it the webhook is closed."
    )
    max_bytes: int = Field(1 * MiB, ge=1024, description="Largest body of one delivery.")


class SweepSettings(Group):
    interval_seconds: float = Field(2, gt=0, description="How often the sweep looks for runs to recover.")
    lease_seconds: float = Field(
        10, gt=0, description="A sweep without a heartbeat for longer is replaced by another one that is running."
    )
    manifests_seconds: float = Field(
        5, gt=0, description="How often the sweep looks for manifests under `manifests/` for which no event arrived."
    )


class LogSettings(Group):
    format: Literal["text", "json"] = Field("text", description="Text, or one JSON object per line.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "warning",
        description="Lowest level that is logged; `info` has a line for each request and each event of a run.",
    )


class RetentionSettings(Group):
    """How long things are kept. Without a number: without limit."""

    interval_seconds: float = Field(60, gt=0, description="How often the sweep completes interrupted deletions.")
    rules_seconds: float = Field(3600, gt=0, description="How often the rules below are applied.")
    versions_keep: int | None = Field(None, ge=1, description="Newest versions of a dataset that are kept.")
    versions_days: float | None = Field(
        None, ge=0, description="Days that older versions are kept; with `versions_keep`: those beyond that number."
    )
    quarantine_days: float | None = Field(None, ge=0, description="Days that quarantined rows of a version are kept.")
    rejected_products_days: float | None = Field(
        1, ge=0, description="Days that products that failed their checks are kept for a look; `never` keeps all."
    )
    run_logs_days: float | None = Field(None, ge=0, description="Days that the events of a run are kept after its end.")
    runs_days: float | None = Field(
        None, ge=0, description="Days that manifests and runs without any version are kept after their end."
    )
    rejected_days: float | None = Field(None, ge=0, description="Days that rejected manifests are kept.")
    archive_days: float | None = Field(None, ge=0, description="Days that objects under `archive/` are kept.")
    deliveries_days: float | None = Field(
        30, ge=0, description="Days that webhook deliveries are kept; `never` keeps all."
    )
    activity_days: float | None = Field(None, ge=0, description="Days that the audit trail is kept.")
    orphans_seconds: float = Field(
        21_600, gt=0, description="How often the sweep scans the lake for orphans: objects that belong to no version."
    )
    orphan_grace_seconds: float = Field(3600, ge=0, description="The scan for orphans skips objects that are younger.")

    @field_validator("*", mode="before")
    @classmethod
    def _never(cls, value: object) -> object:
        return None if value == "never" else value


class Limits(Group):
    """Limits of sources. Each has its code of refusal."""

    file_bytes: int = Field(16 * GiB, ge=1, description="Bytes of one source file.")
    archive_entries: int = Field(10_000, ge=1, description="Entries of an archive.")
    archive_bytes: int = Field(64 * GiB, ge=1, description="Bytes of an archive when unpacked.")
    archive_ratio: int = Field(200, ge=2, description="Unpacked bytes per packed byte (applies above 16 MiB unpacked).")
    rows: int = Field(500_000_000, ge=1, description="Rows of one source, or of a join.")
    columns: int = Field(2_000, ge=1, description="Columns of one source.")
    layers: int = Field(1_000, ge=1, description="Layers of one source.")
    row_bytes: int = Field(16 * MiB, ge=1, description="Bytes of one row of a table.")
    quarantine_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of unreadable lines of a table that may be quarantined before the run is refused.",
    )
    geometry_reduced_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of the area or length of all geometries that a recipe may take without a warning.",
    )
    coverage_vertices: int = Field(
        10_000_000,
        ge=1,
        description="Vertices and rows of a dataset whose polygons are simplified together, which takes about 150 "
        "bytes of memory for each.",
    )
    pixels: int = Field(20_000_000_000, ge=1, description="Pixels of one raster, over all of its bands.")
    bands: int = Field(1_000, ge=1, description="Bands of one raster.")


class Settings(BaseSettings):
    """All settings. The defaults are the embedded profile: no server needed, everything under `data_dir`."""

    model_config = SettingsConfigDict(env_prefix="SPATIAL_ETL_", env_nested_delimiter="__", extra="ignore", frozen=True)

    data_dir: Path = Field(Path("data"), description="Directory of all data of the embedded profile.")
    api: ApiSettings = ApiSettings()
    ledger: LedgerSettings = LedgerSettings()
    objects: ObjectsSettings = ObjectsSettings()
    queue: QueueSettings = QueueSettings()
    worker: WorkerSettings = WorkerSettings()
    run: RunSettings = RunSettings()
    lanes: LaneSettings = LaneSettings()
    plan: PlanSettings = PlanSettings()
    engine: EngineSettings = EngineSettings()
    webhook: WebhookSettings = WebhookSettings()
    sweep: SweepSettings = SweepSettings()
    log: LogSettings = LogSettings()
    retention: RetentionSettings = RetentionSettings()
    limits: Limits = Limits()
    recipes_file: Path | None = Field(
        None, description="TOML file that says what vector intents mean, and adds further ones; default: as shipped."
    )
    proj_grids: Path | None = Field(
        None, description="Folder of datum grids for PROJ, on hosts with workers; default: none. Nothing is downloaded."
    )
    enabled_lanes: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(LANES),
        validation_alias=AliasChoices("MANIFEST_ROUTER_ENABLED_LANES", "enabled_lanes"),
        description="Comma-separated lanes that accept manifests.",
    )
    _recipes: RecipeTable = PrivateAttr(SHIPPED)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # pydantic-settings names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, and the file that SPATIAL_ETL_ENV_FILE names; no file that happens to lie nearby."""
        named = os.environ.get(ENV_FILE)
        if not named:
            return init_settings, env_settings
        return init_settings, env_settings, DotEnvSettingsSource(settings_cls, env_file=named)

    @field_validator("enabled_lanes", mode="before")
    @classmethod
    def _split_lanes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        lanes = frozenset(word.strip() for word in value.split(",") if word.strip())
        if unknown := lanes - set(LANES):
            raise ValueError(f"unknown lane {', '.join(sorted(unknown))}; lanes are {', '.join(LANES)}")
        return lanes

    @field_validator("data_dir", "recipes_file", "proj_grids")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value and Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 # resolve() would follow links

    @field_validator("recipes_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            RecipeTable.read(value)
        return value

    def model_post_init(self, context: Any, /) -> None:  # noqa: ARG002 # pydantic names it
        """Read the recipes at once: processes that are sandboxed later cannot open the file."""
        self._recipes = RecipeTable.read(self.recipes_file) if self.recipes_file else SHIPPED

    @property
    def recipes(self) -> RecipeTable:
        """What intents mean, as the operator's file said when the process started."""
        return self._recipes

    @property
    def ledger_url(self) -> str:
        if self.ledger.url is not None:
            return self.ledger.url.get_secret_value()
        # Quoted, because SQLAlchemy decodes the path.
        return f"sqlite:///{quote(str(self.data_dir / 'ledger.sqlite'))}"

    @property
    def objects_dir(self) -> Path:
        return self.data_dir / "objects"

    @property
    def scratch_dir(self) -> Path:
        return self.data_dir / "scratch"

    def attempt_dir(self, run_id: str, attempt: int) -> Path:
        """Scratch of one attempt."""
        return self.scratch_dir / f"{run_id}.{attempt}"

    def plan_dir(self, plan_id: str) -> Path:
        """Scratch of one plan."""
        return self.scratch_dir / f"plan-{plan_id}"
