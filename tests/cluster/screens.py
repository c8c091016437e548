"""A small screen in two files, calls that cut it into many tasks, and what they must write."""

import contextlib
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pdex
from pdex._cluster import collect, count, run, test

from . import faults

#: Tasks of a few cells, genes and targets, into which the client of a call cuts it.
SMALL = [(count, "TASK", 6000), (test, "GENES", 12)]
SMALL += [(collect, "ROWS", 48), (collect, "P_VALUES", 60)]
PERFORM = "pdex._cluster.pool.perform"
#: What workers note when they begin to write a table or another file, or a task.
BEGUN = ["pdex._io.tables.Writer.__init__", "pdex._files.replacing", PERFORM]


@contextlib.contextmanager
def replaced(*values):
    """Set attributes for a while, each told by its owner, its name and its value."""
    old = [getattr(owner, name) for owner, name, _ in values]
    for owner, name, value in values:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(values, old, strict=True):
            setattr(owner, name, value)


def sink(files, output, **options):
    """Count twice two parts, test 2 blocks, adjust 2 ranges of p-values, collect 2 parts."""
    with replaced(*SMALL):
        return pdex.sink_de(files, "target", output, fdr="all", engine="dask", **options)


def tabulate(files, output, **options):
    """Count twice two parts, and merge 2 blocks."""
    with replaced(*SMALL):
        return pdex.tabulate(files, "target", output=output, engine="dask", **options)


def here(call, *args, **options):
    """Call in this process, without a cluster."""
    import dask

    with dask.config.set(scheduler="synchronous"):
        return call(*args, **options)


@dataclass
class Screen:
    """The files, and of each call without faults: what it writes, and the parts it is made of."""

    folder: Path
    files: list[str]
    whole: dict
    parts: dict

    def tasks(self, call):
        """The number of tasks of a call: a share of the numbers has two files."""
        return sum(not name.endswith(".sorted.ipc") for name in self.parts[call])

    def check(self, call, output):
        """The output is that of a call without faults, and nothing is beside it."""
        found, whole = content(output), self.whole[call]
        assert found == whole, (sorted(found), sorted(whole))
        beside = [path.name for path in output.parent.iterdir()]
        assert beside == [output.name], beside

    def older(self, call, output):
        """Write an older output, of the first file alone, and return its content."""
        shutil.copytree(self.folder / f"older {call.__name__}", output)
        return content(output)


def made(folder):
    """Write the files of a screen, and make of it what calls make, in this process."""
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

        with replaced((run, "remove", tidy)):
            here(call, files, output)
        here(call, files[:1], folder / f"older {call.__name__}")
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
    kinds = ["counts/*.counts", "shares-*/*.ipc", "adjusted-*/*.ipc", "parts-*/*.parquet"]
    found = [path for kind in [*kinds, "merged-*/*.tables"] for path in folder.glob(kind)]
    return {str(path.relative_to(folder)) for path in found if not path.name.startswith(".")}


def begun(notes, output, pid=None):
    """How often workers, or one of them, began to write each file of a call, by its name."""
    found = [call for call in faults.noted(notes) if call[0] != PERFORM and pid in (None, call[2])]
    paths = [re.search(r"PosixPath\('(.*?)'\)", arguments)[1] for _, arguments, _ in found]
    folder = f"{hidden(output)}/"
    return Counter(path.removeprefix(folder) for path in paths if path.startswith(folder))


def again(made, there=None):
    """The parts that were begun more than once, or that were there; but for ranges of p-values."""
    made = {name for name, times in made.items() if (times > 1 if there is None else name in there)}
    return {name for name in made if "adjusted" not in name}


def attempts(notes, pattern=""):
    """The processes that began a task in which a pattern is found, one for each time."""
    found = [call for call in faults.noted(notes) if call[0] == PERFORM]
    return [pid for _, arguments, pid in found if re.search(pattern, arguments)]


def part(file, cells):
    """A pattern for the task that counts some cells of a file."""
    return rf"{re.escape(file)}'.* cells=\({cells[0]}, {cells[1]}\)"


# --- on workers, which import this module -------------------------------------------------------


def have_version(version):
    """Let this worker have another version of pdex."""
    pdex._pdex.__version__ = version


def forget():
    """Let this worker have no module of pdex's for tasks."""
    sys.modules["pdex._cluster.pool"] = None


def remember():
    """Undo `forget`."""
    del sys.modules["pdex._cluster.pool"]
