"""Workers, clients, schedulers, disks and data that fail while a call runs on a cluster.

The two calls have all kinds of tasks. What they write must be, bit for bit, what they write without
faults, which is what one machine computes. Workers note what they begin, so that what was finished
is seen not to be done again.
"""

import errno
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import anndata
import h5py
import numpy as np
import pdex
import polars as pl
import pytest
from pdex._cluster import pool

from . import conftest, disks, faults, processes, screens
from .screens import PERFORM, again, attempts, begun, content, here, hidden, parts, sink, tabulate

CALLS = pytest.mark.parametrize("call", [sink, tabulate])
REPLACE, RENAME, RMTREE = "pathlib.Path.replace", "pathlib.Path.rename", "shutil.rmtree"
#: Each task takes a while.
SLOW = faults.fault(PERFORM, "1+", "300ms")
#: To Dask, a task that waits behind one that kills its worker is as suspicious.
MANY = {"distributed.scheduler.allowed-failures": 20}
COUNTS = ".out.work/counts/*.counts"


@pytest.fixture
def notes(tmp_path):
    """The file in which workers note what they begin."""
    return tmp_path / "notes"


@pytest.fixture
def record(tmp_path):
    """The folder of notes of faults that happened."""
    return tmp_path / "record"


@pytest.fixture
def output(folder):
    return folder / "out"


@pytest.fixture(scope="module")
def noting(tmp_path_factory):
    conftest.needs_processes()
    folder = tmp_path_factory.mktemp("noting")
    environment = faults.notes(screens.BEGUN, folder / "notes")
    with processes.Cluster(folder, environment=environment) as cluster:
        yield cluster, folder / "notes"


@pytest.fixture
def watched(noting):
    """A cluster, for tests that leave its workers alive, and the file in which they note."""
    noting[1].write_text("")
    return noting


def test_calls_without_faults_are_those_of_one_machine(screen):
    one = pdex.de(screen.files, "target", fdr="all")
    assert one.height == 4 * 24
    assert pl.read_parquet(screen.folder / "sink/*.parquet").equals(one)
    assert pdex.de(screen.folder / "tabulate", "target", fdr="all").equals(one)
    assert [screen.tasks(call) for call in (sink, tabulate)] == [10, 6]


# --- a worker that was taken for dead goes on ---------------------------------------------------

#: Audit events of what changes files, opens them or looks what there is.
OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.scandir"}


class Twin:
    """A task in a thread that stops at its `stop`-th operation on files."""

    current = threading.local()

    def __init__(self, call, stop):
        self.call, self.left, self.error = call, stop, None
        self.stopped, self.woken = threading.Event(), threading.Event()
        #: Called at each operation after it was woken.
        self.look = lambda: None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.stopped.wait()

    def run(self):
        self.current.twin = self
        try:
            self.call.function(self.call.task, pool._resources(self.call))
        except Exception as error:
            self.error = error
        finally:
            self.current.twin = None
            self.stopped.set()

    def operation(self):
        self.left -= 1
        if self.left == 0:
            self.stopped.set()
            self.woken.wait()
        elif self.left < 0:
            self.look()

    def wake(self):
        """Let it go on, and wait for its end."""
        self.woken.set()
        self.thread.join()

    @classmethod
    def audit(cls, event, args):
        if event in OPERATIONS and (twin := getattr(cls.current, "twin", None)) is not None:
            cls.current.twin = None
            try:
                twin.operation()
            finally:
                cls.current.twin = twin


@pytest.fixture(scope="module")
def audited():
    # There is no way to remove it.
    sys.addaudithook(Twin.audit)


@CALLS
def test_each_task_stops_at_each_operation_and_goes_on(audited, screen, output, monkeypatch, call):
    """When another has done it: step by step at once, or when the call is over."""
    perform, stops = pool.perform, [-1]

    def twice(own):
        twin = Twin(own, len(stops) - 1)
        outcome = perform(own)
        there, lost = parts(output), set()
        twin.look = lambda: lost.update(there - parts(output))
        twins.append(twin)
        if len(twins) % 2:
            twin.wake()
            assert twin.error is None
            assert lost == set()
        return outcome

    while stops[-1]:
        twins = []
        stops.append(0)
        with monkeypatch.context() as patch:
            patch.setattr(pool, "perform", twice)
            here(call, screen.files, output)
        for twin in twins:
            twin.wake()
        screen.check(call, output)
        stops[-1] = sum(twin.left <= 0 for twin in twins)
    # In the first round each task has stopped, in the last none had so many operations.
    assert stops[1] == screen.tasks(call)
    assert len(stops) > 10


def test_a_task_of_another_call_goes_on(audited, screen, output, monkeypatch):
    """Its client has died, and the next call has the same output and other genes."""
    twins = []

    def stop(own):
        twins.append(Twin(own, 1))
        raise OSError("lost")

    def wake(own):
        twins[0].wake()
        raise OSError("lost, too")

    for fails, options in ((stop, {}), (wake, {"genes": [f"g{n}" for n in range(20)]})):
        monkeypatch.setattr(pool, "perform", fails)
        with pytest.raises(OSError, match="lost"):
            here(tabulate, screen.files, output, **options)
    monkeypatch.undo()
    assert len(parts(output)) == 1
    here(tabulate, screen.files, output)
    screen.check(tabulate, output)


def test_workers_freeze_and_wake(start_cluster, screen, output, tmp_path):
    """One when others have counted in its place, two when the call is over."""
    records = [tmp_path / kind for kind in ("count", "test", "collect")]
    stops = [(REPLACE, "counts/"), (REPLACE, "shares-"), (REPLACE, "parts-")]
    # The cluster ends first: with it the call.
    with ThreadPoolExecutor(1) as thread, start_cluster(0, ttl=2) as cluster:
        cluster.connect()
        for (function, where), record in zip(stops, records, strict=True):
            cluster.start_worker(faults.fault(function, 1, "stop", record, most=1, on=where))
        cluster.ready()
        counting, testing, collecting = frozen = list(cluster.workers)
        running = thread.submit(sink, screen.files, output)
        processes.until(lambda: testing.stopped or running.done())
        counting.resume()
        processes.until(lambda: collecting.stopped or running.done())
        cluster.start_worker()
        cluster.ready()
        running.result()
        assert [faults.happened(record) for record in records] == [[one.pid] for one in frozen]
        assert testing.stopped
        assert collecting.stopped
        screen.check(sink, output)
        testing.resume()
        collecting.resume()
        processes.until(lambda: not any(worker.alive for worker in frozen))
        screen.check(sink, output)


def test_a_worker_freezes_before_it_is_asked(start_cluster, screen, output):
    with start_cluster(2, ttl=2) as cluster:
        cluster.connect()
        cluster.workers[0].stop()
        tabulate(screen.files, output)
        assert list(cluster.seen()) == [cluster.workers[1].name]
    screen.check(tabulate, output)


# --- workers die --------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["kill", "kill-after"])
def test_each_task_kills_its_worker_once(start_cluster, screen, output, notes, record, action):
    """Before it does anything, or when all is done but nobody knows."""
    environment = faults.fault(PERFORM, "1+", action, record, once=True)
    environment |= faults.notes(screens.BEGUN, notes)
    with start_cluster(nanny=True, environment=environment, settings=MANY) as cluster:
        cluster.connect()
        sink(screen.files, output)
    screen.check(sink, output)
    assert len(faults.happened(record)) == screen.tasks(sink)
    made = begun(notes, output)
    assert set(made) >= screen.parts[sink]
    assert again(made) == set()


@pytest.mark.parametrize(
    ("call", "function", "least"), [(sink, REPLACE, 10), (tabulate, RENAME, 2)]
)
def test_workers_die_between_write_and_rename(
    start_cluster, screen, output, notes, record, call, function, least
):
    """Once for each file or table, when it is whole but has no name yet."""
    environment = faults.fault(function, "1+", "kill", record, once=True)
    environment |= faults.notes(screens.BEGUN, notes)
    with start_cluster(nanny=True, environment=environment, settings=MANY) as cluster:
        cluster.connect()
        call(screen.files, output)
    screen.check(call, output)
    made = begun(notes, output)
    # Tables are folders, which Path.rename names.
    named = {name for name in made if name.endswith(".tables") == (function is RENAME)}
    assert len(faults.happened(record)) == len(named) >= least
    assert all(made[name] > 1 for name in named)
    assert all(made[name] == 1 for name in set(made) - named)


@pytest.mark.parametrize(
    ("call", "task", "said"),
    [
        (sink, screens.part("1.h5ad", (60, 120)), "counting cells 60 to 120 of {}"),
        (tabulate, "number=2, n=2", "merging block 2 of 2 of the genes"),
    ],
)
def test_a_task_that_always_kills_its_worker(
    start_cluster, screen, output, notes, record, call, task, said
):
    older = screen.older(call, output)
    environment = faults.fault(PERFORM, "1+", "kill", record, on=task)
    environment |= faults.notes(screens.BEGUN, notes)
    with start_cluster(nanny=True, environment=environment) as cluster:
        cluster.connect()
        with pytest.raises(OSError, match="each worker that tried was lost") as caught:
            call(screen.files, output)
    # After tasks that may have waited behind it.
    assert said.format(screen.files[1]) in str(caught.value).partition(":")[0]
    # Dask gives up at the fourth.
    assert len(faults.happened(record)) == 4
    assert content(output) == older
    assert parts(output)
    assert not list(hidden(output).glob("*/result.json"))
    assert not list(hidden(output).glob("whole-*"))
    here(call, screen.files, output)
    screen.check(call, output)


@pytest.mark.parametrize(("call", "grace"), [(sink, None), (tabulate, 5)])
def test_each_worker_in_turn_is_replaced(
    start_cluster, screen, output, notes, monkeypatch, call, grace
):
    """By SIGKILL, or by SIGTERM as a machine is pre-empted, while it has a task."""
    run, stages, replaced = pool.Pool.run, [], threading.Event()
    with start_cluster(environment=SLOW | faults.notes(screens.BEGUN, notes)) as cluster:
        cluster.connect()
        first, second = cluster.workers
        old = {first.pid, second.pid}

        def replace():
            for worker in (first, second):
                processes.until(lambda worker=worker: cluster.tasks().get(worker.name))
                cluster.replace(worker, grace)
                replaced.set()

        def staged(self, function, *args):
            if stages:
                replaced.wait(60)
            stages.append(function)
            return run(self, function, *args)

        monkeypatch.setattr(pool.Pool, "run", staged)
        with ThreadPoolExecutor(1) as thread:
            both = thread.submit(replace)
            call(screen.files, output)
            both.result()
        assert not old & set(cluster.pids)
    screen.check(call, output)
    # The later ones had tasks, too.
    assert set(attempts(notes)) - old
    # Again was made what each was just making.
    assert len(again(begun(notes, output))) <= len(old)


def test_a_result_is_lost_before_it_is_asked_for(start_cluster, screen, output, monkeypatch):
    """A task has come to its end, and the worker that holds what it returned dies."""
    distributed = pytest.importorskip("distributed")
    as_completed, lost = distributed.as_completed, []
    with start_cluster() as cluster, cluster.connect() as client:

        def losing(futures):
            for future in as_completed(futures):
                if not lost:
                    (address,) = client.who_has([future])[future.key]
                    pid = client.run(os.getpid, workers=[address])[address]
                    (other,) = [worker for worker in cluster.workers if worker.pid != pid]
                    (holder,) = [worker for worker in cluster.workers if worker is not other]
                    # It would compute it again before anyone looks.
                    other.stop()
                    holder.kill()
                    cluster.lost(holder)
                    processes.until(lambda future=future: future.status != "finished")
                    lost.append(future.key)
                    threading.Timer(0.5, other.resume).start()
                yield future

        monkeypatch.setattr(distributed, "as_completed", losing)
        sink(screen.files, output)
        assert len(cluster.seen()) == len(lost) == 1
    screen.check(sink, output)


# --- clients and schedulers die -----------------------------------------------------------------


def test_the_client_dies_while_tasks_run(start_cluster, screen, output, notes):
    older = screen.older(sink, output)
    with start_cluster(environment=SLOW | faults.notes(screens.BEGUN, notes)) as cluster:
        client = cluster.run(screens.code(sink, screen.files, output))
        processes.wait_for_files(output.parent, 2, COUNTS, process=client)
        client.kill()
        there = parts(output)
        assert len(there) >= 2
        assert content(output) == older
        cluster.connect()
        sink(screen.files, output)
    screen.check(sink, output)
    made = begun(notes, output)
    assert set(made) >= screen.parts[sink]
    assert {made[name] for name in there} == {1}


@pytest.mark.parametrize(
    ("call", "function", "number", "action", "found"),
    [
        # The genes and the groups for the tests are written.
        (sink, REPLACE, 3, "kill-after", "older"),
        # Each of the 2 parts moves to the folder of the result, then the older result away.
        (sink, RENAME, 2, "kill", "older"),
        (sink, "pdex._output.write_result", 1, "kill", "older"),
        (sink, RENAME, 4, "kill", "hidden"),
        (sink, RENAME, 4, "kill-after", "new"),
        # What is left of a call that died in such places is removed first.
        (sink, RMTREE, 3, "kill-after", "new"),
        (tabulate, RENAME, 2, "kill", "hidden"),
        (tabulate, RENAME, 2, "kill-after", "new"),
    ],
)
def test_the_client_dies_at_a_file_operation(
    watched, screen, output, call, function, number, action, found
):
    cluster, notes = watched
    older = screen.older(call, output)
    fault = faults.fault(function, number, action)
    client = cluster.run(screens.code(call, screen.files, output), environment=fault)
    assert client.wait() == -signal.SIGKILL, client.text()
    if found == "hidden":
        # Between two renames.
        assert not output.exists()
        (old,) = hidden(output).glob("*.old")
        assert content(old) == older
    else:
        assert content(output) == (older if found == "older" else screen.whole[call])
    there = parts(output)
    assert len(there) >= 4
    notes.write_text("")
    with cluster.connect():
        call(screen.files, output)
    screen.check(call, output)
    assert again(begun(notes, output), there) == set()


def test_the_scheduler_dies(start_cluster, screen, output, notes):
    noting, older = faults.notes(screens.BEGUN, notes), screen.older(sink, output)
    with start_cluster(environment=SLOW | noting) as cluster:
        # So many seconds it tries to find the scheduler again.
        cluster.connect()._timeout = 3

        def kill():
            processes.wait_for_files(output.parent, 2, COUNTS)
            cluster.scheduler.kill()
            return time.monotonic()

        with ThreadPoolExecutor(1) as thread:
            killed = thread.submit(kill)
            with pytest.raises(OSError, match=r"counting cells .* its scheduler was lost"):
                sink(screen.files, output)
            assert time.monotonic() - killed.result() < 5
        with pytest.raises(OSError, match=r"^the scheduler does not answer"):
            sink(screen.files, output)
    there = parts(output)
    assert len(there) >= 2
    assert content(output) == older
    notes.write_text("")
    with start_cluster(environment=noting) as cluster:
        cluster.connect()
        sink(screen.files, output)
    screen.check(sink, output)
    assert again(begun(notes, output), there) == set()


# --- disks, data and versions -------------------------------------------------------------------


@CALLS
def test_a_full_disk(watched, screen, disk, call):
    """With a little more room each time, until the same call comes to its end."""
    cluster, notes = watched
    output, room, said = disk / "out", 0, []
    older = screen.older(call, output)
    with cluster.connect():
        error = True
        while error is not None:
            there, filling = parts(output), disks.fill(disk, spare=room)
            notes.write_text("")
            try:
                call(screen.files, output)
                error = None
            except OSError as caught:
                error = caught
                said.append((error.errno, str(error)))
            assert again(begun(notes, output), there) == set()
            assert error is None or (content(output), parts(output) & there) == (older, there)
            filling.unlink()
            room += 4096
    screen.check(call, output)
    assert len(said) >= 7
    assert {number for number, _ in said} == {errno.ENOSPC}, said
    assert all(text.startswith(f"[Errno {errno.ENOSPC}] ") for _, text in said)
    task = r"(counting|testing|adjusting|collecting|merging) .* on worker tcp://.*: No space left"
    failed = {match[1] for _, text in said if (match := re.search(task, text))}
    assert "counting" in failed
    assert len(failed) > 1


def nan(path):
    """The last value of the last cell."""
    with h5py.File(path, "r+") as file:
        file["X/data"][-1] = np.nan


def gene(path):
    """The first gene is missing."""
    anndata.read_h5ad(path)[:, 1:].write_h5ad(path)


#: So that one result is not made of two files.
CHANGED = "^{} has changed since it was opened: start again"


def half(path):
    os.truncate(path, os.path.getsize(path) // 2)


@CALLS
@pytest.mark.parametrize(
    ("damage", "said", "late", "times"),
    [
        (nan, "X contains NaN (cell 'cell119', row 119; gene 'g", CHANGED, 1),
        (gene, "does not have the genes of", CHANGED, 1),
        # Errors of reading are tried twice again.
        (
            os.remove,
            "No such file",
            r"^\[Errno 2\] counting cells \d+ to \d+ of {} on .*: No such",
            3,
        ),
        (half, "it ends after", "^counting cells .* of {} on worker tcp://.*: .*it ends after", 3),
    ],
)
def test_bad_data(watched, screen, output, tmp_path, monkeypatch, call, damage, said, late, times):
    """Before the call; and behind the client's back, when it has opened the files."""
    cluster, notes = watched
    files = [str(shutil.copy(file, tmp_path)) for file in screen.files]
    run = pool.Pool.run

    def tried(file, first=r"\d+", last=r"\d+"):
        """How often each part of a file was tried."""
        part = screens.part(file, (first, last))
        lines = [arguments for _, arguments, _ in faults.noted(notes)]
        return Counter(found[0] for line in lines if (found := re.search(part, line))).values()

    def behind(self, *args):
        monkeypatch.undo()
        damage(files[1])
        return run(self, *args)

    with cluster.connect():
        damage(files[1])
        with pytest.raises((ValueError, OSError), match=re.escape(said)) as one:
            pdex.de(files, "target")
        with pytest.raises((ValueError, OSError)) as many:
            call(files, output)
        assert (type(many.value), str(many.value)) == (type(one.value), str(one.value))
        assert files[1] in str(one.value)
        # NaN are found by those who read the matrix.
        assert list(tried(files[1], last=120)) == [1] * (damage is nan)

        files[1] = str(shutil.copy(screen.files[1], tmp_path / "2.h5ad"))
        monkeypatch.setattr(pool.Pool, "run", behind)
        with pytest.raises((ValueError, OSError), match=late.format(re.escape(files[1]))) as found:
            call(files, output)
    assert isinstance(found.value, type(one.value))
    assert max(tried(files[1])) == times
    assert not output.exists()


@CALLS
def test_another_version(watched, screen, output, monkeypatch, call):
    cluster, notes = watched
    own, run = pdex._pdex.__version__, pool.Pool.run
    said = f"has pdex 0.3.9, and the client has {own}: install the same everywhere"

    with cluster.connect() as client:
        first, second = client.scheduler_info()["workers"]

        def later(self, *args):
            client.run(screens.have_version, "0.3.9")
            return run(self, *args)

        try:
            client.run(screens.have_version, "0.3.9", workers=[second])
            with pytest.raises(ValueError, match=rf"^worker {second} \(host [^ ]+\) {said}"):
                call(screen.files, output)
            assert attempts(notes, str(output.parent)) == []
            assert list(output.parent.iterdir()) == []
            # Of workers that come after all were asked.
            client.run(screens.have_version, own, workers=[second])
            monkeypatch.setattr(pool.Pool, "run", later)
            with pytest.raises(ValueError, match=rf"^worker ({first}|{second}) .* {said}"):
                call(screen.files, output)
        finally:
            # A task that waits yet would find the right version.
            processes.until(lambda: not any(client.processing().values()))
            client.run(screens.have_version, own)
    assert attempts(notes, str(output.parent))
    assert not begun(notes, output)


def test_a_worker_without_pdex(watched, screen, output):
    cluster, notes = watched
    with cluster.connect() as client:
        first, _ = client.scheduler_info()["workers"]
        client.run(screens.forget, workers=[first])
        try:
            with pytest.raises(ModuleNotFoundError, match=f"^worker {first} cannot run pdex"):
                sink(screen.files, output)
        finally:
            client.run(screens.remember, workers=[first])
    assert attempts(notes, str(output.parent)) == []
    assert list(output.parent.iterdir()) == []
