"""`pdex info`: what it says of a file is so, and its command runs."""

import json
import os
import shlex

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex import _info_targets as overview
from pdex import _matrices
from pdex._pdex import control_ranks


@pytest.fixture
def facts(run):
    """Runs `pdex info --json` on an AnnData object and returns what it says."""

    def facts(adata, **settings):
        adata.write_h5ad("x.h5ad", **settings)
        status, out, err = run("info", "x.h5ad", "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return facts


def small(x=None, **obs):
    x = np.arange(40.0).reshape(8, 5) if x is None else x
    return ad.AnnData(x, pd.DataFrame(obs, map(str, range(x.shape[0]))))


LABELS = ["non-targeting"] * 3 + ["B"] * 3 + ["A", "A"]


def test_of_a_screen(run, screen, path):
    _, out, _ = run("info", path, "--json")
    facts = json.loads(out)
    assert facts["bytes"] == os.path.getsize(path)
    assert (facts["n_cells"], facts["n_genes"], facts["repeated_genes"]) == (600, 50, 0)
    x, log = facts["matrices"]
    with h5py.File(path) as file:
        parts = [file["X"][part] for part in ("data", "indices", "indptr")]
        disk = sum(part.id.get_storage_size() for part in parts)
    assert x == {
        "name": "X",
        "shape": [600, 50],
        "layout": "csr",
        "dtype": "float32",
        "stored": screen.X.nnz,
        "filters": ["gzip"],
        "bytes": disk,
        "memory": screen.X.nnz * 8 + 601 * 4,
        "values": {
            "kind": "counts",
            "least": 0.0,
            "most": float(screen.X.max()),
            "seen": screen.X.nnz,
            "not_finite": 0,
        },
    }
    assert (log["name"], log["values"]["kind"]) == ("layer log", "log1p")
    assert log["values"]["most"] == pytest.approx(np.log1p(screen.X.max()))
    assert facts["obs"] == [
        {
            "name": "target",
            "kind": "categorical",
            "distinct": 7,
            "missing": 0,
            "controls": ["non-targeting"],
        },
        {"name": "rep", "kind": "categorical", "distinct": 3, "missing": 0, "controls": []},
    ]
    assert facts["targets"] == {
        "column": "target",
        "reference": "non-targeting",
        "reference_cells": 60,
        "n_targets": 6,
        "least": 90,
        "median": 90.0,
        "most": 90,
        "unlabelled": 0,
        "other_controls": [],
    }
    result = pdex.de(path, "target")
    assert facts["result"] == {"rows": result.height, "bytes": result.estimated_size()}


def test_its_command_runs(run, path, tmp_path):
    (tmp_path / "a b.h5ad").symlink_to(path)
    _, out, _ = run("info", "a b.h5ad")
    command = out.splitlines()[-1].strip()
    expected = "pdex de 'a b.h5ad' --groupby target --reference non-targeting -o 'a b.de.parquet'"
    assert command == expected
    assert run(*shlex.split(command)[1:])[0] == 0
    assert os.path.exists("a b.de.parquet")


def test_for_people(run, screen, path):
    _, out, err = run("info", path)
    assert err == ""
    lines = out.splitlines()
    assert lines[1] == "600 cells x 50 genes"
    x = next(line for line in lines if line.startswith("X "))
    stored = f"{screen.X.nnz:,} ({screen.X.nnz / 30_000:.0%})"
    assert f"csr      float32   {stored}   gzip" in x
    assert x.rstrip().endswith(f"counts: 0 to {screen.X.max():.4g}")
    assert "Column 'target' looks like the targets: 6, and 60 control cells ('non-targeting')." in (
        lines
    )
    assert "Each target has 90 cells." in lines
    assert "The result has 300 rows, 34 kB in memory:" in lines
    assert all(line == line.rstrip() or "  " in line for line in lines)


def test_no_matrix_is_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr(_matrices, "_SAMPLE", 10)
    x = sp.random(100, 20, 0.5, "csr", rng=1)
    layers = {"log": x, "dense": np.ones((100, 20))}
    adata = ad.AnnData(
        x, pd.DataFrame({"target": ["a", "b"] * 50}, map(str, range(100))), layers=layers
    )
    adata.write_h5ad("x.h5ad")
    _, out, _ = run("info", "x.h5ad", "--json")
    # Whole rows of a dense matrix: one.
    seen = {m["name"]: m["values"]["seen"] for m in json.loads(out)["matrices"]}
    assert seen == {"X": 11, "layer log": 11, "layer dense": 20}


KINDS = {
    "counts": (np.arange(40.0), "counts", []),
    "log": (np.log1p(np.arange(40.0)), "log1p", []),
    "normalised": (np.arange(40.0) * 7.3, "normalised", ["--counts"]),
    "residuals": (np.arange(40.0) - 7.3, "residuals", []),
    "integers": (np.arange(40), "counts", []),
    "booleans": (np.arange(40) % 2 == 0, "counts", []),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_values(facts, name):
    values, kind, options = KINDS[name]
    found = facts(small(values.reshape(8, 5), target=LABELS))
    assert found["matrices"][0]["values"]["kind"] == kind
    words = shlex.split(found["command"])
    assert words[7:-2] == options
    assert any("keeps it as it is" in note for note in found["notes"]) == bool(options)
    assert any("negative" in note for note in found["notes"]) == (kind == "residuals")


def test_a_layer_is_proposed_where_x_is_scaled_or_missing(facts, run):
    adata = small(np.arange(40.0).reshape(8, 5) - 9, target=LABELS)
    adata.layers["counts"] = np.arange(40.0).reshape(8, 5)
    found = facts(adata)
    assert "--layer counts" in found["command"]
    assert found["notes"] == [
        "X holds negative values, such as scaled ones: layer counts is proposed"
    ]
    assert run(*shlex.split(found["command"])[1:])[0] == 0
    del adata.X
    found = facts(adata)
    assert "--layer counts" in found["command"]
    assert found["notes"] == ["there is no X: layer counts is proposed"]


def test_raw_empty_and_odd_matrices(facts):
    adata = small(np.arange(40.0).reshape(8, 5), target=LABELS)
    adata.raw = ad.AnnData(sp.csc_matrix(np.eye(8, 9)), obs=adata.obs)
    adata.layers["zero"] = sp.csr_matrix((8, 5))
    adata.layers["nan"] = np.where(np.eye(8, 5) > 0, np.nan, 2.0)
    found = facts(adata)
    by_name = {m["name"]: m for m in found["matrices"]}
    assert by_name["raw"]["shape"] == [8, 9]
    assert (by_name["raw"]["layout"], by_name["raw"]["stored"]) == ("csc", 8)
    assert by_name["layer zero"]["values"] is None
    assert by_name["layer nan"]["values"]["not_finite"] == 5
    assert found["notes"] == ["layer nan holds 5 NaN or infinite values among the first"]


COLUMNS = {
    "guides and targets": (
        {"guide": [*LABELS[:3], "g1", "g2", "g3", "g3", "g3"], "gene": LABELS},
        ("gene", "non-targeting"),
    ),
    "the surest name": (
        {"arm": ["control", "drug"] * 4, "pert": LABELS},
        ("pert", "non-targeting"),
    ),
    "the name decides": (
        {"batch": ["ctrl", "b"] * 4, "condition": ["ctrl", "b", "c", "d"] * 2},
        ("condition", "ctrl"),
    ),
    "no controls": ({"cluster": ["a", "b"] * 4}, ("cluster", "rest")),
    "underscores": ({"arm": ["Non_Targeting", "b"] * 4}, ("arm", "Non_Targeting")),
    "numbers": ({"target": [1, 2] * 4}, ("target", "rest")),
    "numbers with a fraction": ({"target_score": [0.5, 1.5] * 4}, None),
    "nothing": ({"depth": np.arange(8) / 3}, None),
    "names of cells": ({"barcode": list("abcdefgh")}, None),
    "one group": ({"sample": ["ctrl"] * 8}, None),
    "one label and empty": ({"target": ["ctrl", ""] * 4}, None),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_column_of_targets(facts, run, name):
    obs, expected = COLUMNS[name]
    found = facts(small(**obs))
    if expected is None:
        assert (found["targets"], found["result"], found["command"]) == (None, None, None)
        assert "No column of obs looks like groups of cells" in run("info", "x.h5ad")[1]
        return
    assert (found["targets"]["column"], found["targets"]["reference"]) == expected
    assert run(*shlex.split(found["command"])[1:])[0] == 0
    result = pdex.de("x.h5ad", expected[0], reference=expected[1])
    assert found["result"] == {"rows": result.height, "bytes": result.estimated_size()}


def test_whole_numbers_of_many_values_are_measurements(facts, monkeypatch):
    counts = {"target_umis": [1, 2, 3, 4] * 2}
    assert facts(small(**counts))["targets"]["n_targets"] == 4
    monkeypatch.setattr(overview, "_MOST_LABELS", 3)
    assert facts(small(**counts))["targets"] is None


def test_raw_is_proposed_where_x_is_scaled_and_no_layer_will_do(facts, run):
    adata = small(np.arange(40.0).reshape(8, 5) - 9, target=LABELS)
    adata.raw = ad.AnnData(np.log1p(np.arange(56.0)).reshape(8, 7), obs=adata.obs)
    found = facts(adata)
    call = "pdex.de('x.h5ad', 'target', reference='non-targeting', use_raw=True)"
    assert (found["call"], found["result"]["rows"]) == (call, 2 * 7)
    words = shlex.split(found["command"])
    assert words[7:-2] == ["--use-raw"]
    assert run(*words[1:])[0] == 0
    assert pl.read_parquet("x.de.parquet")["log2_fold_change"].is_finite().all()
    assert found["notes"] == ["X holds negative values, such as scaled ones: raw is proposed"]
    adata.layers["counts"] = np.arange(40.0).reshape(8, 5)
    assert "layer='counts'" in facts(adata)["call"]
    # Where X will do, raw is not proposed.
    adata.X = adata.layers["counts"]
    assert facts(adata)["call"].endswith("reference='non-targeting')")


def test_numbered_names_of_controls():
    numbered = ["NTC_1", "NTC1", "NTC-1", "ntc 001", "NT1", "NTg1", "sgNTC-1", "NTC_sg2", "gNT-3"]
    numbered += ["sgNTC", "NTC-g", "NEG_2", "PBS_1", "WT_2", "unt1", "sgRNA_NT_7"]
    for label in numbered:
        name = next(n for n in ("ntc", "unt", "nt", "neg", "pbs", "wt") if n in label.lower())
        assert control_ranks([label, "non-targeting_1"]) == [
            # Behind all names without a number, in the order of the names.
            24 + control_ranks([name])[0],
            24 + control_ranks(["non-targeting"])[0],
        ], label
    genes = ["NTN1", "NTN4", "NT5C", "NT5E", "NT5C3A", "NTS", "NTF3", "NTRK1", "NTG1", "GNT1"]
    genes += ["WT1", "WT-1", "PBS2", "WTAP", "NEGR1", "UNTX", "SGNTX1", "PNT1", "ANTXR1", "KNTC1"]
    assert control_ranks(genes) == [None] * len(genes)
    assert control_ranks(["NTC", "NT"]) == [2, 3]


@pytest.mark.parametrize(
    ("labels", "reference", "also"),
    [
        (
            ["non-targeting", "NTC", "A", "B"],
            "non-targeting",
            "Also looks like controls: 'NTC'; it counts as a target.",
        ),
        (
            ["non-targeting_1", "safe-targeting_1", "safe-targeting_2", "B"],
            "non-targeting_1",
            "Also look like controls: 'safe-targeting_1', 'safe-targeting_2'; they count as "
            "targets.",
        ),
        (["NTC_1", "NTC_2", "A", "B"], ["NTC_1", "NTC_2"], None),
    ],
)
def test_controls_of_another_kind_are_named(facts, run, labels, reference, also):
    found = facts(small(target=labels * 2))
    assert found["targets"]["reference"] == reference
    printed = [line for line in run("info", "x.h5ad")[1].splitlines() if line.startswith("Also")]
    assert printed == ([] if also is None else [also])
    assert (also is None) == (found["targets"]["other_controls"] == [])


def test_one_cell_is_no_cells():
    labels = ["ctrl"] * 3 + ["A"] * 4 + [None]
    assert pdex.info(small(target=labels)).sentences() == [
        "Column 'target' looks like the targets: 1, and 3 control cells ('ctrl').",
        "Each target has 4 cells; 1 cell has no label.",
    ]


def test_the_columns_in_print():
    many = {f"c{i}": ["a", "b"] * 4 for i in range(7)}
    lines = str(pdex.info(small(target=LABELS, depth=np.arange(8) / 3, **many))).splitlines()
    assert lines[2] == "Columns: target (3), depth, c0 (2), c1 (2), c2 (2), c3 (2) and 3 more"
    assert str(pdex.info(small(target=LABELS))).splitlines()[2] == "Columns: target (3)"


def test_missing_and_empty_labels(facts, run):
    labels = ["ctrl", None, "b", "b", "", "ctrl", "c", "c"]
    found = facts(small(target=pd.Categorical(labels)))
    assert found["obs"][0]["missing"] == 1
    assert (found["targets"]["unlabelled"], found["targets"]["n_targets"]) == (2, 2)
    out = run("info", "x.h5ad")[1]
    assert "12.5%" in out
    assert "2 cells have no label." in out


@pytest.mark.parametrize(("compression", "filters"), [("gzip", ["gzip"]), ("lzf", ["lzf"])])
@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_storage(facts, layout, compression, filters):
    x = np.eye(8, 5, dtype=np.float32)
    matrix = x if layout == "dense" else getattr(sp, f"{layout}_matrix")(x)
    found = facts(small(matrix, target=LABELS), compression=compression)["matrices"][0]
    stored = 40 if layout == "dense" else 5
    assert (found["layout"], found["filters"], found["stored"]) == (layout, filters, stored)


def test_the_real_screen(run, screen_path):
    _, out, _ = run("info", screen_path, "--json")
    facts = json.loads(out)
    assert (facts["n_cells"], facts["n_genes"]) == (20_729, 299)
    assert facts["matrices"][0]["stored"] == 1_390_126
    targets = facts["targets"]
    assert (targets["column"], targets["reference"]) == ("target", "non-targeting")
    assert (targets["n_targets"], targets["reference_cells"]) == (25, 2_386)
    assert facts["result"]["rows"] == 25 * 299


def test_no_anndata(run, tmp_path):
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file["matrix"] = [1, 2]
    status, _, err = run("info", "x.h5ad")
    assert status == 1
    missing = (
        f"pdex: error: {tmp_path / 'x.h5ad'}: there is no 'obs' in this file, which has 'matrix'"
    )
    assert err.startswith(f"{missing}: expected what AnnData.write_h5ad writes")


# --- count tables --------------------------------------------------------------------------------


@pytest.fixture
def tables(screen, tmp_path):
    """Tables of a screen some of whose cells lack a target, by target and replicate."""
    some = screen.copy()
    some.obs["target"] = some.obs["target"].where(np.arange(600) % 10 > 0)
    some.write_h5ad(tmp_path / "screen.h5ad")
    os.utime(tmp_path / "screen.h5ad", (0, 1_700_000_000))
    return pdex.tabulate(
        tmp_path / "screen.h5ad", ["target", "rep"], output=tmp_path / "x y.tables"
    )


def test_of_tables(run, screen, tables, tmp_path):
    status, out, err = run("info", "x y.tables", "--json")
    assert (status, err) == (0, "")
    facts, (status, of_screen, _) = json.loads(out), run("info", "screen.h5ad", "--json")
    parts = list(tables.path.glob("part-*"))
    n_rows = sum(pl.read_parquet(part).height for part in parts)
    n_bytes = sum(path.stat().st_size for path in tables.path.iterdir())
    assert facts == {
        "path": "x y.tables",
        "bytes": n_bytes,
        **{name: json.loads(of_screen)[name] for name in ("n_cells", "n_genes", "repeated_genes")},
        "matrices": [
            {
                "name": "X",
                "shape": [600, 50],
                "layout": "tables",
                "dtype": "float32",
                "stored": n_rows,
                "filters": ["zstd"],
                "bytes": sum(part.stat().st_size for part in parts),
                "memory": 12 * n_rows,
                "values": {"kind": "counts", "least": 0.0, "most": float(screen.X.max())},
            }
        ],
        **{name: json.loads(of_screen)[name] for name in ("obs", "targets", "result")},
        "command": "pdex de 'x y.tables' --groupby target --reference non-targeting "
        "-o 'x y.de.parquet'",
        "call": "pdex.de('x y.tables', 'target', reference='non-targeting')",
        "notes": [],
        "sources": None,
        "tables": {
            "groupby": ["target", "rep"],
            "n_groups": tables.labels.height,
            "n_rows": n_rows,
            "bytes_per_cell": n_bytes / 600,
            "parts": 1,
            "sources": [
                {
                    "path": str(tmp_path / "screen.h5ad"),
                    "bytes": os.path.getsize("screen.h5ad"),
                    "modified": "2023-11-14T22:13:20Z",
                }
            ],
            "pdex": pdex.__version__,
            "format": 1,
        },
    }
    assert facts["targets"]["unlabelled"] == facts["obs"][0]["missing"] == 60
    assert run(*shlex.split(facts["command"])[1:])[0] == 0
    assert os.path.exists("x y.de.parquet")


def test_of_tables_for_people(run, screen, tables, tmp_path):
    _, out, _ = run("info", "x y.tables")
    lines = out.splitlines()
    found = pdex.info(tables)
    n_bytes = found.bytes
    size = f"{n_bytes / 1000:.0f} kB"
    assert lines[0] == f"x y.tables: {size}, {n_bytes / 600:.0f} B per cell"
    assert lines[1] == "600 cells x 50 genes"
    assert lines[2] == f"Count tables of {tables.labels.height} groups of cells, by target x rep"
    kilobytes = os.path.getsize("screen.h5ad") / 1000
    assert lines[3] == (
        f"Counted from {tmp_path}/screen.h5ad ({kilobytes:.0f} kB, 2023-11-14T22:13:20Z) by pdex "
        f"{pdex.__version__}"
    )
    x = next(line for line in lines if line.startswith("X "))
    assert x.split()[:4] == ["X", "float32", f"{found.tables['n_rows']:,}", "1"]
    assert x.rstrip().endswith(f"counts: 0 to {screen.X.max():.4g}")
    target = next(line for line in lines if line.startswith("target "))
    assert target.split() == ["target", "categorical", "7", "10.0%", "non-targeting"]
    targets, cells = found.sentences()
    assert (targets in lines, cells in lines) == (True, True)
    assert targets.startswith("Column 'target' looks like the targets: 6, and ")
    assert cells.endswith("; 60 cells have no label.")
    assert lines[-1] == f"  {pdex.info('x y.tables').command}"


def test_tables_as_an_object(tables):
    found = pdex.info(tables)
    assert found.path == str(tables.path)
    assert str(found).splitlines()[:2] == [
        f"{tables.path}: 600 cells x 50 genes, counted in {tables.labels.height} groups by target "
        "and rep",
        f"  X: tables, counts, 0 to {found.matrices[0]['values']['most']:.4g}",
    ]
    assert str(found).splitlines()[-1] == found.call
    assert pdex.info(str(tables.path)) == found
    assert pdex.info(f"{tables.path}/").command.endswith("-o 'x y.de.parquet'")


def test_tables_of_a_screen_in_memory(run, screen):
    pdex.tabulate(screen, "rep", output="a.tables")
    found = pdex.info("a.tables")
    assert found.tables["sources"] == [{"path": None}]
    assert "Counted from AnnData in memory by pdex" in run("info", "a.tables")[1]
    assert (found.targets["column"], found.targets["reference"]) == ("rep", "rest")
    assert (found.targets["least"], found.targets["most"]) == (200, 200)
    assert run(*shlex.split(found.command)[1:])[0] == 0


def test_tables_of_a_source_that_has_changed(run, screen, tables, tmp_path):
    screen[:300].write_h5ad("screen.h5ad")
    note = f"Note: changed since it was counted: {str(tmp_path / 'screen.h5ad')!r}."
    assert note in run("info", "x y.tables")[1].splitlines()
    os.remove("screen.h5ad")
    assert pdex.info(tables).notes == []
    # Merged tables know the source of theirs.
    merged = pdex.tabulate(tables, "target", output="few")
    assert pdex.info(merged).tables["sources"] == pdex.info(tables).tables["sources"]


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_values_in_tables(run, name):
    values, kind, options = KINDS[name]
    adata = small(target=LABELS)
    adata.layers["other"] = values.reshape(8, 5)
    pdex.tabulate(adata, "target", layer="other", output="a.tables")
    found = pdex.info("a.tables")
    assert found.matrices[0]["name"] == "layer 'other'"
    assert found.matrices[0]["values"]["kind"] == kind
    dtype = "uint8" if values.dtype == np.bool_ else str(values.dtype)
    assert found.matrices[0]["dtype"] == dtype
    words = shlex.split(found.command)
    # The tables hold no other layer.
    assert words[7:-2] == options
    assert any("is_log1p=False keeps it" in note for note in found.notes) == bool(options)
    assert any("negative" in note for note in found.notes) == (kind == "residuals")
    assert run(*words[1:])[0] == 0


def test_tables_of_infinite_values(run):
    x = np.arange(40.0).reshape(8, 5) / 3
    x[0, 0], x[1, 1] = np.inf, -np.inf
    pdex.tabulate(small(x, target=LABELS), "target", output="a.tables")
    facts = json.loads(run("info", "a.tables", "--json")[1], parse_constant=pytest.fail)
    assert facts["notes"] == ["X holds infinite values"]
    assert (
        -facts["matrices"][0]["values"]["least"] == facts["matrices"][0]["values"]["most"] > 1e308
    )


def test_several_tables_are_one_screen(run, screen, tables, tmp_path):
    halves = [tmp_path / f"{half}.tables" for half in (1, 2)]
    for half, path in zip((slice(250), slice(250, None)), halves, strict=True):
        pdex.tabulate(screen[half].copy(), ["target", "rep"], output=path)
    want = pdex.info(pdex.tabulate(screen, ["target", "rep"], output="whole"))
    each = [pdex.info(path) for path in halves]
    for data, path in ((halves, None), ("?.tables", "?.tables")):
        found = pdex.info(data)
        assert (found.obs, found.targets, found.result) == (want.obs, want.targets, want.result)
        assert (found.n_cells, found.n_genes, found.path) == (600, 50, path)
        assert found.matrices[0]["values"] == want.matrices[0]["values"]
        assert found.bytes == sum(one.bytes for one in each)
        for fact in ("n_groups", "n_rows", "parts"):
            assert found.tables[fact] == sum(one.tables[fact] for one in each)
        assert len(found.sources) == 2
        assert str(found).startswith("2 sources: 600 cells x 50 genes, counted in ")
        assert run(*shlex.split(found.command)[1:])[0] == 0
    assert pdex.info(halves).call == (
        f"pdex.de({[str(path) for path in halves]!r}, 'target', reference='non-targeting')"
    )
    lines = run("info", *(path.name for path in halves))[1].splitlines()
    assert lines[:2] == [
        f"2 sources: {found.bytes / 1000:.0f} kB, {found.bytes / 600:.0f} B per cell",
        "600 cells x 50 genes",
    ]
    few = pdex.tabulate(screen[:9].copy(), "rep", output="few")
    assert [column["name"] for column in pdex.info([*halves, few]).obs] == ["rep"]
    with pytest.raises(TypeError, match="holds count tables: name screens alone, or tables alone"):
        pdex.info([halves[0], screen])
