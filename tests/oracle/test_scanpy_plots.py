"""scanpy's plots of what pdex wrote are, pixel by pixel, those of what scanpy wrote."""

import warnings

import numpy as np
import pdex
import pytest

sc = pytest.importorskip("scanpy", reason="scanpy is not installed (the dev extra has it)")
plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")

PLOTS = {
    "scores": (sc.pl.rank_genes_groups, {}),
    "dotplot": (sc.pl.rank_genes_groups_dotplot, {"n_genes": 4}),
    "dotplot of fold changes": (
        sc.pl.rank_genes_groups_dotplot,
        {"n_genes": 3, "values_to_plot": "logfoldchanges", "min_logfoldchange": 1},
    ),
    "heatmap": (sc.pl.rank_genes_groups_heatmap, {"n_genes": 3}),
    "matrixplot": (sc.pl.rank_genes_groups_matrixplot, {"n_genes": 3}),
    "matrixplot of p-values": (
        sc.pl.rank_genes_groups_matrixplot,
        {"n_genes": 3, "values_to_plot": "log10_pvals_adj"},
    ),
    "stacked violin": (sc.pl.rank_genes_groups_stacked_violin, {"n_genes": 2}),
    "tracksplot": (sc.pl.rank_genes_groups_tracksplot, {"n_genes": 2}),
    "violin": (sc.pl.rank_genes_groups_violin, {"n_genes": 4, "jitter": 0, "groups": ["CD34+"]}),
}


@pytest.fixture(scope="module")
def pbmc():
    """Data with scanpy's own result, and a dendrogram for the plots that draw one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = sc.datasets.pbmc68k_reduced()
        sc.tl.dendrogram(data, "bulk_labels")
    return data


@pytest.fixture(autouse=True)
def without_a_screen():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def drawn(data, plot):
    """The pixels of a plot."""
    function, options = PLOTS[plot]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(data, show=False, **options)
        figure = plt.gcf()
        figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).copy()
    plt.close("all")
    return pixels


def both(pbmc, **options):
    """What scanpy and pdex wrote."""
    for tool in (sc.tl.rank_genes_groups, pdex.tl.rank_genes_groups):
        data = pbmc.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tool(data, "bulk_labels", method="wilcoxon", tie_correct=True, **options)
        yield data


def same_pixels(pbmc, plot, **options):
    theirs, ours = (drawn(data, plot) for data in both(pbmc, **options))
    assert len(np.unique(theirs.reshape(-1, 4), axis=0)) > 20
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("plot", PLOTS)
def test_plots(pbmc, plot):
    same_pixels(pbmc, plot)


@pytest.mark.parametrize("plot", ["scores", "dotplot", "heatmap", "violin"])
def test_plots_against_a_group(pbmc, plot):
    same_pixels(pbmc, plot, reference="CD19+ B", n_genes=50, rankby_abs=True, pts=True)


@pytest.mark.parametrize("plot", ["heatmap", "tracksplot"])
def test_labels_that_are_text_become_categorical(pbmc, plot):
    """In natural order, as with scanpy: these plots refuse text."""
    data = pbmc.copy()
    data.obs["bulk_labels"] = data.obs["bulk_labels"].astype(str)
    theirs, ours = (result.obs["bulk_labels"] for result in both(data))
    assert ours.cat.categories.tolist() == theirs.cat.categories.tolist()
    assert sorted(ours.cat.categories) != ours.cat.categories.tolist()
    same_pixels(data, plot)


def test_anderson_is_drawn(pbmc):
    """The scores of a test that scanpy does not have."""
    data = pbmc.copy()
    pdex.tl.rank_genes_groups(data, "bulk_labels", method="anderson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = sc.pl.rank_genes_groups(data, groups=["CD34+"], n_genes=5, show=False)
    result = data.uns["rank_genes_groups"]
    assert [text.get_text() for text in axes[0].texts] == result["names"]["CD34+"][:5].tolist()
    heights = [text.get_position()[1] for text in axes[0].texts]
    np.testing.assert_allclose(heights, result["scores"]["CD34+"][:5])
