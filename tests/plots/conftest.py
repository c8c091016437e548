"""What the tests of pictures share: results, and the rows and marks of a chart."""

import io
import shutil

import numpy as np
import pdex
import polars as pl
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium():
    """A browser, one for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def result():
    """A simulated screen's result: 6 targets, 300 genes, 40 planted effects each."""
    screen = pdex.datasets.simulate_screen(
        n_cells=1_400, n_genes=300, n_targets=6, n_effects=40, fold_change=3.0
    )
    return pdex.de(screen, "target")


@pytest.fixture(scope="session")
def make_table():
    """Makes a result of one target from arrays, without a test behind it."""

    def make(lfc, log_p, fdr=None, names=None, **columns):
        n = len(lfc)
        p = 10.0 ** -np.asarray(log_p, dtype=float)
        table = {
            "target": ["T"] * n,
            "feature": names or [f"g{i}" for i in range(n)],
            "log2_fold_change": np.asarray(lfc, dtype=float),
            "p_value": p,
            "neg_log10_p": np.asarray(log_p, dtype=float),
            "fdr": p if fdr is None else np.asarray(fdr, dtype=float),
        }
        return pl.DataFrame(table | columns)

    return make


@pytest.fixture(scope="session")
def wide(make_table):
    """20,000 genes as a strong perturbation gives them: 3,000 hits, all others in a crowd."""
    rng = np.random.default_rng(5)
    lfc, log_p = rng.normal(0, 0.4, 20_000), rng.exponential(0.4, 20_000)
    lfc[:3_000] += np.where(np.arange(3_000) % 2, 1.0, -1.0)
    log_p[:3_000] = 3 + rng.exponential(20, 3_000)
    fdr = np.where(np.arange(20_000) < 3_000, 1e-3, 0.5)
    return make_table(lfc, log_p, fdr, [f"ENSG{i:011d}" for i in range(20_000)])


def rows(layer):
    """The data of a chart's layer as a frame."""
    inline = layer["data"]
    if isinstance(inline["values"], list):
        return pl.DataFrame(inline["values"])
    kinds = {"number": pl.Float64, "string": pl.String}
    schema = {name: kinds[kind] for name, kind in inline["format"]["parse"].items()}
    return pl.read_csv(io.StringIO(inline["values"]), schema_overrides=schema)


def layers(chart, mark):
    """The layers of a chart, as dictionaries, that draw with this mark."""
    spec = chart.to_dict()
    for part in spec["layer"]:
        # What all layers share stands above them.
        part.setdefault("data", spec.get("data"))
        if "name" in part["data"]:
            part["data"]["values"] = spec["datasets"][part["data"]["name"]]
    kind = [
        (p["mark"] if isinstance(p["mark"], dict) else {"type": p["mark"]}) for p in spec["layer"]
    ]
    return [p for p, k in zip(spec["layer"], kind, strict=True) if k["type"] == mark]


@pytest.fixture(scope="session")
def drawn():
    """The rows that a chart draws with a mark, all of its layers stacked."""

    def of(chart, mark="circle"):
        return pl.concat([rows(layer) for layer in layers(chart, mark)], how="diagonal")

    return of


@pytest.fixture(scope="session")
def spec_of():
    """The layers of a chart that draw with a mark, as dictionaries."""
    return layers
