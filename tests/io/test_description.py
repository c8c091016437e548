"""A result says how it was made, in memory and in its file, and so does its report."""

import gc

import anndata as ad
import pdex
import polars as pl
import pytest
from pdex import _pdex


@pytest.fixture(scope="module")
def screen():
    return pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=4, n_effects=5)


@pytest.fixture(scope="module")
def path(screen, tmp_path_factory):
    path = tmp_path_factory.mktemp("described") / "screen.h5ad"
    new = ad.AnnData(screen.X, screen.obs, screen.var, layers={"counts": screen.X})
    new.obs["rep"] = [str(i % 3) for i in range(new.n_obs)]
    new.write_h5ad(path)
    return path


def test_of_a_frame(screen, path):
    table = pdex.de(path, "target", layer="counts", strata="rep", exclude=["T003"], min_cells=5)
    assert pdex.describe(table) == pdex.Description(
        test="wilcoxon",
        options={
            "alternative": "two-sided",
            "method": "auto",
            "continuity": True,
            "tie_correct": True,
        },
        groupby="target",
        reference="non-targeting",
        source=str(path),
        matrix="layer 'counts'",
        is_log1p=False,
        mean="arithmetic",
        pseudocount=1e-9,
        fdr="target",
        n_cells=int((screen.obs["target"] != "T003").sum()),
        n_targets=3,
        n_genes=20,
        strata="rep",
        exclude=["T003"],
        min_cells=5,
        version=pdex.__version__,
    )
    assert str(pdex.describe(table)).splitlines()[1:] == [
        "compared: obs['target'] against 'non-targeting' within obs['rep'], without 'T003', "
        "targets of at least 5 cells",
        f"data:     layer 'counts' of {path}: 310 cells, 3 targets, 20 genes",
        "means:    arithmetic of values as they are, pseudocount 1e-09; fdr over the genes of each "
        "target",
    ]


@pytest.mark.parametrize("kind", ["parquet", "ipc", "arrow", "feather"])
def test_of_a_file(screen, tmp_path, kind):
    options = {"test": "ttest", "equal_var": False, "reference": ["non-targeting", "T001"]}
    written = tmp_path / f"de.{kind}"
    lazy = pdex.sink_de(screen, "target", written, **options)
    described = pdex.describe(written)
    assert described == pdex.describe(lazy) == pdex.describe(pdex.de(screen, "target", **options))
    assert described.options == {
        "alternative": "two-sided",
        "method": "student",
        "equal_var": False,
        "overestim_var": False,
    }
    assert described.reference == ["non-targeting", "T001"]
    assert pdex.describe(str(written)) == described
    # The file is still one that everybody reads.
    assert lazy.collect().height == described.n_targets * described.n_genes


def test_others_read_the_metadata(screen, tmp_path):
    pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))

    for kind in ("parquet", "ipc"):
        pdex.sink_de(screen, "target", tmp_path / f"x.{kind}")
    expected = pdex.describe(tmp_path / "x.ipc").metadata()["pdex"].encode()
    with pa.ipc.open_file(tmp_path / "x.ipc") as file:
        assert file.schema.metadata == {b"pdex": expected}
        assert file.read_all().num_rows == 80
    assert pq.read_metadata(tmp_path / "x.parquet").metadata[b"pdex"] == expected


def test_metadata_of_ipc_files_are_added(tmp_path):
    path = tmp_path / "x.ipc"
    frame = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]})
    frame.write_ipc(path)
    assert _pdex.ipc_metadata(path) == []
    _pdex.set_ipc_metadata(path, [("one", "1"), ("two", "ü" * 1000)])
    _pdex.set_ipc_metadata(path, [("one", "new")])
    assert _pdex.ipc_metadata(path) == [("two", "ü" * 1000), ("one", "new")]
    assert pl.read_ipc(path).equals(frame)
    for content in (b"", b"ARROW1", b"x" * 100, path.read_bytes()[:-1]):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(OSError, match="no Arrow IPC file"):
            _pdex.set_ipc_metadata(tmp_path / "broken", [])
        assert (tmp_path / "broken").read_bytes() == content
    with pytest.raises(FileNotFoundError):
        _pdex.ipc_metadata(tmp_path / "none")


def test_a_frame_written_by_its_owner(screen, tmp_path):
    table = pdex.de(screen, "target")
    table.write_parquet(tmp_path / "x.parquet", metadata=pdex.describe(table).metadata())
    assert pdex.describe(tmp_path / "x.parquet") == pdex.describe(table)


def test_what_does_not_say(screen, tmp_path):
    table = pdex.de(screen, "target")
    for other in (table.filter(pl.col("fdr") < 0.05), table.lazy(), pl.DataFrame()):
        with pytest.raises(ValueError, match="describe the frame that"):
            pdex.describe(other)
    pdex.sink_de(screen, "target", tmp_path / "x.csv")
    table.write_parquet(tmp_path / "x.parquet")
    table.write_ipc(tmp_path / "x.ipc")
    for name in ("x.csv", "x.parquet", "x.ipc"):
        with pytest.raises(ValueError, match="does not say how it was made"):
            pdex.describe(tmp_path / name)
    table.write_parquet(tmp_path / "y.parquet", metadata={"pdex": "{}"})
    with pytest.raises(ValueError, match="another version of pdex"):
        pdex.describe(tmp_path / "y.parquet")
    (tmp_path / "z.parquet").write_text("text")
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        pdex.describe(tmp_path / "z.parquet")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        pdex.describe(tmp_path / "none.parquet")
    with pytest.raises(TypeError, match="expected a frame of Polars or a path"):
        pdex.describe(7)


def test_it_goes_with_the_frame(screen):
    from pdex import _description

    gc.collect()
    before = len(_description._KNOWN)
    table = pdex.de(screen, "target")
    assert len(_description._KNOWN) == before + 1
    del table
    gc.collect()
    assert len(_description._KNOWN) == before


def test_the_head_of_the_report(screen, tmp_path):
    table = pdex.de(screen, "target", reference="rest")
    for result in (table, tmp_path / "de.ipc"):
        if result is not table:
            pdex.sink_de(screen, "target", result, reference="rest")
        page = pdex.report(result, tmp_path / "report.html").read_text(encoding="utf-8")
        assert "<dt>Compared</dt><dd>obs[&#x27;target&#x27;] against &#x27;rest&#x27;</dd>" in page
    page = pdex.report(table.clear().vstack(table), tmp_path / "report.html")
    assert 'id="made"' not in page.read_text(encoding="utf-8")
