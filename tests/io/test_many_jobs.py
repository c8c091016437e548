"""The lines of docs/scale.md for SLURM, and docs/pdex.nf for Nextflow: the bits of one call.

- An ``sbatch`` of these tests runs each job at once, those of an array in a random order. With
  ``PDEX_SLURM=1``, the ``sbatch`` of this machine submits them; `tests/one_node_slurm.sh` starts a
  SLURM for that.
- The scripts of the three processes run in folders of their own, as Nextflow would run them; where
  Nextflow is installed, it runs them, too.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pdex
import polars as pl
import pytest
from polars.testing import assert_frame_equal

DOCS = Path(__file__).parents[2] / "docs"
PIPELINE = (DOCS / "pdex.nf").read_text()
PLATES, SHARES = 3, 4
#: Knows the options that the lines use, and no others.
SBATCH = """
import argparse, os, random, subprocess, sys
from pathlib import Path

parser = argparse.ArgumentParser(allow_abbrev=False)
for flag in ("--parsable", "--kill-on-invalid-dep", "--cpus-per-task", "--mem"):
    parser.add_argument(flag, nargs="?")
parser.add_argument("--array", default="0-0")
parser.add_argument("--dependency")
parser.add_argument("--wrap", required=True)
told = parser.parse_args()

jobs = Path(".jobs")
jobs.mkdir(exist_ok=True)
number = len(list(jobs.iterdir())) + 1
if told.dependency:
    kind, _, before = told.dependency.partition(":")
    assert kind == "afterok" and (jobs / before).read_text() == "0", told.dependency
first, last = map(int, told.array.split("-"))
indices = list(range(first, last + 1))
random.shuffle(indices)
codes = [
    subprocess.run(["sh", "-c", told.wrap], env={**os.environ, "SLURM_ARRAY_TASK_ID": str(index)})
    .returncode
    for index in indices
]
(jobs / str(number)).write_text(str(max(codes)))
print(number)
"""


@pytest.fixture(scope="module", name="screen")
def made():
    data = pdex.datasets.simulate_screen(n_cells=600, n_genes=23, n_targets=4, n_effects=6)
    data.obs["batch"] = ["x", "y", "y"] * 200
    return data


@pytest.fixture(name="folder")
def with_programs(tmp_path, monkeypatch):
    """An empty folder, in which `pdex` is among the programs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    program("pdex", f'#!/bin/sh\nexec "{sys.executable}" -m pdex "$@"\n')
    return tmp_path


def program(name, text):
    path = Path("bin", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def plates(screen, *names):
    """Write the screen as plates, and return their paths."""
    Path("plates").mkdir()
    paths = [Path("plates", name) for name in names]
    for at, path in enumerate(paths):
        screen[at :: len(paths)].copy().write_h5ad(path)
    return paths


def found(path, wanted):
    assert_frame_equal(pl.read_parquet(path), wanted, check_exact=True)


def test_slurm(screen, folder):
    paths = plates(screen, *(f"{number}.h5ad" for number in range(1, PLATES + 1)))
    blocks = re.findall(r"(?:^ {4}.*\n)+", (DOCS / "scale.md").read_text(), re.M)
    (lines,) = (block for block in blocks if "sbatch" in block)
    for of_page, here in {
        "=1-400": f"=1-{PLATES}",
        "=1-64": f"=1-{SHARES}",
        "/64": f"/{SHARES}",
    }.items():
        assert lines.count(of_page) == 1
        lines = lines.replace(of_page, here)
    queue = os.environ.get("PDEX_SLURM") == "1"
    if not queue:
        program("sbatch", f"#!{sys.executable}\n{SBATCH}")
    subprocess.run(["bash", "-euo", "pipefail", "-c", lines], check=True, timeout=100)
    until = time.monotonic() + 300 * queue
    while not Path("de.parquet").exists() and time.monotonic() < until:
        time.sleep(1)
    found("de.parquet", pdex.de(paths, "target"))


def filled(text, names):
    """The text with the values of its ``${...}``; ``\\$`` is a dollar of bash."""
    text = re.sub(r"(?<!\\)\$\{([\w.]+)\}", lambda name: names[name[1]], text)
    return text.replace("\\$", "$")


def run_process(name, folder, *values):
    """Run the script of a process of the pipeline in a folder, and return its files."""
    folder.mkdir(parents=True)
    text = re.search(rf"^process {name} \{{\n(.*?)^\}}", PIPELINE, re.M | re.S)[1]
    inputs, output, script = re.search(
        r' {4}input:\n(.*?)\n\n {4}output:\n {4}path [\'"](.*?)[\'"]\n\n'
        r' {4}script:\n {4}"""\n(.*?) {4}"""',
        text,
        re.S,
    ).groups()
    names = {"task.cpus": "1"}
    for line, value in zip(inputs.splitlines(), values, strict=True):
        kind, declared = line.split()
        if kind == "val":
            names[declared] = value
        elif declared.startswith("'"):
            target = folder / Path(declared.strip("'")).parent
            target.mkdir()
            for path in value:
                (target / path.name).symlink_to(path)
        else:
            (folder / value.name).symlink_to(value.absolute())
            names |= {declared: shlex.quote(value.name), f"{declared}.name": value.name}
    bash = ["bash", "-ue", "-c", filled(script, names)]
    subprocess.run(bash, cwd=folder, check=True, timeout=100)
    made = list(folder.glob(filled(output, names)))
    assert made, f"{name} wrote nothing that is called {output}"
    return made


MORE = {"tabulate": "-g batch", "de": "--strata batch"}


def test_commands_of_the_pipeline(screen, folder):
    paths = plates(screen, "a.h5ad", "of June.h5ad")
    defaults = dict(re.findall(r"^params\.(\w+) = '?(.*?)'?$", PIPELINE, re.M))
    told = {**defaults, **MORE, "shares": str(SHARES)}
    assert told.keys() == defaults.keys()
    names = {f"params.{name}": value for name, value in told.items()}
    options = re.search(r'TABULATE\(files, "(.*)"\)', PIPELINE)[1]
    tables = [
        run_process("TABULATE", folder / f"work/t{at}", path, filled(options, names))[0]
        for at, path in enumerate(paths)
    ]
    options = re.search(r'options = "(.*)"', PIPELINE)[1]
    share = re.search(r'\{ i -> "(.*)" \}', PIPELINE)[1]
    shares = []
    for i in map(str, range(1, SHARES + 1)):
        part = filled(share, {**names, "i": i})
        work = folder / f"work/s{i}"
        shares += run_process("TEST", work, tables, filled(options, names), part)
    (path,) = run_process("COLLECT", folder / "work/c", shares, told["output"])
    found(path, pdex.de(paths, "target", strata="batch"))


def test_nextflow(screen, folder):
    if shutil.which("nextflow") is None:
        pytest.skip("there is no nextflow")
    nextflow = {"capture_output": True, "text": True, "timeout": 300}
    if subprocess.run(["nextflow", "-version"], **nextflow).returncode:
        pytest.skip("nextflow does not start: it may have to be downloaded")
    paths = plates(screen, "a.h5ad", "of June.h5ad")
    more = [f"--{name}={value}" for name, value in MORE.items()]
    told = ["--files", "plates/*.h5ad", "--shares", str(SHARES), *more]
    done = subprocess.run(["nextflow", "run", DOCS / "pdex.nf", *told], **nextflow)
    assert done.returncode == 0, done.stdout + done.stderr
    found("results/de.parquet", pdex.de(paths, "target", strata="batch"))
