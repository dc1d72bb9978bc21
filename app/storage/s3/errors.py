"""Errors of the S3 server and of the connection to it, as domain errors with a fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import ClientError as HttpError
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from app.errors import DomainError, InvalidKey, StoreUnavailable

_GROUP = "SPATIAL_ETL_OBJECTS__"
_KEYS = f"{_GROUP}ACCESS_KEY and {_GROUP}SECRET_KEY"
_REGION_FIX = f"Set {_GROUP}REGION to the region of the buckets."
_ROOM_FIX = "Free space at the object store, or raise its quota."
_BUSY_FIX = "Nothing was changed. Try again, and check the object store's log if it happens again."
_RIGHTS_FIX = (
    "Give the owner of {access_key} the rights s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, "
    "s3:AbortMultipartUpload, s3:ListBucketMultipartUploads and s3:ListMultipartUploadParts on the bucket."
)


@dataclass(frozen=True, slots=True)
class Location:
    """The target of a request, for messages. endpoint: as the client uses it, or `AWS`; bucket: with its prefix."""

    endpoint: str
    bucket: str
    key: str = ""


# S3 code → (detail, fix). No text contains an access key or a secret.
_CODES: dict[str, tuple[str, str]] = {
    "NoSuchBucket": (
        "There is no bucket {bucket!r} at {endpoint}.",
        f"Create it, or set {_GROUP}CREATE_BUCKETS=true and start again; {_GROUP}BUCKET_PREFIX comes before its name.",
    ),
    "InvalidAccessKeyId": (
        "The object store at {endpoint} does not know the access key.",
        f"Set {_GROUP}ACCESS_KEY to an access key of this server.",
    ),
    "SignatureDoesNotMatch": (
        "The object store at {endpoint} refused the signature: the secret key is not that of the access key.",
        f"Set {_GROUP}SECRET_KEY to the secret of {_GROUP}ACCESS_KEY.",
    ),
    "RequestTimeTooSkewed": (
        "The clock of this machine is too far from that of the object store at {endpoint}.",
        "Synchronize both clocks (NTP).",
    ),
    "AccessDenied": (
        "The object store at {endpoint} denies access to the bucket {bucket!r}.",
        _RIGHTS_FIX.format(access_key=f"{_GROUP}ACCESS_KEY"),
    ),
    "ExpiredToken": ("The credentials for {endpoint} have expired.", f"Renew them: {_KEYS}."),
    "InvalidBucketName": (
        "The object store at {endpoint} does not allow the bucket name {bucket!r}.",
        f"Set {_GROUP}BUCKET_PREFIX to lower-case letters, digits and hyphens.",
    ),
    "BucketAlreadyExists": (
        "The bucket {bucket!r} at {endpoint} belongs to another account.",
        f"Set {_GROUP}BUCKET_PREFIX to another prefix.",
    ),
    "SecondLevelDomainForbidden": (
        "The object store at {endpoint} wants the bucket in the host name of a request.",
        f"Set {_GROUP}ADDRESSING=virtual.",
    ),
    "AuthorizationHeaderMalformed": ("The buckets at {endpoint} are in another region.", _REGION_FIX),
    "PermanentRedirect": ("The bucket {bucket!r} is at another endpoint than {endpoint}.", _REGION_FIX),
    "IllegalLocationConstraintException": ("{endpoint} does not create buckets in this region.", _REGION_FIX),
    "InvalidLocationConstraint": ("{endpoint} does not create buckets in this region.", _REGION_FIX),
    "QuotaExceeded": ("The quota at {endpoint} is used up.", _ROOM_FIX),
    "XMinioStorageFull": ("The object store at {endpoint} is full.", _ROOM_FIX),
    "XMinioAdminBucketQuotaExceeded": ("The quota of the bucket {bucket!r} is used up.", _ROOM_FIX),
    "InvalidRange": (
        "The object {key!r} changed while it was read.",
        "Try again without overwriting it meanwhile.",
    ),
}
_CODES["AllAccessDisabled"] = _CODES["403"] = _CODES["AccessDenied"]
_CODES["InvalidToken"] = _CODES["TokenRefreshRequired"] = _CODES["ExpiredToken"]
_NAMES = {"KeyTooLongError", "XMinioInvalidObjectName", "XMinioInvalidResourceName", "InvalidObjectName"}
# Of an object that does not exist; an answer to HEAD has the status only.
MISSING = frozenset({"404", "NoSuchKey"})

# All network errors of the client; those of a response body come from aiohttp.
CONNECTION_ERRORS = (boto.HTTPClientError, boto.ConnectionError, HttpError, TimeoutError, ConnectionError)


# The first entry that matches is used.
_FAILURES: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError),
        "There are no credentials for {endpoint}.",
        f"Set {_KEYS}.",
    ),
    (
        (boto.SSLError,),
        "The certificate of {endpoint} is not trusted.",
        f"Use the host name of the certificate in {_GROUP}ENDPOINT, and name its authority in AWS_CA_BUNDLE.",
    ),
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
        "No object store can be reached at {endpoint}.",
        f"Start the object store, or correct {_GROUP}ENDPOINT.",
    ),
    ((boto.ReadTimeoutError, TimeoutError), "The object store at {endpoint} did not answer in time.", _BUSY_FIX),
    (
        (ResponseParserError,),
        "The answer of the object store at {endpoint} cannot be read.",
        f"Check that {_GROUP}ENDPOINT is that of an S3 API.",
    ),
    (
        CONNECTION_ERRORS,
        "The object store at {endpoint} closed the connection.",
        f"Check its log. If it uses TLS, begin {_GROUP}ENDPOINT with https://.",
    ),
)
_NO_TLS = (
    "{endpoint} does not speak TLS.",
    f"Begin {_GROUP}ENDPOINT with http://, or enable TLS on the server.",
)


def code_of(error: BaseException | None) -> str:
    """Return the S3 error code, the HTTP status if the answer had no body, or an empty string for other errors."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Raise errors of the driver as domain errors."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, ResponseParserError, *CONNECTION_ERRORS) as error:
        raise to_domain_error(error, location) from error


def to_domain_error(error: Exception, location: Location) -> DomainError:
    """Return the domain error for an error of the driver."""
    if isinstance(error, boto.ClientError):
        return _answer(error, location)
    detail, fix = _failure(error)
    return StoreUnavailable(detail.format(endpoint=location.endpoint), fix)


def _failure(error: Exception) -> tuple[str, str]:
    for kinds, detail, fix in _FAILURES:
        if isinstance(error, kinds):
            if isinstance(error, boto.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
                return _NO_TLS
            return detail, fix
    detail = f"The request to {{endpoint}} could not be made ({type(error).__name__})."
    return detail, f"Check the settings that begin with {_GROUP}, and the service's log."


def _answer(error: boto.ClientError, location: Location) -> DomainError:
    code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _NAMES:
        return InvalidKey(
            f"The object store cannot hold the name {location.key!r}.", "Choose a shorter key of plain characters."
        )
    if known := _CODES.get(code):
        detail, fix = known
        values = {"endpoint": location.endpoint, "bucket": location.bucket, "key": location.key}
        return StoreUnavailable(detail.format(**values), fix)
    if status == 400 and location.endpoint.startswith("http://") and code == "400":
        fix = f"If it uses TLS, begin {_GROUP}ENDPOINT with https://."
        return StoreUnavailable(f"{location.endpoint} did not understand the request.", fix)
    if status == 507:
        return StoreUnavailable(f"The object store at {location.endpoint} is full.", _ROOM_FIX)
    detail = f"The object store at {location.endpoint} answered {error.operation_name} with {status} {code}."
    return StoreUnavailable(detail, _BUSY_FIX if status >= 500 else "Check the object store's log.")
