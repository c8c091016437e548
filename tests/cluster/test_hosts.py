"""Calls on a cluster whose workers are on several hosts, and do not all see the same files."""

import errno
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from pdex._cluster import pool

from . import faults, processes, screens
from .screens import attempts, begun, content, hidden, parts, sink, tabulate


def slow(milliseconds):
    """Workers that take a while before each task."""
    return faults.fault("pdex._cluster.pool.perform", "1+", f"{milliseconds}ms")


@pytest.fixture
def notes(tmp_path):
    """The file in which workers note what they begin."""
    return tmp_path / "notes"


def test_a_folder_that_not_all_hosts_see(
    network, start_cluster, screen, folder, notes, monkeypatch
):
    one, other = network.hosts
    output, environment = folder / "out", faults.notes(screens.BEGUN, notes)
    older = screen.older(sink, output)
    worker = rf"worker tcp://{re.escape(other.address)}:\d+ \(host [^ ]+\)"
    unseen = f"{worker} does not see the folder '{hidden(output)}' as the client does"
    with start_cluster(0, environment=environment, host=network.address) as cluster:
        cluster.connect()
        first = cluster.start_worker(host=one)
        blind = cluster.start_worker(host=other, hidden=[folder])
        cluster.ready()
        with pytest.raises(FileNotFoundError, match=f"^{unseen}"):
            sink(screen.files, output)
        with pytest.raises(FileNotFoundError, match=f"^{worker} does not see .*tables.work"):
            tabulate(screen.files, folder / "tables")
        assert attempts(notes) == []
        assert [path.name for path in folder.iterdir()] == ["out"]

        # It comes after all were asked.
        first.end()
        cluster.lost(first)
        monkeypatch.setattr(pool.Pool, "_asked", lambda self, path, token: {})
        with pytest.raises(FileNotFoundError, match=f"^counting cells .*: {unseen}"):
            sink(screen.files, output)
        monkeypatch.undo()
        assert set(attempts(notes)) == {blind.pid}
        assert parts(output) == set()

        # It may only read.
        blind.end()
        cluster.lost(blind)
        cluster.start_worker(host=other, read_only=[folder])
        cluster.ready()
        with pytest.raises(OSError, match=rf"counting cells .* on {worker}: Read-only") as caught:
            sink(screen.files, output)
        assert caught.value.errno == errno.EROFS
        assert content(output) == older

        cluster.workers[-1].end()
        cluster.start_worker(host=one)
        cluster.ready()
        sink(screen.files, output)
    screen.check(sink, output)


def test_two_hosts_one_of_which_is_unplugged(
    network, start_cluster, screen, folder, notes, tmp_path
):
    output, environment = folder / "out", faults.notes(screens.BEGUN, notes)
    with start_cluster(0, environment=environment, host=network.address, ttl=2) as cluster:
        cluster.connect()
        workers = [cluster.start_worker(slow(100), host=host) for host in network.hosts]
        cluster.ready()
        sink(screen.files, output)
        screen.check(sink, output)
        assert set(attempts(notes)) == {worker.pid for worker in workers}
        output.rename(tmp_path / "out")

        # Of another call, before it has written anything.
        workers[1].end()
        cluster.lost(workers[1])
        last = cluster.start_worker(slow(3000), host=network.hosts[1])
        cluster.ready()

        def unplug():
            processes.until(lambda: cluster.tasks().get(last.name))
            network.hosts[1].unplug()

        with ThreadPoolExecutor(1) as thread:
            unplugged = thread.submit(unplug)
            tabulate(screen.files, output)
            unplugged.result()
        assert set(cluster.seen()) == {workers[0].name}
        screen.check(tabulate, output)
        assert set(begun(notes, output, workers[0].pid)) >= screen.parts[tabulate]
        network.hosts[1].plug()
        processes.until(lambda: not last.alive)
    screen.check(tabulate, output)
