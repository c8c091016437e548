"""Mutate small files of every layout, and see that each is a table or an error with its path.

    python tests/fuzz_files.py --seconds 600 --seed 1

A child process of limited address space reads them, so that a crash, a hang (20 s) or memory taken
for what a file merely claims is seen and said; the file is then kept beside the report. What
mutations do: flip bits, cut, zero, repeat, insert and remove bytes, write numbers of note; and,
through HDF5, change arrays, attributes and members. tests/io/test_fuzz.py runs a short form.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import json
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import polars as pl
import scipy.sparse as sp

N_CELLS, N_GENES = 60, 8
HANG = 20.0
#: Bytes that a child may take beyond what it takes for whole files.
SPARE = 400_000_000
LAYOUTS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
STORAGE = {
    "contiguous": {},
    "chunked": {"chunks": 37},
    "gzip": {"chunks": 64, "compression": "gzip"},
    "sums": {"chunks": 41, "compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"chunks": 64, "compression": "lzf", "shuffle": True},
    "scaleoffset": {"chunks": 50, "scaleoffset": 0},
}
#: Calls of one file; each is a table or an error.
CALLS = {
    "de": lambda path: pdex.de(path, "target"),
    "de of a layer": lambda path: pdex.de(path, "guide", reference="rest", layer="counts"),
    "de of raw": lambda path: pdex.de(path, "target", test="ttest", use_raw=True),
    "scan": lambda path: pdex.scan_anndata(path, "target").collect(),
}
ALLOWED = (ValueError, OSError, KeyError, TypeError, pl.exceptions.ComputeError)


def screen(layout: str) -> ad.AnnData:
    """A screen with a layer, raw and columns of several kinds."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(1.2, (N_CELLS, N_GENES)).astype(np.int32)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(N_CELLS)])
    labels = ["non-targeting", "a", "b"]
    obs["target"] = pd.Categorical([labels[i % 3] for i in range(N_CELLS)])
    obs["guide"] = pd.array([None if i % 7 == 0 else i % 4 for i in range(N_CELLS)], "Int32")
    obs["depth"] = counts.sum(1)
    var = pd.DataFrame({"name": [f"n{i}" for i in range(N_GENES)]})
    var.index = [f"g{i}" for i in range(N_GENES)]
    make = LAYOUTS[layout]
    data = ad.AnnData(make(counts), obs, var)
    data.raw = data
    data.layers["counts"] = make(counts * 2)
    data.X = make(np.log1p(counts).astype(np.float32))
    return data


def write(path: Path, layout: str, storage: str) -> None:
    """Write the screen with every array stored as asked for."""
    screen(layout).write_h5ad(path)
    names = ["X", "raw/X", "layers/counts"]
    if layout != "dense":
        names = [f"{name}/{part}" for name in names for part in ("data", "indices", "indptr")]
    with h5py.File(path, "r+") as file:
        for name in names:
            array, attributes = file[name][()], dict(file[name].attrs)
            options = dict(STORAGE[storage])
            if array.dtype.kind == "f":
                options.pop("scaleoffset", None)
            if "chunks" in options:
                options["chunks"] = (min(options["chunks"], len(array)), 5)[: array.ndim]
            del file[name]
            file.create_dataset(name, data=array, **options)
            file[name].attrs.update(attributes)


# --- mutations ----------------------------------------------------------------------------------


def flip(content: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(content), rng.integers(1, 4)):
        content[place] ^= 1 << rng.integers(0, 8)


def cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(0, len(content)) :]


def fill(content: bytearray, rng: np.random.Generator) -> None:
    start, length = rng.integers(0, len(content)), rng.integers(1, 200)
    part = content[start : start + length]
    content[start : start + length] = bytes([rng.choice([0, 255])]) * len(part)


def repeat(content: bytearray, rng: np.random.Generator) -> None:
    a, b = rng.integers(0, len(content), 2)
    part = content[a : a + rng.integers(1, 200)]
    content[b : b + len(part)] = part


def shift(content: bytearray, rng: np.random.Generator) -> None:
    place, length = rng.integers(0, len(content)), rng.integers(1, 9)
    if rng.random() < 0.5:
        del content[place : place + length]
    else:
        content[place:place] = rng.bytes(length)


def number(content: bytearray, rng: np.random.Generator) -> None:
    size = int(rng.choice([1, 2, 4, 8]))
    notable = [0, 1, 2**7, 2**15, 2**20, 2**28, 2**31, 2**32 - 1, 2**40, 2**60, 2**63, 2**64 - 1]
    value = int(notable[rng.integers(len(notable))]) % 2 ** (8 * size)
    # Most numbers of a header lie where something is stored.
    stored = np.flatnonzero(np.frombuffer(content, np.uint8))
    place = int(rng.choice(stored)) if len(stored) else 0
    content[place : place + size] = value.to_bytes(size, "little")


BYTES = [flip, flip, cut, fill, repeat, shift, number, number]


def nodes(file: h5py.File, kind: type) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, kind) else None)
    return found


def array_value(file: h5py.File, rng: np.random.Generator) -> None:
    """Another number, or order, in an array."""
    numeric = [n for n in nodes(file, h5py.Dataset) if file[n].dtype.kind in "iuf" and file[n].size]
    dataset = file[rng.choice(numeric)]
    values = dataset[()].reshape(-1)
    top = 2 ** (8 * min(values.dtype.itemsize, 4) - 1) - 1
    for place in rng.integers(0, len(values), rng.integers(1, 4)):
        values[place] = rng.choice([0, 1, 59, 60, top, 7, 8])
    if rng.random() < 0.3:
        rng.shuffle(values)
    dataset[...] = values.reshape(dataset.shape)


def array_shape(file: h5py.File, rng: np.random.Generator) -> None:
    """An array of another length, dtype or number of dimensions, or one that claims too much."""
    name = rng.choice(nodes(file, h5py.Dataset))
    old, attributes = file[name][()], dict(file[name].attrs)
    kind = file[name].dtype
    del file[name]
    how = rng.integers(5)
    if how == 0:
        shape = tuple(int(rng.choice([1, 60, 2**20, 2**33, 2**45])) for _ in np.shape(old) or [0])
        file.create_dataset(name, shape, kind, chunks=tuple(min(n, 100) for n in shape) or None)
    elif how == 1:
        file[name] = np.concatenate([np.ravel(old)] * 2) if kind.kind != "O" else ["x"] * 7
    elif how == 2:
        file[name] = np.ravel(old)[: np.size(old) // 2] if kind.kind != "O" else ["x"]
    elif how == 3:
        new = ["c16", "f8", "S5", "i1", "u8", "f2", "?"][rng.integers(7)]
        file[name] = np.zeros(np.shape(old), new)
    else:
        file.create_group(name)
    file[name].attrs.update(attributes)


def attribute(file: h5py.File, rng: np.random.Generator) -> None:
    """Another value of an attribute, or none."""
    every = nodes(file, (h5py.Dataset, h5py.Group))  # type: ignore[arg-type]
    with_some = [name for name in every if len(file[name].attrs)]
    attrs = file[rng.choice(with_some)].attrs
    name = rng.choice(list(attrs))
    words = ["csr_matrix", "csc_matrix", "coo_matrix", "categorical", "string-array", "dict", ""]
    values = [*words, "array", "dataframe", "0.1.0", "9.9.9", 3, -1.5, [2**40, 2**40], [-1, 8]]
    values += [[60, 8], [8, 60], [60, 8, 1], ["target"], ["nope", "target"], [0.5, 1.5], True]
    if rng.random() < 0.2:
        del attrs[name]
    else:
        attrs[name] = values[rng.integers(len(values))]


def membership(file: h5py.File, rng: np.random.Generator) -> None:
    """A member less, or one in the place of another, or a link that leads nowhere or round."""
    every = nodes(file, (h5py.Dataset, h5py.Group))  # type: ignore[arg-type]
    a, b = rng.choice(every, 2)
    how = rng.integers(4)
    if how == 0:
        del file[a]
    elif how == 1 and not (a.startswith(b) or b.startswith(a)):
        del file[a]
        file[a] = file[b]
    elif how == 2:
        del file[a]
        file[a] = h5py.SoftLink("/nowhere")
    else:
        del file[a]
        file[a] = file["/"]


STRUCTURE = [array_value, array_value, array_shape, attribute, membership]


def mutate(whole: Path, path: Path, rng: np.random.Generator) -> str:
    """Write a mutation of a file; say what was done."""
    if rng.random() < 0.35:
        shutil.copyfile(whole, path)
        change = STRUCTURE[rng.integers(len(STRUCTURE))]
        # What h5py refuses to do leaves the file as it is by then.
        with h5py.File(path, "r+") as file, contextlib.suppress(Exception):
            change(file, rng)
        return change.__name__
    content = bytearray(whole.read_bytes())
    names = []
    for _ in range(rng.integers(1, 3)):
        change = BYTES[rng.integers(len(BYTES))]
        change(content, rng)
        names.append(change.__name__)
    path.write_bytes(content)
    return " and ".join(names)


# --- the child ----------------------------------------------------------------------------------


def judge(call: str, path: str) -> tuple[str, str]:
    """(what it was, what is wrong with that): the second is empty where all is well."""
    try:
        table = CALLS[call](path)
    except ALLOWED as error:
        kind, text = type(error).__name__, str(error)
        wrong = "" if path in text else f"{kind} without the path: {text[:300]}"
        return kind, wrong
    except BaseException as error:
        return type(error).__name__, f"{type(error).__name__}: {str(error)[:300]}"
    return "table", "" if isinstance(table, pl.DataFrame) and table.width else "no table"


def child() -> None:
    """Read paths, a line each; answer with a line of JSON each."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        path, limit = json.loads(line)
        if limit:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + SPARE
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        print(json.dumps({call: judge(call, path) for call in CALLS}), flush=True)


class Child:
    """A process that judges files one after the other."""

    def __init__(self, folder: Path, warm: Path) -> None:
        self.log = (folder / "child.log").open("w+")
        command = [sys.executable, __file__, "--child"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        # What whole files take is no memory of a mutation.
        self.ask(warm, wait=120.0)
        self.ask(warm, limit=True)

    def ask(self, path: Path, wait: float = HANG, limit: bool = False) -> dict[str, list[str]]:
        """Return the answer; for a crash or a hang a finding of its own, and the child is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([str(path), limit]) + "\n")
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], wait)
            line = self.process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, list[str]] = json.loads(line)
            return answer
        # The fault handler writes where the child hangs.
        self.process.send_signal(signal.SIGABRT)
        code = self.process.wait()
        self.log.seek(0)
        log = self.log.read()
        kind = "hang" if line is None else "crash"
        return {"all": [kind, f"exit {code}: {log[:3000]}"]}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                stream.close()


# --- the parent ---------------------------------------------------------------------------------


class Fuzz:
    """Mutations of all files, counted, with what is wrong."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.findings: list[str] = []
        self.wholes = []
        for layout in LAYOUTS:
            for storage in STORAGE:
                path = folder / f"{layout} {storage}.h5ad"
                write(path, layout, storage)
                self.wholes.append(path)
        self.child = Child(folder, self.wholes[0])

    def renew(self) -> None:
        self.child.close()
        self.child = Child(self.folder, self.wholes[0])

    def one(self, i: int) -> None:
        """Judge mutation number `i` of this seed."""
        rng = np.random.default_rng([self.seed, i])
        whole = self.wholes[i % len(self.wholes)]
        path = self.folder / f"mutation-{self.seed}-{i}.h5ad"
        change = mutate(whole, path, rng)
        answer = self.child.ask(path)
        wrong = {call: text for call, (_, text) in answer.items() if text}
        self.outcomes.update(f"{call}: {kind}" for call, (kind, _) in answer.items())
        gone = "all" in answer
        if wrong:
            self.findings.append(f"{path} ({whole.stem}; {change}): {wrong}")
        if not wrong:
            path.unlink()
        if gone or i % 500 == 499:
            self.renew()

    def report(self) -> str:
        counts = [f"{n:8,} {outcome}" for outcome, n in sorted(self.outcomes.items())]
        return "\n".join([*counts, f"{len(self.findings)} findings", *self.findings])


def run(folder: Path, seed: int, seconds: float = np.inf, mutations: float = np.inf) -> Fuzz:
    """Judge mutations until the time or their number is reached."""
    fuzz = Fuzz(folder, seed)
    end, i = time.monotonic() + seconds, 0
    try:
        # Whole files are tables by every call, or the mutations say nothing.
        for whole in fuzz.wholes[: int(min(mutations, len(fuzz.wholes)))]:
            answer = fuzz.child.ask(whole)
            assert {kind for kind, _ in answer.values()} == {"table"}, (whole, answer)
        while i < mutations and time.monotonic() < end:
            fuzz.one(i)
            i += 1
    finally:
        fuzz.child.close()
    return fuzz


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child()
        return 0
    fuzz = run(Path(tempfile.mkdtemp(prefix="pdex-fuzz-")), options.seed, options.seconds)
    print(fuzz.report())
    if not fuzz.findings:
        shutil.rmtree(fuzz.folder)
    return min(1, len(fuzz.findings))


if __name__ == "__main__":
    sys.exit(main())
