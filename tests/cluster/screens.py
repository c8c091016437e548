"""A small screen in two files, calls that cut it into many tasks, and what they must write."""

import contextlib
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pdex
from pdex._cluster import collect, count, run, test

from . import faults

#: Tasks of a few cells, genes and targets, which the client of a call cuts.
SMALL = [(count, "TASK", 6000), (test, "GENES", 8)]
SMALL += [(collect, "ROWS", 48), (collect, "P_VALUES", 40)]
#: What workers note when they begin to write a table or another file, or a task.
BEGUN = ["pdex._io.tables.Writer.__init__", "pdex._files.replacing", "pdex._cluster.pool.perform"]


@contextlib.contextmanager
def replaced(*values):
    """Set attributes for a while: modules or classes, names and values."""
    old = [getattr(owner, name) for owner, name, _ in values]
    for owner, name, value in values:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(values, old, strict=True):
            setattr(owner, name, value)


def sink(files, output, **options):
    """All kinds of tasks: count, test, adjust and collect."""
    with replaced(*SMALL):
        return pdex.sink_de(files, "target", output, fdr="all", engine="dask", **options)


def tabulate(files, output, **options):
    """Count and merge."""
    with replaced(*SMALL):
        return pdex.tabulate(files, "target", output=output, engine="dask", **options)


@dataclass
class Screen:
    """The files, and of each call without faults: what it writes, and of which parts."""

    folder: Path
    files: list[str]
    whole: dict
    parts: dict

    def tasks(self, call):
        """The number of tasks of a call: a share has two files."""
        return sum(not name.endswith(".sorted.ipc") for name in self.parts[call])

    def check(self, call, output):
        """The output is that of a call without faults, and nothing is beside it."""
        found, whole = content(output), self.whole[call]
        assert found == whole, (sorted(found), sorted(whole))
        beside = [path.name for path in output.parent.iterdir()]
        assert beside == [output.name], beside

    def older(self, call, output):
        """Write an older result, of the first file alone, and return its content."""
        shutil.copytree(self.folder / f"older {call.__name__}", output)
        return content(output)


def made(folder):
    """Write the files of a screen, and make of it what calls must make, in this process."""
    import dask

    files = []
    for number in range(2):
        screen = pdex.datasets.simulate_screen(
            n_cells=120, n_genes=24, n_targets=4, n_effects=6, seed=number
        )
        files.append(str(folder / f"{number}.h5ad"))
        screen.write_h5ad(files[-1])
    whole, found, remove = {}, {}, run.remove
    for call in (sink, tabulate):
        output = folder / call.__name__

        def tidy(path, call=call, output=output):
            # First called when all tasks are done.
            found.setdefault(call, parts(output))
            remove(path)

        with replaced((run, "remove", tidy)), dask.config.set(scheduler="synchronous"):
            call(files, output)
            call(files[:1], folder / f"older {call.__name__}")
        whole[call] = content(output)
    return Screen(folder, files, whole, found)


def code(call, files, output):
    """The code of a call, for a client that is a process of its own."""
    return f"""\
import distributed, pathlib
from tests.cluster import screens
distributed.Client()
screens.{call.__name__}({files}, pathlib.{output!r})
"""


def hidden(output):
    """The folder of the files of a call."""
    return output.with_name(f".{output.name}.work")


def content(folder):
    """The bytes of all files in a folder, by their names, of hidden ones, too."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def parts(output):
    """The whole tables and other files that tasks of a call made, by their names."""
    folder = hidden(output)
    kinds = ["counts/*.tables", "shares-*/*.ipc", "adjusted-*/*.ipc", "parts-*/*.parquet"]
    found = [path for kind in [*kinds, "merged-*/*.tables"] for path in folder.glob(kind)]
    return {str(path.relative_to(folder)) for path in found if not path.name.startswith(".")}


def begun(notes, output, pid=None):
    """How often workers, or one of them, began to write each part of a call, by its name."""
    lines = [args for name, args, its in faults.noted(notes) if name in BEGUN[:2] and pid in (None, its)]
    paths = [re.search(r"PosixPath\('(.*?)'\)", line)[1] for line in lines]
    folder = f"{hidden(output)}/"
    return Counter(path.removeprefix(folder) for path in paths if path.startswith(folder))


def attempts(notes, text=""):
    """The processes that began a task that has some text in it, each time."""
    lines = [(args, pid) for name, args, pid in faults.noted(notes) if name == BEGUN[2]]
    return [pid for args, pid in lines if text in args]
