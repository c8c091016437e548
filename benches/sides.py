"""Processes that do the work: peers in environments of their own, sides that alternate.

`python benches/sides.py FOLDER PEER...` makes the environments of these peers.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
#: What is installed for each peer; one of them has this package's name.
PEERS = {
    "illico": ["illico==0.6.0", "scanpy==1.11.5"],
    # For cluster.py, with the Dask of pyproject.toml. read_lazy needs xarray; illico needs
    # statsmodels, which it does not name.
    "illico-dask": ["illico[dask]==0.6.0", "distributed==2026.8.*", "xarray", "statsmodels"],
    "pdex-0.1": ["pdex==0.1.28"],
    "pdex-0.3": ["pdex==0.3.0"],
    "polars-ds": ["polars-ds", "polars==2.1.*", "pyarrow", "numpy"],
    "cell-eval": ["cell-eval==0.8.2", "pdex==0.3.0"],
}


def environment(folder: Path, peer: str) -> Path:
    """Return the Python of a peer's environment, which is made where there is none."""
    home = folder / peer
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[peer]], check=True)
        (home / "ready").touch()
    return python


class Side:
    """One process that runs a job of worker.py and prints lines."""

    def __init__(
        self, job: dict[str, Any], python: str | Path = sys.executable, **variables: str
    ) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() closes it
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", str(WORKER), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **variables},
        )

    def read(self) -> dict[str, Any] | None:
        """Return the next line's numbers; None at the end."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        if self.process.wait() != 0:
            self.errors.seek(0)
            raise SystemExit(f"a side failed:\n{self.errors.read()[-2_000:]}")
        return None

    def expect(self) -> dict[str, Any]:
        """Return the next line's numbers, which must come."""
        found = self.read()
        if found is None:
            raise SystemExit("a side ended without an answer")
        return found

    def time(self) -> float:
        """Return the seconds of one more call."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.expect()["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def once(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all lines of a job in a fresh process."""
    side = Side(job)
    lines = []
    while (line := side.read()) is not None:
        lines.append(line)
    side.close()
    return lines


def alternate(ours: Side, theirs: Side, rounds: int) -> tuple[float, float]:
    """Return both sides' median seconds of calls that alternate, once both are ready."""
    ours.expect()
    theirs.expect()
    times = [(ours.time(), theirs.time()) for _ in range(rounds)]
    ours.close()
    theirs.close()
    mine, other = (statistics.median(side) for side in zip(*times, strict=True))
    return mine, other


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(environment(Path(sys.argv[1]), name))
