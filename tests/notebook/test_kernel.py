"""A notebook in a real Jupyter kernel: the bar, the tables, and no output that nobody asked for."""

import re

import pdex
import pytest

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

#: A bar two seconds after its start, which draws at once.
BAR = """
from pdex._progress import Progress
bar = Progress(200, None)
bar._start -= 2
bar.advance(50)
bar.advance(150)
bar.close()
"""
SCREEN = """import pdex
screen = pdex.datasets.simulate_screen(n_cells=600, n_genes=40, n_targets=3, n_effects=5)
screen.obs["guide"] = [f"guide {i % 3}" for i in range(600)]"""
WITHOUT_WIDGETS = "import sys; sys.modules['ipywidgets'] = None"


@pytest.fixture
def run(tmp_path):
    """Runs cells in a new kernel; returns the outputs of each."""

    def execute(*sources):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook = nbformat.v4.new_notebook(cells=cells)
        resources = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(notebook, timeout=120, resources=resources)
        client.execute()
        return [cell.outputs for cell in notebook.cells], client.widget_state

    return execute


def test_the_bar_is_text_without_ipywidgets_and_nothing_warns(run):
    (_, outputs), widgets = run(WITHOUT_WIDGETS, BAR)
    assert widgets == {}
    assert {(o.output_type, o.get("name")) for o in outputs} == {("stream", "stderr")}
    text = "".join(o.text for o in outputs)
    last = text.strip().split("\r")[-1]
    # 200 genes in two seconds and a little: the second without a bar counts, too.
    assert re.fullmatch(r"pdex: 100%\|█+\| 200/200 \[00:0\d<00:00, +\d\d\.\d+ genes/s\]", last)
    assert "Warning" not in text
    assert "ipywidgets" not in text


def test_the_bar_is_a_widget_with_ipywidgets(run):
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    (outputs,), widgets = run(BAR)
    assert [o.output_type for o in outputs] == ["display_data"]
    assert "application/vnd.jupyter.widget-view+json" in outputs[0].data
    states = {state["_model_name"]: state for state in widgets.values()}
    bar = states["FloatProgressModel"]
    assert (bar["max"], bar["value"], bar["bar_style"]) == (200, 200, "success")


def test_a_bar_that_stops_early_says_so(run):
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    _, widgets = run(BAR.replace("bar.advance(150)\n", ""))
    states = {state["_model_name"]: state for state in widgets.values()}
    assert states["FloatProgressModel"]["bar_style"] == "danger"


def test_a_session(run):
    """From a screen to a report: each cell shows a table or nothing, and no cell warns."""
    cells = {
        SCREEN: None,
        "pdex.info(screen)": "AnnData in memory: 600 cells x 40 genes",
        "table = pdex.de(screen, 'target')\ntable": "log2_fold_change",
        "pdex.describe(table)": "obs[&#x27;target&#x27;] against &#x27;non-targeting&#x27;",
        "pdex.calibrate(screen, 'target', by='guide', min_cells=2)": "Calibration: ",
        "pdex.tabulate(screen, 'target', output='screen.tables')": "600 in 4 groups by target",
        "pdex.report(table, 'report.html')": None,
    }
    outputs, _ = run(*cells)
    for (source, wanted), shown in zip(cells.items(), outputs, strict=True):
        assert [o for o in shown if o.output_type != "execute_result"] == [], source
        if wanted is not None:
            assert wanted in shown[0].data["text/html"]
    assert outputs[-1][0].data["text/plain"] == "PosixPath('report.html')"


def test_what_is_shown_without_html(run):
    """The plain text of a notebook is what print shows."""
    (_, told, made), _ = run(
        SCREEN, "pdex.info(screen)", "pdex.describe(pdex.de(screen, 'target'))"
    )
    space = {}
    exec(SCREEN, space)
    assert told[0].data["text/plain"] == str(pdex.info(space["screen"]))
    text = str(pdex.describe(pdex.de(space["screen"], "target")))
    assert made[0].data["text/plain"] == text
    assert text.count("\n") == 3
