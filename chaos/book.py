"""What the clients of the campaign know: what was accepted, what must become of it, and which answers were wrong."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Entry:
    """One manifest that a 2xx said was accepted. error: its runs fail with that code (`*`: with any).

    may_cancel: a client asked for its end. runs_asked: how many runs there may be at most, with answers that were lost.
    sent_by: `api`, or `drop` for a file put under `manifests/`: no answer gave its run_id.
    """

    batch_id: str
    document: Json
    run_id: str = ""
    rows: int | None = None
    error: str = ""
    sent_by: str = "api"
    may_cancel: bool = False
    runs_asked: int = 1


@dataclass
class Book:
    """Shared by the threads of the load. bad_drops: keys of dropped manifests that must be kept as rejected."""

    entries: dict[str, Entry] = field(default_factory=dict)
    bad_drops: list[str] = field(default_factory=list)
    uploads: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    stories: Counter[str] = field(default_factory=Counter)
    over: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entry: Entry) -> None:
        with self.lock:
            self.entries[entry.batch_id] = entry

    def complain(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)

    def any_entry(self, chance: random.Random, *, over: bool = False) -> Entry | None:
        """over: only of those whose run was seen to be over."""
        with self.lock:
            names = [each for each in self.entries if each in self.over] if over else list(self.entries)
            return self.entries[chance.choice(names)] if names else None
