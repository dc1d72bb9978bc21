"""The environment of Alembic. The ledger passes a connection with an open transaction that has the lock."""

from __future__ import annotations

import time
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import insert

from app.models.base import utcnow
from app.storage.sql.tables import MIGRATIONS, Base

_last_step = time.perf_counter()


def _record(ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
    """Record the migration in schema_migrations: Alembic's own table has only the newest one."""
    global _last_step  # noqa: PLW0603 # Alembic's callback has no other place for the time of the last step
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
