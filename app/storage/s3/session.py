"""Sessions of aioboto3 that share what botocore reads from disk, which takes long."""

from __future__ import annotations

import functools
import importlib

import aioboto3
from aiobotocore.session import get_session
from botocore.loaders import Loader


@functools.cache
def _service_models() -> Loader:
    """The service models that botocore has read, shared by all clients of a process and its child processes."""
    loader: Loader = get_session().get_component("data_loader")
    return loader


def preload_service_models() -> None:
    """Read the service models and late imports before a process forks, so that its children need not."""
    importlib.import_module("aioboto3.s3.inject")
    for kind in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
        _service_models().load_service_model("s3", kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        _service_models().load_data(name)


def new_session() -> aioboto3.Session:
    """Return a session that shares the service models."""
    core = get_session()
    core.register_component("data_loader", _service_models())
    return aioboto3.Session(botocore_session=core)
