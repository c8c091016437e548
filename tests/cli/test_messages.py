"""Messages in the shell: warnings and Python's filters, options in place of arguments, hints."""

import os

import numpy as np
import pdex
import pytest

FIX = "pass --counts if that is right, --is-log1p if not"


@pytest.fixture(scope="module")
def scaled(screen, tmp_path_factory):
    """A screen of values that are neither counts nor logarithms."""
    data = screen.copy()
    data.X = data.X * 40.5
    path = tmp_path_factory.mktemp("scaled") / "scaled.h5ad"
    data.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A screen with a target whose cells are all 0 in a gene that few other cells have."""
    data = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    x = data.X.toarray()
    x[:, 0] = 0
    (controls,) = np.nonzero((data.obs["target"] == "non-targeting").to_numpy())
    x[controls[:2], 0] = 1
    data.X = x
    path = tmp_path_factory.mktemp("flat") / "flat.h5ad"
    data.write_h5ad(path)
    return path


def filtered(child, words, filters, tmp_path):
    """Run with PYTHONWARNINGS; return status, stderr and the files that were written."""
    done = child(*words, cwd=tmp_path, env={**os.environ, "PYTHONWARNINGS": filters})
    return done.returncode, done.stderr, os.listdir(tmp_path)


@pytest.mark.parametrize("filters", ["error", "error::UserWarning"])
def test_a_warning_may_be_an_error(child, scaled, tmp_path, filters):
    words = ("de", scaled, "-g", "target", "-o", "de.parquet")
    status, err, files = filtered(child, words, filters, tmp_path)
    assert (status, files) == (1, [])
    assert err.startswith(f"pdex: error: {scaled}: X has fractional values up to ")
    assert err.endswith(f"; {FIX}\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("filters", "n_lines"), [("", 1), ("default", 1), ("ignore", 0)])
def test_other_filters(child, scaled, tmp_path, filters, n_lines):
    words = ("de", scaled, "-g", "target", "-o", "de.parquet")
    status, err, files = filtered(child, words, filters, tmp_path)
    assert (status, files, err.count("\n")) == (0, ["de.parquet"], n_lines)
    assert err.endswith(f"; {FIX}\n" if n_lines else "")


def test_a_warning_at_the_end_may_be_an_error(child, flat, tmp_path):
    words = ("de", flat, "-g", "target", "-t", "ttest", "--no-equal-var", "-o", "de.parquet")
    status, err, files = filtered(child, words, "error", tmp_path)
    assert (status, files) == (1, [])
    assert err.startswith("pdex: error: Welch's t-test (--no-equal-var): in ")
    assert err.endswith("; use --equal-var or --test wilcoxon\n")
    status, err, files = filtered(child, words, "", tmp_path)
    assert (status, files) == (0, ["de.parquet"])
    assert err.startswith("pdex: warning: Welch's t-test (--no-equal-var): in ")


def test_python_is_told_of_arguments(scaled):
    text = str(pdex.info(scaled))
    assert "is_log1p=False keeps it as it is" in text
    assert "--counts" not in text


ERRORS = {
    ("--fdr", "0.01"): "Invalid value for '--fdr': '0.01' is not one of 'target', 'all': the "
    "cut-off belongs to pdex report --fdr; see pdex de --help",
    ("--fdr", "al"): "Invalid value for '--fdr': 'al' is not one of 'target', 'all'. Did you mean "
    "'all'? See pdex de --help",
    ("--test", "wilcox"): "Invalid value for '-t' / '--test': 'wilcox' is not one of 'wilcoxon', "
    "'anderson', 'ttest', 'ks'. Did you mean 'wilcoxon'? See pdex de --help",
    ("--test", "5"): "Invalid value for '-t' / '--test': '5' is not one of 'wilcoxon', "
    "'anderson', 'ttest', 'ks'; see pdex de --help",
}


@pytest.mark.parametrize("words", ERRORS)
def test_an_unknown_word_gets_a_hint(run, path, words):
    assert run("de", path, "-g", "target", *words) == (2, "", f"pdex: error: {ERRORS[words]}\n")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--min-abs-lfc", "the limit belongs to pdex report --min-abs-lfc; see pdex de --help"),
        ("--alpha", "the cut-off belongs to pdex report --fdr; see pdex de --help"),
        ("--tset", "Did you mean '--test'? See pdex de --help"),
    ],
)
def test_an_unknown_option_gets_a_hint(run, path, option, hint):
    status, _, err = run("de", path, "-g", "target", option, "1")
    assert (status, err.count("?;"), err.count(option)) == (2, 0, 1 + (option in hint))
    assert err.endswith(f"{hint}\n")


def test_columns_in_one_word_get_a_hint(run, path):
    status, _, err = run("tabulate", path, "-g", "target,rep", "-o", "x.tables")
    assert status == 1
    assert err.endswith(
        "obs has no column 'target,rep'. Did you mean 'target'? Columns: 'target', 'rep'. Repeat "
        "-g for several columns: -g target -g rep\n"
    )
    assert "Repeat" not in run("tabulate", path, "-g", "targt", "-o", "x.tables")[2]
