"""Zarr stores of every kind, written from AnnData."""

import json
from pathlib import Path

import anndata as ad
import pytest


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
