"""What the real pdex 0.3.0 answers, and a server of its answers for live tests.

    python tests/golden/pdex03.py            # writes pdex03.json and pdex03.parquet beside itself
    python tests/golden/pdex03.py FOLDER     # answers FOLDER/jobs.json with tables in FOLDER

Both in an environment of pdex 0.3.0 (`make peers`); goldens: Python 3.11, numba-mwu 0.2.0,
NumPy 2.4.6, Polars 2.1.0, seed 3. The JSON holds the screen and, for each case, how it is called,
the schema, warnings, logged messages and the error; the Parquet file the rows of all tables.
"""

import itertools
import json
import logging
import pathlib
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp

HERE = pathlib.Path(__file__).parent
SEED, N_CELLS, N_GENES = 3, 126, 16
GROUPS = ["", "KO-c", "KO-a", "non-targeting", "KO-b", "KO-e", "KO-d"]
MAKERS = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}
NUMBERS = ["statistic", "p_value", "fdr", "target_mean", "ref_mean", "log2_fold_change"]
NUMBERS += ["percent_change"]


def draw():
    """Counts, rare to frequent; one gene is nowhere, one not in the reference, one only there."""
    rng = np.random.default_rng(SEED)
    counts = rng.negative_binomial(2, 1 / (1 + np.geomspace(0.05, 30, N_GENES)), (N_CELLS, N_GENES))
    code = rng.permutation(np.arange(N_CELLS) % len(GROUPS))
    counts[code == 1, 9] *= 5
    counts[:, 3] = 0
    reference = GROUPS.index("non-targeting")
    counts[code == reference, 5] = 0
    counts[code != reference, 6] = 0
    # KO-e's gene was not measured; KO-d has none.
    gene = [None, "g9", "g6", "g0", "g5", "g99", None]
    return {
        "counts": counts.tolist(),
        "group": [GROUPS[c] for c in code],
        "gene": [gene[c] for c in code],
    }


def build(screen, dtype="float64", layout="dense", log=False, shift=0, labels="text"):
    """The AnnData of a case: counts, or log values looked up, so that ties stay ties."""
    counts = np.array(screen["counts"])
    values = np.log1p(np.arange(counts.max() + 1) * 0.7) if log else np.arange(counts.max() + 1.0)
    obs = pd.DataFrame(
        {"group": screen["group"], "own": screen["gene"]},
        index=[f"c{i}" for i in range(len(counts))],
    )
    if labels == "integer":
        obs["group"] = [len(name) * 100 + ord(name[-1:] or "0") for name in obs["group"]]
    order = ["KO-d", "non-targeting", "KO-e", "KO-a", "", "KO-c", "KO-b"]
    if labels == "category":
        obs["group"] = pd.Categorical(obs["group"], order)
    if labels == "ordered":
        obs["group"] = pd.Categorical(obs["group"], order, ordered=True)
    if labels == "missing":
        obs["group"] = pd.Categorical(obs["group"], [name for name in order if name])
    var = pd.DataFrame(index=[f"g{i}" for i in range(counts.shape[1])])
    return ad.AnnData(MAKERS[layout](values.astype(dtype)[counts] + shift), obs, var)


def cases():
    """Name, how the screen is built, how pdex is called."""
    modes = {"ref": {}, "all": {}, "on_target": {"gene_col": "own"}}
    product = itertools.product(
        modes, ("float32", "float64"), ("dense", "csr"), (False, True), (True, False)
    )
    for mode, dtype, layout, log, geometric in product:
        name = f"{mode} {dtype} {layout} {'log' if log else 'counts'} {geometric}"
        call = {"mode": mode, "is_log1p": log, "geometric_mean": geometric, **modes[mode]}
        yield name, {"dtype": dtype, "layout": layout, "log": log}, call
    for mode, floor in itertools.product(modes, (-1.0, 4_000.0, 30_000.0, 1e7)):
        for log in (False, True):
            call = {"mode": mode, "cpm_filter": floor, "is_log1p": log, **modes[mode]}
            yield f"{mode} cpm {floor} {log}", {"layout": "csr", "log": log}, call
    for mode, epsilon in itertools.product(modes, (0.0, 0.5)):
        yield f"{mode} epsilon {epsilon}", {}, {"mode": mode, "epsilon": epsilon, **modes[mode]}
    integer = {"labels": "integer"}
    yield "integer ref", integer, {"is_log1p": False, "reference": 1403}
    yield "integer all", integer, {"mode": "all", "is_log1p": False}
    for labels, (mode, options) in itertools.product(
        ("category", "ordered", "missing"), modes.items()
    ):
        call = {"mode": mode, "is_log1p": False, **options}
        yield f"{labels} {mode}", {"labels": labels}, call
    yield "reference", {}, {"is_log1p": False, "reference": "KO-b"}
    yield "int32", {"dtype": "int32"}, {}
    yield "uint8", {"dtype": "uint8"}, {"geometric_mean": False}
    yield "csc", {"layout": "csc"}, {"is_log1p": False}
    yield "guess log", {"log": True, "dtype": "float32"}, {}
    yield "negative", {"shift": -2.0}, {"is_log1p": False, "geometric_mean": False, "epsilon": 0.0}
    negative = {"is_log1p": False, "geometric_mean": False, "cpm_filter": 5.0}
    yield "negative cpm", {"shift": -2.0}, negative
    yield "unexpected ref", {}, {"is_log1p": False, "gene_col": "own", "alpha": 1}
    yield "unexpected all", {}, {"mode": "all", "is_log1p": False, "reference": "KO-b"}
    yield "unexpected own", {}, {"mode": "on_target", "gene_col": "own", "alpha": 1}
    yield "no mode", {}, {"mode": "pairs", "is_log1p": False}
    yield "no column", {}, {"groupby": "nope"}
    yield "no reference", {}, {"is_log1p": False, "reference": "nope"}
    yield "no reference own", {}, {"mode": "on_target", "gene_col": "own", "reference": "nope"}
    yield "no gene_col", {}, {"mode": "on_target", "is_log1p": False}
    yield "bad gene_col", {}, {"mode": "on_target", "gene_col": "nope", "is_log1p": False}
    yield "negative epsilon", {}, {"epsilon": -1}


class Messages(logging.Handler):
    """Keeps what is logged as a warning."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def answer(pdex, data, call):
    """(table or None, what else was seen) of one call of any `pdex`."""
    call = {"groupby": "group", **call}
    handler, table, error = Messages(), None, None
    logger = logging.getLogger("pdex")
    logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            table = pdex(data, **call)
        except Exception as exception:
            error = [type(exception).__name__, str(exception)]
        finally:
            logger.removeHandler(handler)
    seen = {
        "warnings": [str(w.message) for w in caught if issubclass(w.category, UserWarning)],
        "logged": handler.messages,
        "error": error,
    }
    if table is not None:
        seen["schema"] = {name: str(dtype) for name, dtype in table.schema.items()}
        # 0.3 gives a column of objects where no row is left, which no file holds.
        table = table.with_columns(pl.col("target").cast(pl.String))
        if table.is_empty():
            table = table.with_columns(feature=pl.lit(None, pl.String))
    return table, seen


def golden(pdex):
    screen, tables, told = draw(), [], {}
    for name, how, call in cases():
        table, seen = answer(pdex, build(screen, **how), call)
        told[name] = {"how": how, "call": call, **seen}
        if table is not None:
            table = table.with_columns(pl.col(NUMBERS).cast(pl.Float64))
            tables.append(table.with_columns(case=pl.lit(name)))
    pl.concat(tables).write_parquet(HERE / "pdex03.parquet", compression_level=22)
    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in told.items()]
    body = ",\n".join(lines)
    text = f'{{"screen": {json.dumps(screen)},\n"cases": {{\n{body}\n}}}}\n'
    (HERE / "pdex03.json").write_text(text)


def serve(pdex, folder):
    """Answers jobs of (file, call): job i in i.parquet, what else was seen in answers.json."""
    answers = []
    for i, (file, call) in enumerate(json.loads((folder / "jobs.json").read_text())):
        table, seen = answer(pdex, ad.read_h5ad(folder / file), call)
        answers.append(seen)
        if table is not None:
            table.write_parquet(folder / f"{i}.parquet")
    (folder / "answers.json").write_text(json.dumps(answers))


def main():
    import importlib.metadata

    import pdex

    assert importlib.metadata.version("pdex") == "0.3.0"
    logging.getLogger("pdex").handlers.clear()
    if len(sys.argv) > 1:
        serve(pdex.pdex, pathlib.Path(sys.argv[1]))
    else:
        golden(pdex.pdex)


if __name__ == "__main__":
    main()
