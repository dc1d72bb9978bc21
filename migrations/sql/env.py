"""Alembic's environment. The ledger hands over a connection whose lock and transaction are open."""

from __future__ import annotations

import time
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import insert

from app.models.base import utcnow
from app.storage.sql_tables import MIGRATIONS, Base

_last_step = time.perf_counter()


def _record(ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
    """schema_migrations says what was applied when; Alembic's own table only knows where it stands."""
    global _last_step  # noqa: PLW0603 # Alembic calls back without a place to keep the time of the last step
    now = time.perf_counter()
    assert ctx.connection is not None  # noqa: S101 # there is always one outside Alembic's offline mode
    ctx.connection.execute(
        insert(MIGRATIONS).values(
            version=step.up_revision_id, applied_at=utcnow(), duration_ms=round((now - _last_step) * 1000)
        )
    )
    _last_step = now


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    on_version_apply=_record,
)
with context.begin_transaction():
    context.run_migrations()
