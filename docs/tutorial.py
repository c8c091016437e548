"""Run docs/tutorial.ipynb in an empty folder and store what it prints: `python docs/tutorial.py`.

`tests/test_tutorial.py` fails if the stored outputs differ from those of a new run.
"""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).with_name("tutorial.ipynb")


def run(folder: Path) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of a run in `folder`."""
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_bar(output)]
    # The version of Python, and the state of bars, are those of whoever ran it last.
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    return notebook


def is_bar(output: nbformat.NotebookNode) -> bool:
    """Return whether an output is a progress bar, which only slow machines show."""
    if output.output_type == "stream":
        return output.name == "stderr" and output.text.lstrip("\r").startswith("pdex: ")
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def shrink(notebook: nbformat.NotebookNode) -> None:
    """Keep 64 colours of each picture: a third of the bytes."""
    from PIL import Image

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                small = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
                small.save(file := io.BytesIO(), "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Store the outputs of a run."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = run(Path(folder))
    shrink(notebook)
    nbformat.write(notebook, PATH)


if __name__ == "__main__":
    main()
