"""Settings: small nested groups, read from the environment (or .env) at the composition roots only.

A variable is `SPATIAL_ETL_` + group + `__` + name, e.g. SPATIAL_ETL_API__PORT=8080.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.models.intents import LANES
from app.models.run import Retries

MiB = 1024 * 1024
GiB = 1024 * MiB


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(text: str) -> tuple[str, ...]:
    """The words of a comma-separated setting."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


class ApiSettings(Group):
    host: str = Field("127.0.0.1", description="Address that the API binds.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    max_manifest_bytes: int = Field(1 * MiB, ge=1024, description="Largest manifest body.")
    max_upload_bytes: int = Field(16 * GiB, ge=1, description="Largest object that PUT /landing takes.")
    auth: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Whether API keys are demanded. `auto`: unless `host` is of loopback and there never was a key.",
    )
    allow_anonymous: bool = Field(
        False, description="Bind elsewhere than loopback though `auth` is `off`: for a proxy that knows its users."
    )
    open_probes: bool = Field(False, description="GET /ready and /metrics need no key.")
    trusted_proxies: str = Field(
        "",
        description="Comma-separated addresses or networks of proxies whose X-Forwarded-For is believed.",
    )
    rate_limit: int = Field(
        2000, ge=0, description="Requests in a second of one key, and of one address without a good one; 0: no limit."
    )
    cors_origins: str = Field(
        "", description="Comma-separated origins whose pages may use the API, e.g. `https://maps.example.org`."
    )
    patience_seconds: float = Field(
        30, gt=0, description="How long a client may stay silent within the head or the body of a request."
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
    access_key: SecretStr | None = Field(None, description="S3 access key; default: AWS' own chain of credentials.")
    secret_key: SecretStr | None = Field(None, description="S3 secret key.")
    bucket_prefix: str = Field("", description="Put before the names of both buckets, where names are shared.")
    create_buckets: bool = Field(True, description="Make missing buckets at the start.")
    part_bytes: int = Field(16 * MiB, ge=5 * MiB, le=GiB, description="Bytes of one part of a large transfer.")
    concurrency: int = Field(4, ge=1, le=32, description="Parts of one transfer that are under way at once.")
    presign_seconds: int = Field(900, ge=1, le=604_800, description="How long a presigned URL is good for.")


class QueueSettings(Group):
    redis_url: SecretStr | None = Field(
        None, description="Redis URL; default: a private Redis that the service starts itself."
    )
    name: str = Field("spatial-etl", description="Name of the RQ queue.")
    max_queued: int = Field(
        100_000, ge=1, description="Runs that may be waiting or under way before further manifests are answered 429."
    )


class WorkerSettings(Group):
    processes: int = Field(2, ge=0, le=64, description="Worker processes that `serve` starts.")
    threads: int = Field(2, ge=1, le=64, description="Threads that transform geometries within one run.")
    memory_bytes: int = Field(
        512 * MiB,
        ge=128 * MiB,
        description="Memory that pairing the keys of a join may take; the rest goes to scratch.",
    )


class RunSettings(Group):
    lease_seconds: float = Field(30, gt=1, description="A run whose worker is silent for longer is given to another.")
    heartbeat_seconds: float = Field(5, gt=0, description="How often a worker renews its lease.")
    max_attempts: int = Field(3, ge=1, description="Attempts before a run whose worker keeps dying fails.")
    backoff_seconds: float = Field(
        10, ge=0, description="How long a run waits after its first attempt died; twice as long after each further one."
    )
    backoff_max_seconds: float = Field(300, ge=0, description="The longest such wait.")
    time_limit_seconds: int = Field(3600, ge=1, description="Longest time of one attempt.")
    memory_limit_bytes: int = Field(4 * GiB, ge=256 * MiB, description="Private memory that a job's process may have.")
    queued_seconds: float = Field(
        2_592_000, ge=7200, description="A run that no worker takes for longer fails; it can be run again."
    )
    scratch_limit_bytes: int = Field(
        64 * GiB, ge=MiB, description="Disk space that the scratch directory of an attempt may take."
    )
    cancel_seconds: float = Field(
        10, gt=0, description="How long a canceled run may take to end by itself before its process is killed."
    )

    @property
    def retries(self) -> Retries:
        return Retries(self.max_attempts, self.backoff_seconds, self.backoff_max_seconds)


class LaneSettings(Group):
    limits: str = Field(
        "", description="Runs of a lane that may be carried at once, such as `tabular=2,join=1`; others: no limit."
    )

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
                raise ValueError(f"the limit of {lane} is a whole number from 1 on, not {limit!r}")
            found[lane] = int(limit)
        return found

    @property
    def by_lane(self) -> dict[str, int]:
        return self._split(self.limits)


class PlanSettings(Group):
    time_limit_seconds: int = Field(60, ge=1, le=600, description="Longest look at the sources for a plan.")
    wait_seconds: float = Field(20, gt=0, le=600, description="How long a plan waits for a free worker.")


class EngineSettings(Group):
    name: Literal["local", "postgis"] = Field("local", description="What runs the recipes of vector intents.")
    postgis_url: SecretStr | None = Field(None, description="`postgresql://…` of the PostGIS engine.")
    statement_seconds: int = Field(3600, ge=1, description="Longest time of one statement of the PostGIS engine.")

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
    interval_seconds: float = Field(2, gt=0, description="How often the sweep looks for runs that must move on.")
    lease_seconds: float = Field(
        10, gt=0, description="A sweep that gives no sign of life for longer is replaced by another one that runs."
    )
    manifests_seconds: float = Field(
        5, gt=0, description="How often the sweep looks for manifests under `manifests/` that nothing announced."
    )


class LogSettings(Group):
    format: Literal["text", "json"] = Field("text", description="Log lines for people, or one JSON object a line.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="The least that is logged; `info` has a line for each request and each event of a run."
    )


class RetentionSettings(Group):
    """How long things are kept. Without a number: for ever."""

    interval_seconds: float = Field(
        60, gt=0, description="How often the sweep finishes deletions that were broken off."
    )
    rules_seconds: float = Field(3600, gt=0, description="How often the rules below are applied.")
    versions_keep: int | None = Field(None, ge=1, description="Newest versions of a dataset that are kept.")
    versions_days: float | None = Field(
        None, ge=0, description="Days that older versions are kept; with `versions_keep`: those beyond that number."
    )
    quarantine_days: float | None = Field(None, ge=0, description="Days that set-aside rows of a version are kept.")
    run_logs_days: float | None = Field(None, ge=0, description="Days that the events of a run are kept after its end.")
    runs_days: float | None = Field(
        None, ge=0, description="Days that manifests and runs without any version are kept after their end."
    )
    rejected_days: float | None = Field(None, ge=0, description="Days that rejected manifests are kept.")
    archive_days: float | None = Field(None, ge=0, description="Days that objects under `archive/` are kept.")
    deliveries_days: float | None = Field(
        30, ge=0, description="Days that webhook deliveries are kept; `never` removes none."
    )
    activity_days: float | None = Field(None, ge=0, description="Days that the audit trail is kept.")
    orphans_seconds: float = Field(
        21_600, gt=0, description="How often the sweep walks the lake for objects that no version owns."
    )
    orphan_grace_seconds: float = Field(
        3600, ge=0, description="Objects of the lake that are younger are left alone by that walk."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _never(cls, value: object) -> object:
        return None if value == "never" else value


class Limits(Group):
    """What a source may be at most; each is refused with its own code."""

    file_bytes: int = Field(16 * GiB, ge=1, description="Bytes of one source file.")
    archive_entries: int = Field(10_000, ge=1, description="Entries of an archive.")
    archive_bytes: int = Field(64 * GiB, ge=1, description="Bytes of an archive when unpacked.")
    archive_ratio: int = Field(200, ge=2, description="Unpacked bytes for each packed byte (over 16 MiB unpacked).")
    rows: int = Field(500_000_000, ge=1, description="Rows of one source, or of a join.")
    columns: int = Field(2_000, ge=1, description="Columns of one source.")
    layers: int = Field(1_000, ge=1, description="Layers of one source.")
    row_bytes: int = Field(16 * MiB, ge=1, description="Bytes of one row of a table.")
    quarantine_share: float = Field(
        0.01, ge=0, le=1, description="Share of a table's lines that may be set aside as unreadable."
    )
    pixels: int = Field(20_000_000_000, ge=1, description="Pixels of one raster, those of all its bands counted.")
    bands: int = Field(1_000, ge=1, description="Bands of one raster.")


class Settings(BaseSettings):
    """All settings. The defaults are the embedded profile: no server needed, everything under `data_dir`."""

    model_config = SettingsConfigDict(
        env_prefix="SPATIAL_ETL_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    data_dir: Path = Field(Path("data"), description="Where the embedded profile keeps everything.")
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
    enabled_lanes: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(LANES),
        validation_alias=AliasChoices("MANIFEST_ROUTER_ENABLED_LANES", "enabled_lanes"),
        description="Comma-separated lanes that take manifests.",
    )

    @field_validator("enabled_lanes", mode="before")
    @classmethod
    def _split_lanes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        lanes = frozenset(word.strip() for word in value.split(",") if word.strip())
        if unknown := lanes - set(LANES):
            raise ValueError(f"unknown lane {', '.join(sorted(unknown))}; lanes are {', '.join(LANES)}")
        return lanes

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 # resolve() would follow links

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
