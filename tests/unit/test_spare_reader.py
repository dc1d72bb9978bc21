"""The reader that is forked ahead of its job, in a real reader server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.jobs.readers import ReaderServer
from app.models.formats import FORMATS
from app.pipelines.common.gdal_options import ENVIRONMENT
from app.reader import BUSY, SPARE
from tests.service import wait_for


@pytest.fixture
def server() -> Iterator[ReaderServer]:
    started = ReaderServer(ENVIRONMENT, ("text", "warning"))
    yield started
    started._control.close()
    started._process.wait(30)


def named(server: ReaderServer, name: str) -> list[psutil.Process]:
    return [each for each in psutil.Process(server._process.pid).children() if each.name() == name]


def spare_of(server: ReaderServer) -> psutil.Process:
    (found,) = wait_for(lambda: named(server, SPARE), "a spare reader")
    return found


def test_a_job_is_given_the_reader_that_was_forked_ahead(server: ReaderServer) -> None:
    first = spare_of(server)
    with server.open_reader(1):
        wait_for(lambda: named(server, BUSY) == [first], "the spare reader to have the job")
        wait_for(lambda: named(server, SPARE), "the next spare reader")
    wait_for(lambda: named(server, BUSY) == [], "the reader to end with its job")
    assert spare_of(server).pid != first.pid


def test_a_spare_reader_has_its_libraries_and_one_thread(server: ReaderServer) -> None:
    """A thread that is there before the sandbox is entered would not be held by it."""
    spare = spare_of(server)
    assert "libgdal" in Path(f"/proc/{spare.pid}/maps").read_text()
    assert spare.num_threads() == 1


@pytest.mark.parametrize("seen", [True, False])
def test_without_its_spare_reader_a_job_gets_a_new_one(server: ReaderServer, seen: bool) -> None:
    """Also where the server has not seen yet that it is gone."""
    spare, process = spare_of(server), psutil.Process(server._process.pid)
    if not seen:
        process.suspend()
    spare.kill()
    wait_for(lambda: not spare.is_running() or (not seen and spare.status() == psutil.STATUS_ZOMBIE), "its end")
    with server.open_reader(1) as reader:
        process.resume()
        (busy,) = wait_for(lambda: named(server, BUSY), "another reader")
        assert busy.pid != spare.pid
        busy.kill()
        assert reader.wait().status == signal.SIGKILL


@pytest.mark.parametrize(
    ("line", "had_no_memory"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("cannot allocate memory for thread-local data: ABORT", True),
        ("terminate called without an active exception", False),
    ],
)
def test_the_last_words_of_a_reader_say_whether_it_had_no_memory(
    server: ReaderServer, line: str, had_no_memory: bool
) -> None:
    with server.open_reader(1) as reader:
        (busy,) = wait_for(lambda: named(server, BUSY), "the reader")
        Path(f"/proc/{busy.pid}/fd/2").write_text(f"{line}\n")
        busy.send_signal(signal.SIGABRT)
        end = reader.wait()
    assert (end.status & 0x7F, end.had_no_memory) == (signal.SIGABRT, had_no_memory)


def test_all_that_happens_to_a_reader_at_once_leaves_the_server_alive(server: ReaderServer) -> None:
    """It writes, ends, and its job lets it go, all before the server looks."""
    process = psutil.Process(server._process.pid)
    for _ in range(5):
        reader = server.open_reader(1)
        (busy,) = wait_for(lambda: named(server, BUSY), "the reader")
        spare_of(server)
        process.suspend()
        reader.channels[0]._end.sendall(b"x" * 12)  # no message: its error goes to the log, and it ends
        wait_for(lambda busy=busy: busy.status() == psutil.STATUS_ZOMBIE, "its end")
        with reader:
            pass
        process.resume()
        wait_for(lambda: named(server, BUSY) == [], "the server to see it")
    assert server._process.poll() is None


def test_without_a_worker_no_reader_is_left(server: ReaderServer) -> None:
    spare = spare_of(server)
    server._process.kill()
    psutil.wait_procs([spare], timeout=30)
    assert not spare.is_running()


def test_no_reader_imports_what_its_server_could_have() -> None:
    """A reader may not keep compiled modules, so each of its jobs would compile them again."""
    code = "from app.reader import import_readers; import_readers(); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {fmt.reader for fmt in FORMATS} <= set(loaded)
