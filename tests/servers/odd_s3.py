"""A small S3 server that does what some servers do and none of the others here does. It checks no signature."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.servers.s3 import Server

MODIFIED = "2026-01-02T03:04:05.000Z"


@dataclass
class Oddities:
    """What it does. Objects by bucket and key."""

    md5: bool = True  # the ETag is the MD5 of the content
    conditions: bool = True  # If-None-Match is honoured
    first_page_again: bool = False  # whatever the token and start
    same_token: bool = False  # the pages have no end
    objects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    shown: str = ""  # the last key of the last page
    damaged: set[str] = field(default_factory=set)  # keys of which other bytes are sent than were stored
    requests: list[str] = field(default_factory=list)

    def etag(self, body: bytes) -> str:
        digest = hashlib.md5(body).hexdigest()  # noqa: S324 # what S3 does
        return f'"{digest if self.md5 else hashlib.sha256(body).hexdigest()[:32]}"'


@contextmanager
def running(oddities: Oddities) -> Iterator[Server]:
    """The server, for as long as the block lasts."""
    handler = type("Handler", (_Handler,), {"odd": oddities})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{server.server_port}", "any", "keys")
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    odd: Oddities
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # of the base class
        """Say nothing."""

    def parse(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        self.odd.requests.append(f"{self.command} {self.path}")
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        return bucket, key, {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        bucket, key, _ = self.parse()
        there = self.odd.objects.setdefault(bucket, {})
        if not key:
            return self.answer(200)
        if self.odd.conditions and self.headers.get("If-None-Match") == "*" and key in there:
            return self.refuse(412, "PreconditionFailed")
        there[key] = body
        return self.answer(200, ETag=self.odd.etag(body))

    def do_DELETE(self) -> None:
        bucket, key, _ = self.parse()
        self.odd.objects[bucket].pop(key, None)
        self.answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        bucket, key, query = self.parse()
        there = self.odd.objects.get(bucket)
        if there is None:
            return self.refuse(404, "NoSuchBucket")
        if not key:
            if "list-type" not in query:
                return self.refuse(501, "NotImplemented")
            return self.list_keys(there, query)
        if key not in there:
            return self.refuse(404, "NoSuchKey")
        body = there[key]
        headers = {"ETag": self.odd.etag(body), "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
        if key in self.odd.damaged:
            body = bytes(255 - byte for byte in body)
        if not self.headers.get("Range"):
            return self.answer(200, body, **headers)
        start, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        span = f"bytes {start}-{end}/{len(body)}"
        return self.answer(206, body[start : end + 1], **headers, **{"Content-Range": span})

    def list_keys(self, there: dict[str, bytes], query: dict[str, str]) -> None:
        token = query.get("continuation-token", "")
        after = unquote(token) or query.get("start-after", "")
        if self.odd.first_page_again:
            after = ""
        elif self.odd.same_token and token:
            after = self.odd.shown
        keys = sorted(key for key in there if key > after and key.startswith(query.get("prefix", "")))
        shown = keys[: int(query.get("max-keys", 1000))]
        self.odd.shown = shown[-1] if shown else ""
        next_token = "same" if self.odd.same_token else quote(shown[-1]) if shown else ""
        more = len(keys) > len(shown)
        entries = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>{len(there[key])}</Size>"
            f"<ETag>{self.odd.etag(there[key])}</ETag><LastModified>{MODIFIED}</LastModified></Contents>"
            for key in shown
        )
        tail = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{next_token}</NextContinuationToken>"
        ending = tail if more else "<IsTruncated>false</IsTruncated>"
        document = f"<ListBucketResult><EncodingType>url</EncodingType>{entries}{ending}</ListBucketResult>"
        self.answer(200, document.encode(), **{"Content-Type": "application/xml"})
