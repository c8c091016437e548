"""The tools of the tests of clusters: what they break is broken, and nothing is left behind."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from . import disks, faults, hosts, processes

pytest.importorskip("distributed", reason="clusters need distributed")
HERE = Path(__file__).parent


def note(folder, task, seconds=0.0):
    """A task: write a file named by the task and the process, and return the process."""
    time.sleep(seconds)
    path = Path(folder, f"{task}-{os.getpid()}")
    path.with_suffix(".part").write_text("")
    path.with_suffix(".part").replace(path)
    return os.getpid()


def notes(client, folder, tasks=8, seconds=0.0):
    return client.map(lambda task: note(folder, task, seconds), range(tasks), pure=False)


def gone(pids):
    return all(processes.state(pid) in ("", "Z") for pid in pids)


def test_tasks_run_in_the_workers(cluster, client, folder):
    scheduler, *workers = cluster.pids
    assert len({os.getpid(), scheduler, *workers}) == 4
    # By its name in this module, which the workers import.
    assert client.submit(note, str(folder), "x").result() in workers
    assert set(client.gather(notes(client, folder, seconds=0.1))) == set(workers)
    assert cluster.seen() == {worker.name: worker.pid for worker in cluster.workers}
    assert set(cluster.tasks()) == {worker.name for worker in cluster.workers}


def test_a_killed_worker_and_its_replacement(start_cluster, folder):
    with start_cluster() as cluster, cluster.connect() as client:
        first, second = cluster.workers
        futures = notes(client, folder, 12, 0.2)
        processes.wait_for_files(folder, 2)
        first.kill()
        assert (first.alive, first.status) == (False, -signal.SIGKILL)
        cluster.lost(first)
        third = cluster.replace(first)
        assert set(cluster.seen()) == {second.name, third.name}
        assert len(client.gather(futures)) == 12
        # Every worker in turn, while tasks run.
        old = cluster.pids[1:]
        turn = threading.Thread(target=cluster.replace_all, args=[5])
        turn.start()
        while turn.is_alive():
            client.gather(notes(client, folder, 2))
        turn.join()
        assert gone(old)
        assert set(client.gather(notes(client, folder, 8, 0.1))) == set(cluster.pids[1:])
        pids = cluster.pids
    assert len(pids) == 3
    assert gone(pids)


def test_a_frozen_worker_is_taken_for_dead_and_wakes(start_cluster, folder):
    """It stops itself in its second task, behind the write of a temporary file."""
    record = folder.with_name("record")
    stop = faults.fault("pathlib.Path.replace", 2, "stop", record, most=1)
    with start_cluster(ttl=2, environment=stop) as cluster, cluster.connect() as client:
        futures = notes(client, folder, 8, 0.1)
        frozen = processes.until(
            lambda: next((worker for worker in cluster.workers if worker.stopped), None)
        )
        assert faults.happened(record) == [frozen.pid]
        (part,) = folder.glob(f"*-{frozen.pid}.part")
        cluster.lost(frozen)
        assert frozen.pid not in client.gather(futures)[2:]
        before = set(folder.iterdir())
        frozen.resume()
        # It does the rest of the task that another did in its place, maybe one more, and ends.
        processes.until(lambda: not frozen.alive)
        new = set(folder.iterdir()) - before
        assert part.with_suffix("") in new
        assert not part.exists()
        assert all(path.name.endswith(f"-{frozen.pid}") for path in new)
        # From outside.
        (other,) = [worker for worker in cluster.workers if worker is not frozen]
        other.stop()
        late = client.submit(os.getpid, pure=False)
        cluster.lost(other)
        cluster.start_worker()
        cluster.ready()
        assert late.result(timeout=20) == cluster.workers[-1].pid


def test_a_killed_client(cluster, folder):
    code = """
import os, sys, time
from distributed import Client
def task(number):
    time.sleep(0.1)
    open(os.path.join(sys.argv[1], f"{number}.txt"), "w").close()
""".replace("sys.argv[1]", repr(str(folder)))
    code += "client = Client()\nclient.gather(client.map(task, range(600)))\n"
    paths = cluster.kill_client(code, folder, 3, "*.txt")
    assert 3 <= len(paths) < 30
    # The scheduler forgets its tasks.
    processes.until(lambda: not any(cluster.tasks().values()))
    assert cluster.run("raise SystemExit(7)").wait() == 7
    with pytest.raises(RuntimeError, match="no such place"):
        cluster.kill_client("raise OSError('no such place')", folder, 1000)


def test_a_client_with_a_fault(cluster, folder):
    code = "import os, sys\nfor n in range(9): os.mkdir(os.path.join(sys.argv[1], str(n)))"
    fault = faults.fault("os.mkdir", 4, "kill")
    assert cluster.run(code, folder, environment=fault).wait() == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 3


def test_a_nanny_restarts_its_worker(start_cluster, folder):
    record = folder.with_name("record")
    fault = faults.fault("pathlib.Path.replace", 2, "kill-after", record, most=2)
    with start_cluster(1, nanny=True, environment=fault) as cluster, cluster.connect() as client:
        (worker,) = cluster.workers
        pid = worker.pid
        assert pid != worker.own.pid
        assert len(client.gather(notes(client, folder, 4))) == 4
        one, two = faults.happened(record)
        assert one == pid != two
        assert gone([one, two])
        # The file of the task after which a worker died is there; the task was done again.
        assert [len(list(folder.glob(f"*-{pid}"))) for pid in (one, two)] == [2, 2]
        assert len(list(folder.iterdir())) > 4
        pid = worker.pid
        worker.kill()
        processes.until(lambda: cluster.seen().get(worker.name, pid) != pid)
        assert gone([pid])
        pids = [*cluster.pids, worker.own.pid]
    assert gone(pids)


@pytest.mark.parametrize(("call", "there"), [(2, "13"), ("2+", "1")])
def test_errors_in_place_of_calls_and_after(tmp_path, monkeypatch, call, there):
    def fails(path):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            path.touch()

    for action in ("ENOSPC", "ENOSPC-after"):
        folder, record = tmp_path / action, tmp_path / f"{action} record"
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "touch", Path.touch)
            for name, value in faults.fault("pathlib.Path.touch", call, action, record).items():
                patch.setenv(name, value)
            faults.install()
            faults.install()
            (folder / "1").touch()
            fails(folder / "2")
            (fails if call == "2+" else Path.touch)(folder / "3")
        names = "".join(sorted(path.name for path in folder.iterdir()))
        assert names == (there if action == "ENOSPC" else "123")
        assert faults.happened(record) == [os.getpid()] * (3 - len(there))


@pytest.mark.parametrize("action", ["kill", "kill-after"])
def test_a_fault_of_a_context_manager_that_others_imported(tmp_path, action):
    """The file of the third block is complete if the process dies after it."""
    code = f"""
import runpy
from pathlib import Path
import pdex._output
runpy.run_path({str(HERE / "faults.py")!r})["install"]()
for n in range(9):
    with pdex._output.replacing(Path({str(tmp_path)!r}, str(n))) as part:
        part.write_text("x")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | faults.fault("pdex._files.replacing", 3, action),
    )
    assert done.returncode == -signal.SIGKILL
    there = {path.name for path in tmp_path.iterdir()}
    assert there == ({"0", "1", "2"} if action == "kill-after" else {"0", "1"})


@pytest.mark.parametrize("told", ["pdex.nope:1:kill", "nope.nope:1:kill", "os.mkdir:1:ENOPE"])
def test_a_fault_that_cannot_be(start_cluster, told):
    with pytest.raises(RuntimeError, match=r"w0 ended:[\s\S]*(nope|ENOPE)"):
        start_cluster(1, environment={faults.FAULT: told})


def test_nothing_outlives_the_tests(tmp_path):
    """The process that started a cluster is killed, with a frozen worker."""
    code = f"""
import importlib, sys, time
sys.path.insert(0, {str(HERE.parents[1])!r})
processes = importlib.import_module("tests.cluster.processes")
if __name__ == "__main__":
    cluster = processes.Cluster({str(tmp_path)!r}, 1)
    cluster.workers[0].stop()
    print(*cluster.pids, flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as started:
        pids = [int(word) for word in started.stdout.readline().split()]
        assert len(pids) == 2
        assert not gone(pids)
        started.kill()
    processes.until(lambda: gone(pids))


def test_hosts(network, start_cluster, folder, tmp_path):
    one, other = network.hosts
    (tmp_path / "ro").mkdir()
    with start_cluster(0, ttl=2, host=network.address) as cluster, cluster.connect() as client:
        first = cluster.start_worker(host=one)
        second = cluster.start_worker(host=other, hidden=[folder], read_only=[tmp_path / "ro"])
        cluster.ready()
        addresses = [
            address.rpartition(":")[0] for address in client.run(lambda: None, on_error="return")
        ]
        assert sorted(addresses) == sorted(f"tcp://{host.address}" for host in network.hosts)
        assert first.pid != second.pid

        def on(worker, function, *args):
            return client.submit(
                function, *args, workers=worker.name, pure=False, allow_other_workers=False
            )

        # A value goes from host to host.
        value = on(first, lambda: bytes(3_000_000))
        assert on(second, len, value).result(timeout=20) == 3_000_000
        # Each writes; what is hidden is not seen here, nor there.
        for worker in (first, second):
            assert on(worker, note, str(folder), worker.name).result(timeout=20) == worker.pid
        assert [path.name for path in folder.iterdir()] == [f"w0-{first.pid}"]
        assert on(second, os.listdir, str(folder)).result() == [f"w1-{second.pid}"]
        assert on(first, os.mkdir, str(tmp_path / "ro" / "x")).result() is None
        with pytest.raises(OSError, match="Read-only"):
            on(second, os.mkdir, str(tmp_path / "ro" / "y")).result()
        other.unplug()
        cluster.lost(second)
        other.plug()
        processes.until(lambda: not second.alive)
        new = cluster.replace(second)
        assert on(new, os.listdir, str(folder)).result(timeout=20) == []
    names = hosts.left()[os.getpid()]
    assert len(names) == 5
    network.close()
    assert os.getpid() not in hosts.left()


def test_hosts_of_a_killed_process_are_taken_down(network):
    code = f"""
import importlib, os, signal, sys
sys.path.insert(0, {str(HERE.parents[1])!r})
importlib.import_module("tests.cluster.hosts").Network(1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    before = set(hosts.left())
    subprocess.run([sys.executable, "-c", code])
    assert len(set(hosts.left()) - before) == 1
    hosts.sweep()
    assert set(hosts.left()) <= before


def test_a_full_disk(cluster, client, disk):
    run = client.submit(note, str(disk), "x", pure=False)
    assert run.result() in cluster.pids
    filling = disks.fill(disk, spare=8192)
    write = client.submit(lambda: Path(disk, "y").write_bytes(bytes(8192)))
    assert write.result() == 8192
    write = client.submit(lambda: Path(disk, "z").write_bytes(bytes(8192)))
    with pytest.raises(OSError, match="No space left"):
        write.result()
    assert filling.stat().st_size > 1_000_000


def test_a_disk_is_unmounted_after_an_error(tmp_path):
    if reason := disks.unavailable():
        pytest.skip(reason)
    path = tmp_path / "a b"

    def fail():
        with disks.small_disk(path, "1m"), open(path / "open", "w"):
            assert path.is_mount()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not path.is_mount()
    # Of a process that was killed.
    code = f"""
import importlib, os, signal, sys
sys.path.insert(0, {str(HERE.parents[1])!r})
disk = importlib.import_module("tests.cluster.disks").small_disk({str(path)!r})
disk.__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code])
    assert path.is_mount()
    disks.sweep()
    assert not path.is_mount()
