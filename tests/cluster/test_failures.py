"""Workers, clients, schedulers and disks that fail while a call runs on a cluster."""

import errno
import os
import re
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anndata
import h5py
import numpy as np
import pdex
import polars as pl
import pytest
from pdex._cluster import pool

from . import conftest, disks, faults, processes, screens
from .screens import attempts, begun, content, hidden, parts, sink, tabulate

CALLS = pytest.mark.parametrize("call", [sink, tabulate])
PERFORM = "pdex._cluster.pool.perform"
KINDS = {sink: ("counting", "testing"), tabulate: ("counting", "merging")}
#: Each task takes a while.
SLOW = faults.fault(PERFORM, "1+", "300ms")
#: A task that waits behind one that kills its worker counts as one that might have done so.
MANY = {"distributed.scheduler.allowed-failures": 20}


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    return screens.made(tmp_path_factory.mktemp("screen"))


@pytest.fixture
def notes(tmp_path):
    """The file in which workers note what they begin."""
    return tmp_path / "notes"


@pytest.fixture
def record(tmp_path):
    """The folder of notes of faults that happened."""
    return tmp_path / "record"


@pytest.fixture(scope="module")
def noting(tmp_path_factory):
    """A cluster whose workers note what they begin, for tests that leave them alive."""
    conftest.needs_processes()
    folder = tmp_path_factory.mktemp("noting")
    environment = faults.notes(screens.BEGUN, folder / "notes")
    with processes.Cluster(folder, environment=environment) as cluster:
        yield cluster, folder / "notes"


@pytest.fixture
def watched(noting):
    cluster, notes = noting
    notes.write_text("")
    return cluster, notes


@pytest.fixture
def output(folder):
    return folder / "out"


def here(call, *args, **options):
    """Call in this process, without a cluster."""
    import dask

    with dask.config.set(scheduler="synchronous"):
        call(*args, **options)


def again(made):
    """The parts that were begun more than once; ranges of p-values always are."""
    return {name for name, times in made.items() if times > 1 and "adjusted" not in name}


def test_a_call_without_faults_is_that_of_one_machine(screen):
    one = pdex.de(screen.files, "target", fdr="all")
    assert one.height == 4 * 24
    assert pl.read_parquet(screen.folder / "sink/*.parquet").equals(one)
    assert pdex.de(screen.folder / "tabulate", "target", fdr="all").equals(one)
    assert {call: len(found) for call, found in screen.parts.items()} == {sink: 15, tabulate: 7}


#: What changes files, or looks what there is.
OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.scandir"}


class Twin:
    """The same task in a thread that stops at a file operation, while the task is done again."""

    current = threading.local()

    def __init__(self, call, inputs, stop):
        self.call, self.inputs, self.left = call, inputs, stop
        self.stopped, self.woken = threading.Event(), threading.Event()
        #: Called at each operation after it was woken.
        self.look = lambda: None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        self.stopped.wait()

    def run(self):
        self.current.twin = self
        try:
            self.call.function(self.call.task, *self.inputs, pool._resources(self.call))
        except OSError:
            pass
        finally:
            self.current.twin = None
            self.ended = True
            self.stopped.set()

    def operation(self, event, args):
        self.left -= 1
        if self.left == 0:
            self.stopped.set()
            self.woken.wait()
        elif self.left < 0:
            self.look()

    def wake(self):
        self.woken.set()
        self.thread.join()

    @classmethod
    def audit(cls, event, args):
        twin = getattr(cls.current, "twin", None)
        if twin is not None and event in OPERATIONS:
            cls.current.twin = None
            try:
                twin.operation(event, args)
            finally:
                cls.current.twin = twin


@pytest.fixture(scope="module", autouse=True)
def audited():
    sys.addaudithook(Twin.audit)


@CALLS
def test_every_task_stops_at_each_file_operation(screen, output, monkeypatch, call):
    """Each is done by another and goes on: step by step at once, or when the call is over."""
    perform, number, reached = pool.perform, 0, True
    while reached:
        number, twins = number + 1, []

        def twice(own, *inputs):
            twin = Twin(own, inputs, number)
            outcome = perform(own, *inputs)
            there, lost = parts(output), []
            twin.look = lambda: lost.extend(there - parts(output))
            twins.append(twin)
            if len(twins) % 2:
                twin.wake()
                assert not lost
            return outcome

        with monkeypatch.context() as patch:
            patch.setattr(pool, "perform", twice)
            here(call, screen.files, output)
        for twin in twins:
            twin.wake()
        screen.check(call, output)
        reached = any(twin.left <= 0 for twin in twins)
    assert number > 10


def test_a_task_of_another_call_wakes(screen, output, monkeypatch):
    """It counts other genes, but for a table of this call that its client has lost."""
    perform, twins, genes = pool.perform, [], [f"g{n}" for n in range(20)]

    def stop(own, *inputs):
        twins.append(Twin(own, inputs, 1))
        raise OSError("lost")

    def wake(own, *inputs):
        twins[0].wake()
        raise OSError("lost, too")

    for failing, options in ((stop, {}), (wake, {"genes": genes})):
        with monkeypatch.context() as patch:
            patch.setattr(pool, "perform", failing)
            with pytest.raises(OSError, match="lost"):
                here(tabulate, screen.files, output, **options)
    here(tabulate, screen.files, output)
    screen.check(tabulate, output)


@CALLS
@pytest.mark.parametrize("action", ["kill", "kill-after"])
def test_every_task_kills_its_worker_once(
    start_cluster, screen, output, notes, record, call, action
):
    """Before it does anything, or when all is done but nobody knows: no part is made twice."""
    environment = faults.fault(PERFORM, "1+", action, record, once=True)
    environment |= faults.notes(screens.BEGUN, notes)
    with start_cluster(nanny=True, environment=environment, settings=MANY) as cluster:
        with cluster.connect():
            call(screen.files, output)
    screen.check(call, output)
    assert len(faults.happened(record)) == screen.tasks(call)
    made = begun(notes, output)
    assert set(made) >= screen.parts[call]
    assert again(made) == set()


@pytest.mark.parametrize(
    ("call", "function"), [(sink, "pathlib.Path.replace"), (tabulate, "pathlib.Path.rename")]
)
def test_every_worker_dies_between_write_and_rename(
    start_cluster, screen, output, notes, record, call, function
):
    """Once for each file, when it is whole but has no name yet."""
    environment = faults.fault(function, "1+", "kill", record, once=True)
    environment |= faults.notes(screens.BEGUN, notes)
    with start_cluster(nanny=True, environment=environment, settings=MANY) as cluster:
        with cluster.connect():
            call(screen.files, output)
    screen.check(call, output)
    made = begun(notes, output)
    named = {name for name in made if call is tabulate or "counts/" not in name}
    assert len(faults.happened(record)) == len(named) >= 7
    assert all(made[name] > 1 for name in named)
    assert all(made[name] == 1 for name in set(made) - named)


@pytest.mark.parametrize(
    ("call", "task", "said"),
    [
        (sink, "1.h5ad', part=2", "counting cells 60 to 120 of {files[1]}"),
        (sink, "number=2, n=3", "testing block 2 of 3 of the genes"),
        (tabulate, "number=3, n=3", "merging block 3 of 3 of the genes"),
    ],
)
def test_a_task_that_always_kills_its_worker(
    start_cluster, screen, output, notes, record, call, task, said
):
    older = screen.older(call, output)
    environment = faults.fault(PERFORM, "1+", "kill", record, on=task)
    environment |= faults.notes(screens.BEGUN, notes)
    with start_cluster(nanny=True, environment=environment) as cluster, cluster.connect():
        with pytest.raises(OSError, match="each worker that tried was lost") as caught:
            call(screen.files, output)
    assert said.format(files=screen.files) in str(caught.value)
    # Dask gives up at the fourth.
    assert len(faults.happened(record)) == 4
    assert content(output) == older
    there = parts(output)
    assert not (hidden(output) / "result.json").exists()
    assert there
    made = begun(notes, output)
    here(call, screen.files, output)
    screen.check(call, output)


@pytest.mark.parametrize(("call", "grace"), [(sink, None), (tabulate, 5)])
def test_every_worker_in_turn_is_replaced(start_cluster, screen, output, notes, call, grace):
    """By SIGKILL while tasks run, or by SIGTERM as a machine is pre-empted."""
    environment = SLOW | faults.notes(screens.BEGUN, notes)
    with start_cluster(environment=environment, settings=MANY) as cluster, cluster.connect():
        old = set(cluster.pids[1:])

        def replace():
            processes.wait_for_files(output.parent, 1, ".out.work/counts/*.tables")
            cluster.replace_all(grace)

        with ThreadPoolExecutor(1) as turn:
            replaced = turn.submit(replace)
            call(screen.files, output)
            # Tasks ran on workers that came later.
            assert replaced.done()
            replaced.result()
        assert not old & set(cluster.pids)
    screen.check(call, output)
    # One that was just being made, for each worker.
    assert len(again(begun(notes, output))) <= len(old)


@CALLS
def test_the_client_dies_while_tasks_run(start_cluster, screen, output, notes, call):
    older = screen.older(call, output)
    with start_cluster(environment=SLOW | faults.notes(screens.BEGUN, notes)) as cluster:
        client = cluster.run(screens.code(call, screen.files, output))
        processes.wait_for_files(output.parent, 2, ".out.work/counts/*.tables", process=client)
        client.kill()
        there = parts(output)
        assert 2 <= len(there) < 4
        assert content(output) == older
        with cluster.connect():
            call(screen.files, output)
    screen.check(call, output)
    made = begun(notes, output)
    assert {made[name] for name in there} == {1}
    assert set(made) >= screen.parts[call]


REPLACE, RENAME, RMTREE = "pathlib.Path.replace", "pathlib.Path.rename", "shutil.rmtree"


@pytest.mark.parametrize(
    ("call", "function", "number", "action", "found"),
    [
        # When it has written the names of the genes, the tables of the tests, the result.
        (sink, REPLACE, 1, "kill-after", "older"),
        (sink, REPLACE, 3, "kill", "older"),
        (sink, "pdex._output.write_result", 1, "kill", "older"),
        # Between the parts of the result, which are moved; and instead of the older result's move.
        (sink, RENAME, 2, "kill", "older"),
        (sink, RENAME, 3, "kill", "older"),
        # The older result has made room.
        (sink, RENAME, 4, "kill", "hidden"),
        # The new one is there, and files are left that were not removed.
        (sink, RENAME, 4, "kill-after", "new"),
        (sink, RMTREE, 3, "kill", "new"),
        (tabulate, "pdex._io.tables.Manifest.write", 1, "kill", "older"),
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
    there = parts(output)
    if found == "hidden":
        assert not output.exists()
        (old,) = hidden(output).glob("*.old")
        assert content(old) == older
    else:
        assert content(output) == (older if found == "older" else screen.whole[call])
    with cluster.connect():
        call(screen.files, output)
    screen.check(call, output)
    made = begun(notes, output)
    print({name: made[name] for name in there})
    assert again({name: made[name] for name in there}) == set()


def test_the_scheduler_dies(start_cluster, screen, output, notes):
    environment = SLOW | faults.notes(screens.BEGUN, notes)
    older = screen.older(sink, output)
    with start_cluster(environment=environment) as cluster, cluster.connect():

        def kill():
            processes.wait_for_files(output.parent, 2, ".out.work/counts/*.tables")
            cluster.scheduler.kill()
            return time.monotonic()

        with ThreadPoolExecutor(1) as turn:
            killed = turn.submit(kill)
            with pytest.raises(OSError, match=r"counting cells .* its scheduler was lost"):
                sink(screen.files, output)
            assert time.monotonic() - killed.result() < 5
    there = parts(output)
    assert content(output) == older
    with start_cluster(environment=environment) as cluster, cluster.connect():
        sink(screen.files, output)
    screen.check(sink, output)
    made = begun(notes, output)
    assert there
    assert {made[name] for name in there} == {1}


def test_a_result_is_lost_before_it_is_asked_for(start_cluster, screen, output, monkeypatch):
    """A task has come to its end, but the worker that holds what it returned dies."""
    import distributed

    as_completed, lost = distributed.as_completed, []
    with start_cluster() as cluster, cluster.connect() as client:

        def losing(futures):
            for future in as_completed(futures):
                if not lost:
                    (address,) = client.who_has([future])[future.key]
                    pid = client.run(os.getpid, workers=[address])[address]
                    (worker,) = [worker for worker in cluster.workers if worker.pid == pid]
                    worker.kill()
                    cluster.lost(worker)
                    lost.append(worker)
                    time.sleep(0.2)
                    print(future.status)
                yield future

        monkeypatch.setattr(distributed, "as_completed", losing)
        sink(screen.files, output)
    assert len(lost) == 1
    screen.check(sink, output)


@CALLS
def test_a_full_disk(watched, screen, disk, call):
    """At each amount of room, until there is enough; the parts that were made are not lost."""
    cluster, notes = watched
    output, failed, room = disk / "out", [], 0
    older = screen.older(call, output)
    with cluster.connect():
        while not failed or failed[-1]:
            filling = disks.fill(disk, spare=room)
            there = parts(output)
            notes.write_text("")
            try:
                call(screen.files, output)
                failed.append("")
            except OSError as error:
                assert error.errno == errno.ENOSPC
                assert content(output) == older
                assert parts(output) >= there
                failed.append(str(error))
            made = begun(notes, output)
            assert not {name for name in there & set(made) if "adjusted" not in name}
            filling.unlink()
            room += 4096
    screen.check(call, output)
    said = "\n".join(failed)
    assert all(f"{kind} " in said for kind in ("counting", KINDS[call][1]))
    assert said.count("No space left on device") == len(failed) - 1 >= 10


def nan(path):
    """The last value of the last cell."""
    with h5py.File(path, "r+") as file:
        file["X/data"][-1] = np.nan


def gene(path):
    """One gene less."""
    anndata.read_h5ad(path)[:, 1:].write_h5ad(path)


def half(path):
    os.truncate(path, os.path.getsize(path) // 2)


@CALLS
@pytest.mark.parametrize(
    ("damage", "kind", "late", "times"),
    [
        (nan, ValueError, "1.h5ad: X contains NaN (cell 'cell119', row 119; gene 'g", 1),
        (gene, ValueError, "1.h5ad has changed since the call began: its genes are others", 1),
        # Errors of reading are tried twice again.
        (os.remove, FileNotFoundError, "No such file or directory: '{}'", 3),
        (half, OSError, "{}: truncated file: ", 3),
    ],
)
def test_bad_data(watched, screen, output, tmp_path, monkeypatch, call, damage, kind, late, times):
    """Before the call, when the error is that of one machine; and before the workers read it."""
    cluster, notes = watched
    files = [str(shutil.copy(file, tmp_path)) for file in screen.files]
    with cluster.connect():
        damage(files[1])
        with pytest.raises(kind) as one:
            pdex.de(files, "target")
        with pytest.raises(kind) as many:
            call(files, output)
        assert type(many.value) is type(one.value)
        assert str(many.value) == str(one.value)
        assert (damage is nan) == (attempts(notes, files[1]) > 0)
        shutil.rmtree(hidden(output), ignore_errors=True)
        shutil.copy(screen.files[1], files[1])
        notes.write_text("")
        run = pool.Pool.run

        def damaged(self, *args):
            damage(files[1])
            monkeypatch.setattr(pool.Pool, "run", run)
            return run(self, *args)

        monkeypatch.setattr(pool.Pool, "run", damaged)
        with pytest.raises(kind, match=re.escape(late.format(files[1]))) as caught:
            call(files, output)
    assert files[1] in str(caught.value)
    assert times == 1 or "counting cells" in str(caught.value)
    assert max(attempts(notes, f"{files[1]}', part={part}") for part in (1, 2)) == times
    assert not output.exists()


def version(client, version, workers):
    """Let workers have a version of pdex."""

    def change(version):
        import pdex

        pdex._pdex.__version__ = version

    client.run(change, version, workers=workers)


@CALLS
def test_another_version(watched, screen, output, monkeypatch, call):
    cluster, notes = watched
    own, run = pdex._pdex.__version__, pool.Pool.run
    with cluster.connect() as client:
        first, second = client.scheduler_info()["workers"]
        said = f" has pdex 0.3.9, and the client has {own}: install the same everywhere"
        try:
            version(client, "0.3.9", [first])
            with pytest.raises(ValueError, match=rf"^worker {first} \(host [^ ]+\){said}"):
                call(screen.files, output)
            assert attempts(notes, "") == 0
            assert list(output.parent.iterdir()) == []
            # Of workers that come when all have been asked.
            version(client, own, [first])

            def later(self, *args):
                version(client, "0.3.9", [first, second])
                return run(self, *args)

            monkeypatch.setattr(pool.Pool, "run", later)
            with pytest.raises(ValueError, match=rf"worker ({first}|{second}) .*{said}"):
                call(screen.files, output)
            assert begun(notes, output) == {}
        finally:
            version(client, own, [first, second])


def test_a_worker_without_pdex(watched, screen, output):
    cluster, notes = watched

    def forget():
        import sys

        sys.modules["pdex._cluster.pool"] = None

    def remember():
        import sys

        del sys.modules["pdex._cluster.pool"]

    with cluster.connect() as client:
        first, _ = client.scheduler_info()["workers"]
        client.run(forget, workers=[first])
        try:
            with pytest.raises(
                ModuleNotFoundError, match=f"worker {first} cannot run pdex .*import"
            ):
                sink(screen.files, output)
        finally:
            client.run(remember, workers=[first])
    assert attempts(notes, "") == 0
    assert list(output.parent.iterdir()) == []


def test_a_worker_is_lost_while_it_is_asked(start_cluster, screen, output):
    with start_cluster(2, ttl=2) as cluster, cluster.connect():
        cluster.workers[0].stop()
        tabulate(screen.files, output)
        assert list(cluster.seen()) == ["w1"]
    screen.check(tabulate, output)


def test_workers_freeze_and_wake(start_cluster, screen, output, tmp_path):
    """Each behind a write: of a count table while the call runs on, others when it is over."""
    records = {name: tmp_path / name for name in ("counts", "shares", "parts")}
    with start_cluster(1, ttl=2, environment=SLOW) as cluster, cluster.connect():
        frozen = {}
        for name, record in records.items():
            function = RENAME if name == "counts" else REPLACE
            fault = faults.fault(function, 1, "stop", record, most=1, on=f"{name}-")
            if name == "counts":
                fault[faults.ON] = "counts/"
            frozen[name] = cluster.start_worker(environment=fault)
        cluster.ready()
        with ThreadPoolExecutor(1) as turn:
            running = turn.submit(sink, screen.files, output)
            processes.until(lambda: frozen["shares"].stopped)
            frozen["counts"].resume()
            running.result()
        assert all(faults.happened(records[name]) == [frozen[name].pid] for name in records)
        screen.check(sink, output)
        for name in ("shares", "parts"):
            frozen[name].resume()
        processes.until(lambda: not any(worker.alive for worker in frozen.values()))
        screen.check(sink, output)
