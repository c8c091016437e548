"""No public name is without its type, but for the AnnData of parameters: anndata ships no types."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ANNDATA = tuple(
    f'Type of parameter "{name}" is partially unknown\n'
    "\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}"
    'Parameter type is "Unknown | str | PathLike[str] | Group | Store'
    for name in ("data", "adata")
)
ALIASES = (
    'Type unknown for type alias "pdex._io.source.One"',
    'Type unknown for type alias "pdex._io.source.Data"',
    'Type partially unknown for type alias "pdex._io.source.Data"',
)


def test_all_types_are_known(tmp_path):
    pytest.importorskip("basedpyright", reason="the second type checker, of the extra dev")
    words = ["--verifytypes", "pdex", "--ignoreexternal", "--outputjson"]
    # The checker looks for packages where the first `python` has them.
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", *words],
        env={**os.environ, "PATH": folders},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found = json.loads(done.stdout)["typeCompleteness"]
    assert found["pyTypedPath"].endswith("py.typed")
    unknown = {
        (symbol["name"], problem["message"])
        for symbol in found["symbols"]
        for problem in symbol["diagnostics"]
        if problem["severity"] == "error"
    }
    known = (*ANNDATA, *ALIASES)
    assert {(name, text) for name, text in unknown if not text.startswith(known)} == set()
    counts = found["exportedSymbolCounts"]
    assert counts["withAmbiguousType"] == 0
    # What private modules hold is not counted.
    assert counts["withKnownType"] > 75
