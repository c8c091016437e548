"""Ctrl-C ends a run that reads slowly, from every kind of source, and nothing is left behind.

SIGTERM ends the command line in the same way.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from pdex._io.prefetch import result_of

zarr = pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")
pytest.importorskip("dask.array")

#: Starts a run in a folder of its own; `read()` is called, slowly, for each part that is read.
START = """
import itertools, sys, threading, time
from pdex._io.prefetch import Prefetch
from pdex._resources import Resources
import pdex

source, call, way, output = sys.argv[1:]
if way == "cells":
    # So little memory that cells are read range after range, and rows are spilled.
    Resources.for_pieces = property(lambda _: 1_000_000)

# Labels and samples are read before, on the main thread.
pieces, parts, ahead = threading.Event(), itertools.count(1), Prefetch._next

def next_piece(*words):
    pieces.set()
    return ahead(*words)

Prefetch._next = next_piece

def read():
    # For how long to wait before the next part; all parts take many seconds.
    if not pieces.is_set():
        return 0
    # Of 40 files, a sample each is read before their totals are.
    if next(parts) == (60 if "scaled" in call else 20):
        print("reading", flush=True)
    return 0.05
"""

#: Data whose parts are slow.
SOURCES = {
    "zarr": """
import asyncio, zarr.storage

class Slow(zarr.storage.WrapperStore):
    async def get(self, key, *words, **named):
        if key.startswith("X/") and key[-1].isdigit():
            # Ten at a time.
            await asyncio.sleep(10 * read())
        return await super().get(key, *words, **named)

data = Slow(zarr.storage.LocalStore(source, read_only=True))
""",
    "dask": """
import anndata, dask.array, numpy

stored = anndata.read_h5ad(source)

def slow(block):
    time.sleep(read())
    return block

x = dask.array.from_array(stored.X.toarray(), chunks=(4, stored.n_vars))
stored.X = x.map_blocks(slow, dtype=x.dtype, meta=numpy.zeros((0, 0), x.dtype))
data = stored
""",
    "files": """
from pdex._io import h5

fast = h5.Array._read

def slow(*words):
    time.sleep(read())
    return fast(*words)

h5.Array._read = slow
data = source + "/*.h5ad"
""",
}

CALLS = """
if call == "de":
    pdex.de(data, "target", reference="ctrl")
elif call == "sink_de":
    pdex.sink_de(data, "target", output + "/de.parquet", reference="ctrl")
elif call == "tabulate":
    pdex.tabulate(data, "target", output=output + "/screen.tables")
elif call == "tabulate, scaled":
    # Totals are found before.
    pdex.tabulate(data, "target", output=output + "/screen.tables", normalize="median")
else:
    from pdex.cli import main

    sys.exit(main(["tabulate", data, "-g", "target", "-o", output + "/screen.tables"]))
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """One screen: a Zarr store, a file (for Dask), and a folder of many files."""
    rng = np.random.default_rng(1)
    n_cells, n_genes = 2400, 400
    x = sp.csr_matrix(rng.poisson(0.8, (n_cells, n_genes)).astype(np.float32))
    target = pd.Categorical(rng.choice(["ctrl", "T0", "T1"], n_cells))
    data = ad.AnnData(x, pd.DataFrame({"target": target}, map(str, range(n_cells))))
    folder = tmp_path_factory.mktemp("slow")
    found = {"zarr": folder / "screen.zarr", "dask": folder / "screen.h5ad"}
    data.write_zarr(found["zarr"])
    group = zarr.open_group(found["zarr"], mode="r+", use_consolidated=False)["X"]
    for name in ("data", "indices"):
        values = group[name][...]
        del group[name]
        group.create_array(name, data=values, chunks=(1000,))
    zarr.consolidate_metadata(found["zarr"])
    data.write_h5ad(found["dask"])
    found["files"] = folder / "plates"
    found["files"].mkdir()
    for i in range(40):
        data[i * 60 : (i + 1) * 60].copy().write_h5ad(found["files"] / f"plate{i:02}.h5ad")
    return found


RUNS = {
    **dict.fromkeys(itertools.product(SOURCES, ["de", "tabulate"]), "cells"),
    **dict.fromkeys(itertools.product(SOURCES, ["sink_de"]), "genes"),
    ("files", "tabulate, scaled"): "cells",
    ("files", "pdex tabulate"): "genes",
}


@pytest.mark.parametrize(("source", "call"), RUNS)
def test_ctrl_c_leaves_nothing(places, tmp_path, source, call):
    status, err = stopped_by([signal.SIGINT], places, tmp_path, source, call)
    if call.startswith("pdex"):
        assert (status, err) == (130, "pdex: interrupted\n")
    else:
        assert err.rstrip().endswith("KeyboardInterrupt"), err


@pytest.mark.parametrize("times", [1, 6])
def test_sigterm_leaves_nothing(places, tmp_path, times):
    """Programs such as timeout send it twice; one more may come when the process is at its end."""
    signals = [signal.SIGTERM] * times
    status, err = stopped_by(signals, places, tmp_path, "files", "pdex tabulate")
    assert err == "pdex: terminated\n"
    assert status in ((143,) if times == 1 else (143, -signal.SIGTERM))


def stopped_by(signals, places, tmp_path, source, call):
    """Stop a run while it reads; check that it leaves nothing; return its status and stderr."""
    output, temporary = tmp_path / "output", tmp_path / "temporary"
    output.mkdir()
    temporary.mkdir()
    code = START + SOURCES[source] + CALLS
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        code,
        places[source],
        call,
        RUNS[source, call],
        output,
    ]
    pipe, around = subprocess.PIPE, {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=around) as child:
        line = child.stdout.readline()
        assert line == "reading\n", child.communicate()
        if "tabulate" in call:
            (partial,) = os.listdir(output)
            assert partial.startswith(".")
        start = time.monotonic()
        for one in signals:
            child.send_signal(one)
            time.sleep(0.01)
        out, err = child.communicate(timeout=120)
        took = time.monotonic() - start
    assert (out, os.listdir(output), os.listdir(temporary)) == ("", [], [])
    # Measured: 0.1 to 0.6 s; without looking for Ctrl-C, 5 s and more.
    assert took < 5
    return child.returncode, err


def test_an_interrupt_at_the_end_of_a_wait_locks_nobody_out(monkeypatch):
    """Python's own waits hold a lock for a moment; an interrupt there would keep it locked."""
    leave, armed, main = threading.Condition.__exit__, [], threading.current_thread()

    def interrupted(self, *how):
        if armed and threading.current_thread() is main:
            raise KeyboardInterrupt
        return leave(self, *how)

    monkeypatch.setattr(threading.Condition, "__exit__", interrupted)

    def work():
        time.sleep(0.2)
        armed.append(True)
        time.sleep(0.3)

    pool = ThreadPoolExecutor(1)
    coming = pool.submit(work)
    with pytest.raises(KeyboardInterrupt):
        result_of(coming)
    armed.clear()
    (thread,) = pool._threads
    end = threading.Thread(target=pool.shutdown, daemon=True)
    end.start()
    thread.join(5)
    assert not thread.is_alive()
