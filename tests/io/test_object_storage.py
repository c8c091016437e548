"""Zarr stores in object storage: a real S3 server on this machine, over HTTP.

`make s3-server` installs the server, s3s-fs of crates.io, into .tools/.
"""

import pdex
import pytest
from pdex._io.zarr import stores
from polars.testing import assert_frame_equal

zarr = pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")
pytest.importorskip("obstore", reason="object storage is read with obstore")
KEY, SECRET, BUCKET = "key", "secret", "screens"


@pytest.fixture(scope="module")
def screen():
    return pdex.datasets.simulate_screen(n_cells=300, n_genes=20, n_targets=3, n_effects=5)


@pytest.fixture(scope="module")
def kept(server, screen, tmp_path_factory, write_zarr):
    """The folder of a store whose objects were uploaded, and its name in the bucket."""
    import obstore

    address, folder = server
    path = write_zarr(screen, tmp_path_factory.mktemp("zarr") / "screen.zarr")
    store = store_of(address)
    for file in path.rglob("*"):
        if file.is_file():
            obstore.put(store.store, str(file.relative_to(path)), file.read_bytes())
    return folder / "a" / "screen.zarr"


def store_of(address, **options):
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        prefix="a/screen.zarr",
        endpoint=address,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=options.get("secret", SECRET),
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    return zarr.storage.ObjectStore(store, read_only=options.get("read_only", True))


def same(got, expected):
    assert_frame_equal(got, expected, check_exact=True)


@pytest.mark.parametrize("memory_limit", ["100MB", None])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_of_obstore(server, screen, kept, read_only, memory_limit):
    assert (kept / "X" / "data" / "c" / "1").is_file()
    store = store_of(server[0], read_only=read_only)
    expected = pdex.de(screen, "target")
    same(pdex.de(store, "target", memory_limit=memory_limit), expected)
    same(pdex.de(zarr.open_group(store, mode="r"), "target"), expected)
    found = pdex.info(store)
    assert (found.n_cells, found.n_genes, found.bytes) == (300, 20, None)
    assert found.matrices[0]["stored"] == screen.X.nnz


CLIENTS = {"obstore": "obstore", "fsspec": "s3fs"}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("environment", "kept")
def test_a_url(screen, monkeypatch, client, tmp_path):
    pytest.importorskip(CLIENTS[client])
    monkeypatch.setattr(stores, "_has", lambda name: name in (client, CLIENTS[client]))
    url, expected = f"s3://{BUCKET}/a/screen.zarr", pdex.de(screen, "target")
    same(pdex.de(url, "target"), expected)
    same(pdex.scan_anndata(url, "target").collect(), pdex.scan_anndata(screen, "target").collect())
    found = pdex.info(url)
    assert (found.path, found.bytes, found.n_cells) == (url, None, 300)
    assert found.command.startswith(f"pdex de {url} --groupby target")
    tables = pdex.tabulate(url, "target", output=tmp_path / "screen.tables")
    same(pdex.de(tables, "target"), expected)
    assert pdex.info(tables).tables["sources"] == [{"path": url}]
    with pytest.raises(ValueError, match=f"s3://{BUCKET}/none.zarr: there is no group of a Zarr"):
        pdex.de(f"s3://{BUCKET}/none.zarr", "target")


def test_a_missing_chunk(server, kept):
    chunk = kept / "X" / "data" / "c" / "5"
    content = chunk.read_bytes()
    chunk.unlink()
    try:
        with pytest.raises(FileNotFoundError, match=r"S3Store.*array 'X/data'.*chunk 'c/5' is mis"):
            pdex.de(store_of(server[0]), "target")
    finally:
        chunk.write_bytes(content)


def test_a_key_that_is_refused(server, kept):
    with pytest.raises(OSError, match=r"S3Store.*cannot be opened as a Zarr store"):
        pdex.de(store_of(server[0], secret="another"), "target")


def test_a_server_that_is_gone(kept):
    with pytest.raises(OSError, match=r"S3Store.*cannot be opened as a Zarr store"):
        pdex.de(store_of("http://127.0.0.1:1"), "target")
