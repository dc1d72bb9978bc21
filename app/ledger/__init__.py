"""The ledger: the database that is the source of truth for manifests, runs, versions, lineage and the audit trail.

`Ledger` is the protocol that the rest of the service uses. It is implemented in `app.storage.sql` (SQLite and
PostgreSQL) and in `app.storage.mongo` (MongoDB). Every subject has one module of the same name in the three packages;
`app.ledger.runs`, for example, is implemented by `app.storage.sql.runs` and `app.storage.mongo.runs`. To add a method,
write it in these three modules and test it in tests/contract, which runs each test against every database.

What every implementation guarantees:

- Compare-and-set: a caller states what it believes (status, attempt, lease owner), and a write that no longer fits
  changes nothing and returns None.
- Crash safety: a write that was acknowledged is kept, and a write that was interrupted is either undone or finished
  by the next reader or sweep.
- Order: all times are in UTC with time zone, cut to the millisecond. Lists are newest first unless their method says
  otherwise, and items of the same time have a fixed order.
- Errors: driver errors do not leave the implementations, which raise `LedgerUnavailable` (or `LedgerFull`, or
  `LedgerUnsupported` where the server lacks something) and `RecordTooLarge` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.ledger.api_keys import ApiKeyLedger
from app.ledger.assets import AssetFilter, AssetLedger
from app.ledger.deliveries import DeliveryLedger
from app.ledger.election import ElectionLedger
from app.ledger.log_and_audit import LogAndAuditLedger
from app.ledger.metrics import AssetTotal, MetricsLedger, RunTotal, Totals
from app.ledger.retention import RetentionLedger
from app.ledger.runs import Accepted, Guard, ManifestFilter, RunFilter, RunLedger
from app.ledger.scheduling import SchedulingLedger
from app.ledger.unfinished import UnfinishedLedger

__all__ = [
    "Accepted",
    "AssetFilter",
    "AssetTotal",
    "BackendInfo",
    "Guard",
    "Ledger",
    "ManifestFilter",
    "RunFilter",
    "RunTotal",
    "Totals",
]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """The database behind the ledger, for health checks.

    Attributes:
        name: of the product, for example `PostgreSQL`.
        version: of the server or library.
        details: `schema`, the newest migration, and `location`, the URL without user and password.
    """

    name: str
    version: str
    details: Mapping[str, Any]


class Ledger(
    RunLedger,
    AssetLedger,
    LogAndAuditLedger,
    DeliveryLedger,
    MetricsLedger,
    ElectionLedger,
    SchedulingLedger,
    RetentionLedger,
    UnfinishedLedger,
    ApiKeyLedger,
    Protocol,
):
    """Everything that the service stores apart from objects. The module describes its guarantees.

    Any number of processes may use one ledger at the same time. Methods that take an `Outbox` write its log lines and
    audit entries if, and only if, that call makes the change.
    """

    async def migrate(self) -> tuple[str, ...]:
        """Bring the schema up to date. Safe when two processes call it at once.

        Returns:
            The names of the migrations that this call applied.

        Raises:
            LedgerUnsupported: the server lacks something that the ledger needs.
            LedgerUnavailable: the database does not answer.
        """
        ...

    async def ping(self) -> BackendInfo:
        """Check that the ledger can be used.

        Raises:
            LedgerUnavailable: the database does not answer or lacks migrations; the error has a fix.
        """
        ...

    async def try_server(self) -> Mapping[str, str]:
        """Try out what the ledger needs of a server that may lack it. Leaves nothing behind.

        Returns:
            What was tried, and how it went. Empty where every server that answers has everything.

        Raises:
            LedgerUnsupported: the server lacks something.
            LedgerUnavailable: the database does not answer, or the user has too few rights.
        """
        ...
