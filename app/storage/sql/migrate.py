"""Brings the SQL schema up to date with the scripts of migrations/sql, which Alembic runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, select

import app
from app.storage.sql.tables import MIGRATIONS


def scripts_dir() -> Path:
    """Return the directory of the scripts: inside the installed package, or beside it in a source checkout."""
    package = Path(app.__file__).parent
    installed = package / "_migrations" / "sql"
    return installed if installed.is_dir() else package.parent / "migrations" / "sql"


def known_versions() -> tuple[str, ...]:
    """Return the names of all migrations, oldest first. A file has the name of its revision."""
    return tuple(sorted(path.stem for path in (scripts_dir() / "versions").glob("[0-9]*.py")))


def applied_versions(connection: Connection) -> tuple[str, ...]:
    """Return the names of the migrations of this database, oldest first."""
    query = select(MIGRATIONS.c.version).order_by(MIGRATIONS.c.version)
    return tuple(connection.execute(query).scalars())


def upgrade(connection: Connection) -> tuple[str, ...]:
    """Apply the missing migrations and return their names. The caller has the lock and the transaction."""
    if not inspect(connection).has_table(MIGRATIONS.name):
        before: tuple[str, ...] = ()
    else:
        before = applied_versions(connection)
    if set(known_versions()) <= set(before):
        return ()
    _run_alembic(connection)
    return tuple(version for version in applied_versions(connection) if version not in before)


def _run_alembic(connection: Connection) -> None:
    # Importing Alembic takes longer than the rest of a start, and most starts have nothing to migrate.
    from alembic import command
    from alembic.config import Config

    attributes: dict[str, Any] = {"connection": connection}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(scripts_dir()).replace("%", "%%"))
    command.upgrade(config, "head")
