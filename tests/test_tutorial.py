"""docs/tutorial.ipynb runs, and prints what is stored in it."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="the tutorial needs nbclient, of the extra dev")

SCRIPT = Path(__file__).parents[1] / "docs" / "tutorial.py"


@pytest.fixture(scope="module")
def tutorial():
    spec = importlib.util.spec_from_file_location("tutorial", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(cell):
    """What a cell shows: text, or the kinds of a picture or chart beside its text."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.text if output.output_type == "stream" else data["text/plain"]
        found.append((output.output_type, "image/png" in data, text))
    return found


def test_bars_are_no_outputs_and_warnings_are(tutorial):
    from nbformat.v4 import new_output

    bar = "\rpdex:  25%|##5       | 50/200 [00:02<00:06, 24.9 genes/s]"
    assert tutorial.is_bar(new_output("stream", name="stderr", text=bar))
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "pdex: 0%"}
    assert tutorial.is_bar(new_output("display_data", data=widget))
    assert not tutorial.is_bar(new_output("stream", name="stderr", text="PdexWarning: left out"))
    assert not tutorial.is_bar(new_output("stream", name="stdout", text="pdex: 1"))


def test_the_notebook_prints_what_is_stored_in_it(tutorial, tmp_path):
    import nbformat

    stored = nbformat.read(tutorial.PATH, as_version=4)
    ran = tutorial.run(tmp_path)
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for number, cell in enumerate(stored.cells):
        if cell.cell_type == "code":
            assert shown(ran.cells[number]) == shown(cell), cell.source
    assert sum(picture for cell in cells for _, picture, _ in shown(cell)) == 3
    # A screen, a report and count tables lie where it ran.
    assert {path.name for path in tmp_path.iterdir()} == {
        "screen.h5ad",
        "report.html",
        "screen.tables",
    }
