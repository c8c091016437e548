"""Clusters, hosts and disks; a test skips with the reason where this machine cannot have them."""

import sys

import pytest

from . import disks, hosts, processes


def needs_processes():
    pytest.importorskip("distributed", reason="clusters need distributed")
    if sys.platform != "linux":
        pytest.skip("processes are watched in /proc")


@pytest.fixture
def folder(tmp_path):
    """An empty folder that all workers see."""
    path = tmp_path / "shared"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers of one thread each, for tests that leave them alive."""
    needs_processes()
    with processes.Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """The active client of `cluster`."""
    with cluster.connect() as client:
        yield client


@pytest.fixture
def start_cluster(tmp_path_factory):
    """Starts a cluster with the options of processes.Cluster, which ends with the test."""
    needs_processes()
    started = []

    def start(workers=2, **options):
        started.append(processes.Cluster(tmp_path_factory.mktemp("cluster"), workers, **options))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()


@pytest.fixture
def network():
    """Two hosts on a network."""
    if reason := hosts.unavailable():
        pytest.skip(reason)
    with hosts.Network() as network:
        yield network


@pytest.fixture
def disk(tmp_path):
    """The folder of an empty disk of 2 MB."""
    if reason := disks.unavailable():
        pytest.skip(reason)
    with disks.small_disk(tmp_path / "disk") as path:
        yield path


@pytest.fixture(scope="session")
def screen(tmp_path_factory):
    """A small screen, and what calls make of it."""
    needs_processes()
    # It imports pdex, which some tests of the tools do not need.
    from . import screens

    return screens.made(tmp_path_factory.mktemp("screen"))
