"""What a refusal of the S3 server, or a failure to reach it, means to somebody who has to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import ClientError as HttpError
from botocore import exceptions as boto

from app.errors import DomainError, InvalidKey, StoreUnavailable

_GROUP = "SPATIAL_ETL_OBJECTS__"
_KEYS = f"{_GROUP}ACCESS_KEY and {_GROUP}SECRET_KEY"
_REGION_FIX = f"Set {_GROUP}REGION to the region of the buckets."
_ROOM_FIX = "Free space at the object store, or raise its quota."
_BUSY_FIX = "Nothing was changed; try again, and look at the object store's log if it stays."
_RIGHTS_FIX = (
    "Give the owner of {access_key} the rights s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, "
    "s3:AbortMultipartUpload, s3:ListBucketMultipartUploads and s3:ListMultipartUploadParts on the bucket."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call went, for messages. endpoint: as the client uses it, or `AWS`; bucket: with its prefix."""

    endpoint: str
    bucket: str
    key: str = ""


# S3 code → what it means, and what to do. Nothing in here repeats a key of the settings.
_CODES: dict[str, tuple[str, str]] = {
    "NoSuchBucket": (
        "There is no bucket {bucket!r} at {endpoint}.",
        f"Make it, or set {_GROUP}CREATE_BUCKETS=true and start again; {_GROUP}BUCKET_PREFIX comes before its name.",
    ),
    "InvalidAccessKeyId": (
        "The object store at {endpoint} does not know the access key.",
        f"Set {_GROUP}ACCESS_KEY to one that it knows.",
    ),
    "SignatureDoesNotMatch": (
        "The object store at {endpoint} refused the signature: the secret key is not that of the access key.",
        f"Set {_GROUP}SECRET_KEY to the secret of {_GROUP}ACCESS_KEY.",
    ),
    "RequestTimeTooSkewed": (
        "The clock of this machine is too far from that of the object store at {endpoint}.",
        "Set both clocks (NTP); no setting of this service helps.",
    ),
    "AccessDenied": (
        "The object store at {endpoint} denies access to the bucket {bucket!r}.",
        _RIGHTS_FIX.format(access_key=f"{_GROUP}ACCESS_KEY"),
    ),
    "ExpiredToken": ("The credentials for {endpoint} have expired.", f"Renew them: {_KEYS}."),
    "InvalidBucketName": (
        "The object store at {endpoint} takes no bucket of the name {bucket!r}.",
        f"Set {_GROUP}BUCKET_PREFIX to lower-case letters, digits and hyphens.",
    ),
    "BucketAlreadyExists": (
        "Somebody else has a bucket {bucket!r} at {endpoint}.",
        f"Set {_GROUP}BUCKET_PREFIX to a prefix of your own.",
    ),
    "AuthorizationHeaderMalformed": ("The buckets at {endpoint} are in another region.", _REGION_FIX),
    "PermanentRedirect": ("The bucket {bucket!r} is at another endpoint than {endpoint}.", _REGION_FIX),
    "IllegalLocationConstraintException": ("{endpoint} makes no bucket in this region.", _REGION_FIX),
    "InvalidLocationConstraint": ("{endpoint} makes no bucket in this region.", _REGION_FIX),
    "QuotaExceeded": ("The quota at {endpoint} is used up.", _ROOM_FIX),
    "XMinioStorageFull": ("The object store at {endpoint} is full.", _ROOM_FIX),
    "XMinioAdminBucketQuotaExceeded": ("The quota of the bucket {bucket!r} is used up.", _ROOM_FIX),
    "InvalidRange": ("The object {key!r} changed while it was read.", "Try again when nobody overwrites it."),
}
_CODES["AllAccessDisabled"] = _CODES["403"] = _CODES["AccessDenied"]
_CODES["InvalidToken"] = _CODES["TokenRefreshRequired"] = _CODES["ExpiredToken"]
_NAMES = {"KeyTooLongError", "XMinioInvalidObjectName", "InvalidObjectName"}

# Everything that the client raises for the network's sake; those of the body come from aiohttp itself.
CONNECTION_ERRORS = (boto.HTTPClientError, boto.ConnectionError, HttpError, TimeoutError, ConnectionError)


# The first that fits.
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
        CONNECTION_ERRORS,
        "The object store at {endpoint} broke the connection off.",
        f"Look at its log; if it speaks TLS, begin {_GROUP}ENDPOINT with https://.",
    ),
)
_NO_TLS = (
    "{endpoint} does not speak TLS.",
    f"Begin {_GROUP}ENDPOINT with http://, or let the server speak TLS.",
)


def code_of(error: BaseException | None) -> str:
    """The S3 code; the HTTP status where there was no body; empty for other errors."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Errors of the driver leave as domain errors."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, *CONNECTION_ERRORS) as error:
        raise refusal(error, place) from error


def refusal(error: Exception, place: Place) -> DomainError:
    """The domain error of what the driver raised."""
    if isinstance(error, boto.ClientError):
        return _answer(error, place)
    detail, fix = _failure(error)
    return StoreUnavailable(detail.format(endpoint=place.endpoint), fix)


def _failure(error: Exception) -> tuple[str, str]:
    for kinds, detail, fix in _FAILURES:
        if isinstance(error, kinds):
            if isinstance(error, boto.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
                return _NO_TLS
            return detail, fix
    detail = f"The request to {{endpoint}} could not be made ({type(error).__name__})."
    return detail, f"Look at the settings that begin with {_GROUP}, and at the service's log."


def _answer(error: boto.ClientError, place: Place) -> DomainError:
    code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _NAMES:
        return InvalidKey(f"The object store cannot hold the name {place.key!r}.", "Choose a shorter, plainer key.")
    if known := _CODES.get(code):
        detail, fix = known
        values = {"endpoint": place.endpoint, "bucket": place.bucket, "key": place.key}
        return StoreUnavailable(detail.format(**values), fix)
    if status == 400 and place.endpoint.startswith("http://") and code == "400":
        fix = f"If it speaks TLS, begin {_GROUP}ENDPOINT with https://."
        return StoreUnavailable(f"{place.endpoint} did not understand the request.", fix)
    if status == 507:
        return StoreUnavailable(f"The object store at {place.endpoint} is full.", _ROOM_FIX)
    detail = f"The object store at {place.endpoint} answered {error.operation_name} with {status} {code}."
    return StoreUnavailable(detail, _BUSY_FIX if status >= 500 else "Look at the object store's log.")
