"""A relay between an object store and the webhook: Ceph's gateway sends no bearer token, so this adds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
from botocore.config import Config

from tests.servers.s3 import Server

TOKEN = "t0ken"  # noqa: S105 # of the tests' own service


@contextmanager
def relay() -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Its URL; where to send on to, once that is known; the receipts."""
    target: list[str] = []
    receipts: list[dict[str, Any]] = []

    class Relay(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = httpx.post(
                f"{target[0]}/webhooks/minio", content=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
            )
            receipts.append(answer.json())
            self.send_response(answer.status_code)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", target, receipts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sync_client(server: Server, service: str = "s3") -> Any:
    """A client of the server's own API, past the service."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="default",
        config=Config(request_checksum_calculation="when_required"),
    )


def announce(server: Server, bucket: str, url: str) -> None:
    """Have the server tell `url` of everything that is put into the bucket."""
    topic = sync_client(server, "sns").create_topic(Name=f"{bucket}-t", Attributes={"push-endpoint": url})
    told = {"Id": "n", "TopicArn": topic["TopicArn"], "Events": ["s3:ObjectCreated:*"]}
    sync_client(server).put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [told]}
    )


@contextmanager
def emptied(client: Any, *buckets: str) -> Iterator[None]:
    """Remove the buckets afterwards, with all that is in them: others use the server too."""
    try:
        yield
    finally:
        for bucket in buckets:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", []):
                    client.delete_object(Bucket=bucket, Key=entry["Key"])
            client.delete_bucket(Bucket=bucket)
