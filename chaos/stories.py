"""The load: what clients do, as a mixture of small scripts (stories) that are repeated."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import traceback
from collections.abc import Callable
from typing import Any

from chaos.book import Book, Entry
from chaos.client import Answers, Client, GivenUpError
from chaos.sources import MISSING, Source, join, manifest, sources
from chaos.system import TOKEN

SHARED = 4
_UPLOAD_BYTES = 300_000
# The share of posted runs that a client waits for; and how long.
_WAITS_FOR, _WAIT_SECONDS = 0.7, 30.0
_BUCKETS = "chaos-"

Story = Callable[["Teller"], None]


class Teller:
    """One client with a random generator of its own."""

    def __init__(self, name: str, client: Client, book: Book, chance: random.Random, files: tuple[Source, ...]) -> None:
        self.name, self.client, self.book, self.chance, self.files = name, client, book, chance, files
        self._number = 0

    def new_name(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self.name}-{self._number}"

    def source(self, *kinds: str) -> Source:
        return self.chance.choice([each for each in self.files if each.kind in kinds and not each.error])

    def post(self, document: Any, **known: Any) -> Entry | None:
        """Submit it as something that must be accepted."""
        response = self.client.send("POST", "/manifests", json=document)
        if response.status_code not in (200, 202):
            self.book.complain(f"{document['batch_id']} was not accepted: {response.status_code} {response.text[:300]}")
            return None
        entry = Entry(document["batch_id"], document, response.json()["run_id"], **known)
        self.book.add(entry)
        return entry

    def carry(self, document: Any, **known: Any) -> None:
        entry = self.post(document, **known)
        if entry is not None and self.chance.random() < _WAITS_FOR:
            self.wait_for(entry)

    def wait_for(self, entry: Entry) -> None:
        if self.client.run_over(entry.run_id, _WAIT_SECONDS) is not None:
            with self.book.lock:
                self.book.over.add(entry.batch_id)

    def expect(self, what: str, response: Any, *statuses: int) -> bool:
        if response.status_code in statuses:
            return True
        self.book.complain(f"{what}: {response.status_code} instead of {statuses}: {response.text[:300]}")
        return False


def ingest(teller: Teller) -> None:
    source, name = teller.source("vector", "raster", "tabular"), teller.new_name("new")
    teller.carry(manifest(name, source, name), rows=source.rows)


def ingest_shared(teller: Teller) -> None:
    """A further version of a dataset that others write too."""
    source, name = teller.source("vector"), teller.new_name("more")
    dataset = f"shared-{teller.chance.randrange(SHARED)}"
    teller.carry(manifest(name, source, dataset, new_version="always"), rows=source.rows)


def ingest_unreadable(teller: Teller) -> None:
    source, name = (
        teller.chance.choice([MISSING, *(each for each in teller.files if each.error)]),
        teller.new_name("bad"),
    )
    teller.carry(manifest(name, source, name), error=source.error)


def ingest_join(teller: Teller) -> None:
    name = teller.new_name("join")
    teller.carry(join(name, name, "base-points", "base-keyed"), rows=100)


def refused(teller: Teller) -> None:
    name = teller.new_name("refused")
    document = manifest(name, teller.source("vector"), name)
    document["files"][0]["fromat"] = document["files"][0].pop("format")
    teller.expect("a manifest with a wrong field", teller.client.send("POST", "/manifests", json=document), 422)


def repeat(teller: Teller) -> None:
    entry = teller.book.any_entry(teller.chance)
    if entry is None or entry.sent_by != "api":
        return
    response = teller.client.send("POST", "/manifests", json=entry.document)
    if teller.expect(f"{entry.batch_id} again", response, 200) and response.json()["batch_id"] != entry.batch_id:
        teller.book.complain(f"{entry.batch_id} again gave {response.json()['batch_id']}")


def other_content(teller: Teller) -> None:
    entry = teller.book.any_entry(teller.chance)
    if entry is None or entry.sent_by != "api":
        return
    changed = json.loads(json.dumps(entry.document))
    changed["metadata"]["title"] = "Something else"
    teller.expect(f"{entry.batch_id} with other content", teller.client.send("POST", "/manifests", json=changed), 409)


def cancel(teller: Teller) -> None:
    source, name = teller.source("vector"), teller.new_name("stopped")
    entry = teller.post(manifest(name, source, name), rows=source.rows, may_cancel=True)
    if entry is not None:
        threading.Event().wait(teller.chance.uniform(0, 2))
        response = teller.client.send("POST", f"/runs/{entry.run_id}/cancel")
        teller.expect(f"cancel of {entry.batch_id}", response, 200, 202, 409)
        teller.wait_for(entry)


def withdraw(teller: Teller) -> None:
    source, name = teller.source("vector"), teller.new_name("withdrawn")
    entry = teller.post(manifest(name, source, name), rows=source.rows, may_cancel=True)
    if entry is not None:
        response = teller.client.send("DELETE", f"/manifests/{entry.batch_id}")
        teller.expect(f"withdrawal of {entry.batch_id}", response, 200, 409)


def rerun(teller: Teller) -> None:
    entry = teller.book.any_entry(teller.chance, over=True)
    if entry is None:
        return
    # Counted before sending: each request may take effect.
    entry.runs_asked += 1
    response = teller.client.send("POST", f"/manifests/{entry.batch_id}/rerun")
    entry.runs_asked += teller.client.tries - 1
    teller.expect(f"rerun of {entry.batch_id}", response, 202, 409)


def plan(teller: Teller) -> None:
    source = teller.source("vector", "tabular")
    teller.client.once("POST", "/manifests/plan", json=manifest(teller.new_name("plan"), source, "planned"))


def upload(teller: Teller) -> None:
    key, body = f"up/{teller.new_name('file')}", teller.chance.randbytes(_UPLOAD_BYTES)
    teller.expect(f"upload of {key}", teller.client.send("PUT", f"/landing/{key}", content=body), 200, 201)
    response = teller.client.send("GET", f"/landing/{key}")
    if teller.expect(f"download of {key}", response, 200) and response.content != body:
        teller.book.complain(f"{key} came back with other bytes")
    if teller.chance.random() < 0.5:
        teller.expect(f"removal of {key}", teller.client.send("DELETE", f"/landing/{key}"), 204, 404)
    else:
        with teller.book.lock:
            teller.book.uploads[key] = hashlib.sha256(body).hexdigest()


def drop(teller: Teller) -> None:
    """A manifest as an object: a good one, or one that must be kept as rejected."""
    source, name = teller.source("vector", "tabular"), teller.new_name("dropped")
    document = manifest(name, source, name)
    good = teller.chance.random() < 0.7
    if not good:
        document["intent"] = "ingest_nothing_like_this!"
    key = f"manifests/{name}.json"
    response = teller.client.send("PUT", f"/landing/{key}", json=document)
    if not teller.expect(f"upload of {key}", response, 200, 201):
        return
    if good:
        teller.book.add(Entry(name, document, rows=source.rows, sent_by="drop"))
    else:
        with teller.book.lock:
            teller.book.bad_drops.append(key)
    if teller.chance.random() < 0.5:
        for _ in range(2):
            announce(teller, key)


def announce(teller: Teller, key: str) -> None:
    """The event that MinIO would send."""
    record = {
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": f"{_BUCKETS}landing-zone"}, "object": {"key": key, "eTag": "0", "sequencer": "1"}},
    }
    event = {"EventName": "s3:ObjectCreated:Put", "Key": f"{_BUCKETS}landing-zone/{key}", "Records": [record]}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    teller.expect(f"event of {key}", teller.client.send("POST", "/webhooks/minio", json=event, headers=headers), 200)


def read(teller: Teller) -> None:
    """Read meanwhile: lists, and a version with its bytes."""
    teller.expect("GET /runs", teller.client.send("GET", "/runs", params={"limit": 20}), 200)
    response = teller.client.send("GET", "/assets", params={"limit": 50})
    if not teller.expect("GET /assets", response, 200) or not response.json()["items"]:
        return
    asset = teller.chance.choice(response.json()["items"])
    name = f"/assets/{asset['dataset_id']}/v{asset['version']}"
    teller.expect(f"{name}/lineage", teller.client.send("GET", f"{name}/lineage"), 200)
    response = teller.client.send("GET", f"{name}/download", follow_redirects=True)
    if teller.expect(f"{name}/download", response, 200):
        found = f"sha256:{hashlib.sha256(response.content).hexdigest()}"
        if found != asset["content_hash"]:
            teller.book.complain(f"{name} came with {found}, the catalogue says {asset['content_hash']}")


STORIES: dict[Story, float] = {
    ingest: 25, ingest_shared: 15, ingest_unreadable: 6, ingest_join: 8, refused: 4, repeat: 5, other_content: 4,
    cancel: 7, withdraw: 4, rerun: 6, plan: 4, upload: 4, drop: 8, read: 6,
}  # fmt: skip


class Load:
    """Threads that repeat stories, from start() to finish()."""

    def __init__(self, url: str, seed: int, tellers: int, book: Book, answers: Answers) -> None:
        self._url, self._seed, self._tellers, self._book, self._answers = url, seed, tellers, book, answers
        self._over = threading.Event()
        self._files = sources()
        self._threads: list[threading.Thread] = []

    def prepare(self) -> None:
        """Before any fault: upload the files, and make the two datasets that are joined."""
        teller = self._teller("base")
        for source in self._files:
            if source.key != MISSING.key:
                teller.expect(
                    source.key, teller.client.send("PUT", f"/landing/{source.key}", content=source.body), 200, 201
                )
        by_key = {source.key: source for source in self._files}
        for name, key in (("base-points", "in/points.geojson"), ("base-keyed", "in/keyed.csv")):
            entry = teller.post(manifest(name, by_key[key], name), rows=by_key[key].rows)
            if entry is not None:
                teller.wait_for(entry)

    def start(self) -> None:
        for number in range(self._tellers):
            thread = threading.Thread(target=self._tell, args=(f"{self._seed}-{number}",), daemon=True)
            thread.start()
            self._threads.append(thread)

    def finish(self) -> None:
        """Start no new stories; wait for the current ones."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _teller(self, name: str) -> Teller:
        client = Client(self._url, self._answers, self._over)
        return Teller(name, client, self._book, random.Random(name), self._files)

    def _tell(self, name: str) -> None:
        teller = self._teller(name)
        while not self._over.is_set():
            story = teller.chance.choices(list(STORIES), list(STORIES.values()))[0]
            with self._book.lock:
                self._book.stories[story.__name__] += 1
            try:
                story(teller)
            except GivenUpError as err:
                self._book.complain(str(err))
            except Exception:
                self._book.complain(f"{story.__name__}: {traceback.format_exc()}")
            self._over.wait(teller.chance.uniform(0, 0.3))
        teller.client.close()
