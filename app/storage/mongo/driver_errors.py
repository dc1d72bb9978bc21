"""Errors of the driver and of the server, as errors of the domain."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from pymongo.errors import DocumentTooLarge, OperationFailure, PyMongoError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from app.errors import DomainError, LedgerFull, LedgerUnavailable, LedgerUnsupported, RecordTooLarge

URL_SETTING = "SPATIAL_ETL_LEDGER__URL"
_MAJORITY = "a majority of the replica set: start the members that are down."
_FIXES = (
    ("authentication failed", f"Check the user, the password and authSource in {URL_SETTING}."),
    ("authentication", f"Add a user and a password to {URL_SETTING}: the server requires them."),
    (
        "not authorized",
        f"Give the user of {URL_SETTING} the role readWrite (and dbAdmin, to migrate) on this database.",
    ),
    ("name or service not known", f"Check the host in {URL_SETTING}."),
    ("name resolution", f"Check the host in {URL_SETTING}."),
    ("dns", f"Check the host in {URL_SETTING}."),
    ("ssl", f"Check tls and its certificates in {URL_SETTING}."),
    ("wtimeout", f"Writes need {_MAJORITY}"),
    ("waiting for replication", f"Writes need {_MAJORITY}"),
    ("no primary", f"A primary needs {_MAJORITY}"),
    ("no replica set members match", f"A primary needs {_MAJORITY}"),
    ("document failed validation", "Run `spatial-etl migrate` with this release."),
)
_OUT_OF_DISK_SPACE = 14031
_AUTHENTICATION_FAILED = 18
# CommandNotFound, CommandNotSupported, InvalidPipelineOperator, NotImplemented, an unknown stage, an unknown field of
# a command.
_UNSUPPORTED = frozenset({59, 115, 168, 238, 40324, 40415})
# BadValue, FailedToParse: of an unknown keyword or operator, among much else.
_PARSING = frozenset({2, 9})
_UNKNOWN = ("unknown", "unrecognized", "not supported", "unsupported", "not implemented")
# Of an insert, of an update, and of a replacement.
_TOO_LARGE = frozenset({10334, 17419, 17420})
_NEEDED = (
    "The ledger needs MongoDB 5.0 or later, or a server with the same commands, validators and indexes. "
    "`spatial-etl doctor` tries out all of them."
)


class FailedCommands(CommandListener):
    """Remembers the names of the last commands that failed: the errors of the driver do not have them."""

    def __init__(self) -> None:
        self._last: deque[tuple[Mapping[str, Any], str]] = deque(maxlen=32)

    def started(self, event: CommandStartedEvent) -> None:
        """Only failures are of interest."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Only failures are of interest."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Remember it with the answer of the server, which the error of the driver has too."""
        self._last.append((event.failure, event.command_name))

    def name_of(self, err: Exception) -> str | None:
        """Return the name of the command that failed with this error; None when it is unknown."""
        if not isinstance(err, OperationFailure):
            return None
        return next((name for answer, name in tuple(self._last) if answer is err.details), None)


def domain_error(err: PyMongoError | DocumentTooLarge, location: str, version: str, command: str) -> DomainError:
    """Return the error of the domain for one of the driver.

    Args:
        err: as the driver raised it.
        location: of the database, without user and password.
        version: of the server.
        command: the name of the one that failed.
    """
    cause = short_text(err)
    if is_too_large(err):
        detail = f"The ledger ({location}) cannot hold a record this large: {cause}."
        return RecordTooLarge(detail, "MongoDB holds 16 MiB in one record. Use fewer files, columns or metadata.")
    if is_unsupported(err):
        assert isinstance(err, OperationFailure)  # noqa: S101 # is_unsupported checks it
        detail = f"The server of the ledger ({location}, version {version}) does not support {command}"
        return LedgerUnsupported(f"{detail}: {cause} (code {err.code}).", _NEEDED)
    code = getattr(err, "code", None)
    if code == _OUT_OF_DISK_SPACE or "no space left" in str(err).lower():
        fix = "Free space on the disk of the MongoDB server."
        return LedgerFull(f"The ledger ({location}) has no room left: {cause}.", fix)
    known = (fix for needle, fix in _FIXES if needle in str(err).lower())
    fix = _FIXES[0][1] if code == _AUTHENTICATION_FAILED else next(known, "Check that it runs and can be reached.")
    return LedgerUnavailable(f"The ledger ({location}) does not answer: {cause}.", fix)


def is_unsupported(err: Exception) -> bool:
    """Whether the server lacks a command, an operator or a keyword."""
    if not isinstance(err, OperationFailure):
        return False
    return err.code in _UNSUPPORTED or (err.code in _PARSING and any(word in str(err).lower() for word in _UNKNOWN))


def is_too_large(err: Exception) -> bool:
    """Whether a document exceeds 16 MiB. The driver refuses it some kilobytes above that only, the server before."""
    if isinstance(err, DocumentTooLarge):
        return True
    code = getattr(err, "code", None)
    return code in _TOO_LARGE or (code in _PARSING and "too large" in str(err).lower())


def short_text(err: Exception) -> str:
    """Return the driver's text up to its description of the topology."""
    text = str(err)
    for end in (", full error:", " (configured timeouts", ", Timeout:", ", Topology Description"):
        text = text.partition(end)[0]
    return text.rstrip(".")
