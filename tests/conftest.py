"""Fixtures that every suite shares: samples of every kind, ways to run an expression, the data."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import polars as pl
import pytest

SCREEN = Path(__file__).parents[2] / "shared" / "data" / "papalexi_thp1_screen.h5ad"

# How a sample of n values is drawn; each takes another path through the kernels.
KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "counts": lambda rng, n: rng.poisson(1.3, n).astype(float),
    "sparse": lambda rng, n: rng.poisson(0.05, n).astype(float),
    "tied": lambda rng, n: rng.integers(-3, 4, n) / 2,
    "constant": lambda rng, n: np.full(n, float(rng.integers(0, 2))),
    "wide": lambda rng, n: rng.choice([-1.0, 1.0], n) * np.exp(50 * rng.normal(size=n)),
    "apart": lambda rng, n: rng.normal(size=n) + 9 * rng.integers(0, 2),
    "signed zeros": lambda rng, n: rng.choice([-0.0, 0.0, 1.0, -1.0], n),
    "large counts": lambda rng, n: rng.choice([0.0, 65_535.0, 65_536.0, 1e9], n),
    "neighbours": lambda rng, n: 1 + rng.integers(0, 9, n) * np.finfo(float).eps,
    "infinite": lambda rng, n: rng.choice([-np.inf, np.inf, 0.0, 3.5, -7.25], n),
}
Cases = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that depend on the test's name alone, whatever runs before it."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def make_cases(rng: np.random.Generator) -> Callable[..., Cases]:
    """Draws n pairs (target's sample, reference's sample), every third with one below 9 values."""

    def make(n: int, kinds: Iterable[str] = KINDS, largest: int = 40, least: int = 1) -> Cases:
        cases = []
        for i, kind in zip(range(n), itertools.cycle(kinds), strict=False):
            sizes = rng.integers(least, largest, 2)
            if i % 3 == 0:
                sizes[rng.integers(2)] = rng.integers(least, 9)
            cases.append((KINDS[kind](rng, sizes[0]), KINDS[kind](rng, sizes[1])))
        return cases

    return make


@pytest.fixture(name="test", params=["wilcoxon", "anderson", "ttest", "ks"])
def each_test(request: pytest.FixtureRequest) -> str:
    """Every test by its name."""
    return request.param


@pytest.fixture(scope="session")
def stack() -> Callable[[Cases], pl.DataFrame]:
    """Makes pairs of samples one frame: case, target ("x", the reference "y") and value, mixed."""

    def frame(cases: Cases) -> pl.DataFrame:
        parts = [(i, t, s) for i, xy in enumerate(cases) for t, s in zip("xy", xy, strict=True)]
        sizes = [len(s) for _, _, s in parts]
        columns = {
            "case": np.repeat([i for i, _, _ in parts], sizes),
            "target": np.repeat([t for _, t, _ in parts], sizes),
            "value": np.concatenate([s for _, _, s in parts]),
        }
        return pl.DataFrame(columns).sample(fraction=1, shuffle=True, seed=1)

    return frame


@pytest.fixture(scope="session")
def genes() -> pl.DataFrame:
    """A small long frame: three genes, targets a, b, c and ref; zeros, ties and cell counts."""
    rng = np.random.default_rng(3)
    n = 260
    columns = {
        "gene": rng.choice(["g1", "g2", "g3"], n),
        "target": rng.choice(["b", "a", "ref", "c"], n),
        "value": np.round(rng.normal(size=n), 1) * (rng.random(n) < 0.7),
        "count": rng.integers(0, 4, n),
    }
    return pl.DataFrame(columns)


@dataclass(frozen=True)
class Labels:
    """The targets of `genes` in another dtype."""

    dtype: pl.DataType
    names: dict[str, Any]
    order: list[Any]

    @property
    def column(self) -> pl.Expr:
        target = pl.col("target").replace_strict(self.names) if self.names else pl.col("target")
        return target.cast(self.dtype).alias("target")

    @property
    def reference(self) -> Any:
        return self.names.get("ref", "ref")


NUMBERS = {"a": 10, "b": 2, "c": 100, "ref": 3}
WHOLE = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128]
WHOLE += [pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128]
LABELS = [
    Labels(pl.String(), {}, ["a", "b", "c"]),
    Labels(pl.Categorical(), {}, ["a", "b", "c"]),
    Labels(pl.Enum(["unused", "c", "ref", "b", "a"]), {}, ["c", "b", "a"]),
    Labels(pl.Boolean(), {"a": True, "b": True, "c": True, "ref": False}, [True]),
    *(Labels(dtype(), NUMBERS, [2, 10, 100]) for dtype in WHOLE),
]


@pytest.fixture(params=LABELS, ids=lambda labels: type(labels.dtype).__name__)
def labels(request: pytest.FixtureRequest) -> Labels:
    """Every dtype of target, its reference label and the order of the other labels."""
    return request.param


@pytest.fixture(params=[*WHOLE, pl.Float16, pl.Float32, pl.Float64])
def dtype(request: pytest.FixtureRequest) -> pl.DataType:
    """Every dtype of value."""
    return request.param


Run = Callable[[pl.DataFrame, pl.Expr, str], pl.DataFrame]


def eager(frame: pl.DataFrame, expr: pl.Expr, name: str) -> pl.DataFrame:
    return frame.group_by("gene").agg(expr).explode(name).unnest(name)


def lazy(frame: pl.DataFrame, expr: pl.Expr, name: str, engine: Any = "in-memory") -> pl.DataFrame:
    lists = frame.lazy().group_by("gene").agg(expr)
    return lists.explode(name).unnest(name).collect(engine=engine)


def streaming(frame: pl.DataFrame, expr: pl.Expr, name: str) -> pl.DataFrame:
    return lazy(frame, expr, name, "streaming")


def over(frame: pl.DataFrame, expr: pl.Expr, name: str) -> pl.DataFrame:
    lists = frame.select("gene", expr.over("gene", mapping_strategy="join"))
    assert lists.height == frame.height
    return lists.unique("gene").explode(name).unnest(name)


def selected(frame: pl.DataFrame, expr: pl.Expr, name: str) -> pl.DataFrame:
    parts = []
    for (gene,), part in frame.sort("gene").group_by("gene", maintain_order=True):
        query = part.lazy().select(expr).unnest(name)
        parts.append(query.select(pl.lit(gene).alias("gene"), pl.all()).collect(engine="streaming"))
    return pl.concat(parts)


def chunked(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame[:7], frame[7:8], frame[8:200], frame[200:]], rechunk=False)


def sliced(frame: pl.DataFrame) -> pl.DataFrame:
    padded = pl.concat([frame.reverse(), frame, frame.reverse()], rechunk=True)
    return padded.slice(frame.height, frame.height)


RUNS: dict[str, Run] = {
    "eager": eager,
    "lazy": lazy,
    "streaming": streaming,
    "over": over,
    "selected": selected,
    "chunked": lambda f, e, n: eager(chunked(f), e, n),
    "chunked streaming": lambda f, e, n: streaming(chunked(f), e, n),
    "chunked over": lambda f, e, n: over(chunked(f), e, n),
    "chunked selected": lambda f, e, n: selected(chunked(f), e, n),
    "sliced": lambda f, e, n: eager(sliced(f), e, n),
    "sliced over": lambda f, e, n: over(sliced(f), e, n),
    "sorted": lambda f, e, n: eager(f.sort("gene", "target", "value"), e, n),
    "flagged": lambda f, e, n: streaming(f.sort("gene").set_sorted("gene"), e, n),
    "by value": lambda f, e, n: eager(f.sort("value", descending=True), e, n),
    "by target": lambda f, e, n: streaming(f.sort("target"), e, n),
}


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    """Every way in which Polars calls an expression of `genes`, a row a gene and target."""
    return RUNS[request.param]


@pytest.fixture(scope="session")
def screen_path() -> Path:
    """The real screen, which stays outside the project; see ../shared/data/README.md."""
    if not SCREEN.exists():
        pytest.skip(f"the Papalexi screen is not at {SCREEN}")
    return SCREEN


# --- Zarr stores of every kind, written from AnnData ---------------------------------------------


def write_again(parent, name, sharded, dtypes):
    """Store an array in chunks that are small and divide nothing, or as another type."""
    old = parent[name]
    values, attributes = old[...], dict(old.attrs)
    dtype = dtypes.get(old.path, values.dtype)
    chunks = ((37,), (13, 4))[old.ndim - 1]
    shards = ((37 * 3,), (13 * 2, 8))[old.ndim - 1] if sharded else None
    del parent[name]
    made = parent.create_array(name, shape=values.shape, dtype=dtype, chunks=chunks, shards=shards)
    made[...] = values.astype(dtype)
    made.attrs.update(attributes)


def loose(path):
    """Remove the copy of all metadata at the root."""
    (path / ".zmetadata").unlink(missing_ok=True)
    if (path / "zarr.json").exists():
        facts = json.loads((path / "zarr.json").read_text())
        facts.pop("consolidated_metadata", None)
        (path / "zarr.json").write_text(json.dumps(facts))


@pytest.fixture(scope="session")
def write_zarr():
    """Writes AnnData as a Zarr store, of which the matrices have small chunks; returns its path.

    kind: "2" or "3", with "sharded" and "loose" (not consolidated) behind it; dtypes: other types
    of arrays, by their places in the store.
    """
    zarr = pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")

    def write(data, path, kind="3", dtypes=None, **options):
        version, *more = kind.split()
        with ad.settings.override(zarr_write_format=int(version)):
            data.write_zarr(path, **options)
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        for place in ("X", "raw/X", *(f"layers/{name}" for name in root.get("layers", ()))):
            node = root.get(place)
            if hasattr(node, "chunks"):
                parts = [place]
            else:
                parts = [] if node is None else [f"{place}/{name}" for name in node]
            for part in parts:
                parent, _, name = part.rpartition("/")
                write_again(root[parent] if parent else root, name, "sharded" in more, dtypes or {})
        if "loose" in more:
            loose(Path(path))
        else:
            zarr.consolidate_metadata(path)
        return Path(path)

    return write


# --- an S3 server --------------------------------------------------------------------------------

KEY, SECRET, BUCKET = "key", "secret", "screens"
TOOLS = Path(__file__).parents[1] / ".tools" / "bin"


def program():
    """The server: named by PDEX_S3_SERVER, in .tools/, or on PATH."""
    path = os.environ.get("PDEX_S3_SERVER") or shutil.which(
        "s3s-fs", path=os.pathsep.join([str(TOOLS), os.environ.get("PATH", "")])
    )
    if path is None:
        pytest.skip("s3s-fs, an S3 server, is not installed: make s3-server")
    return path


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server that keeps objects in a folder, and the folder of a bucket."""
    root = tmp_path_factory.mktemp("s3")
    (root / BUCKET).mkdir()
    port = free_port()
    words = [program(), "--host", "127.0.0.1", "--port", str(port)]
    words += ["--access-key", KEY, "--secret-key", SECRET, str(root)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, f"{words[0]} ended with {process.returncode}"
            assert time.monotonic() < until, f"{words[0]} does not answer"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", root / BUCKET
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def environment(server, monkeypatch):
    """What tools for S3 are told by the environment."""
    settings = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET, "ENDPOINT_URL": server[0]}
    settings |= {"REGION": "us-east-1", "DEFAULT_REGION": "us-east-1", "ALLOW_HTTP": "true"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
