"""Screens in files, and ways to run the command line."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import pytest
from pdex.cli import main

PDEX = (sys.executable, "-m", "pdex")


@pytest.fixture(scope="session")
def screen():
    screen = pdex.datasets.simulate_screen(n_cells=600, n_genes=50, n_targets=6, n_effects=10)
    screen.layers["log"] = screen.X.log1p()
    screen.obs["rep"] = ["r1", "r2", "r3"] * 200
    return screen


@pytest.fixture(scope="session")
def path(screen, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "screen.h5ad"
    screen.write_h5ad(path, compression="gzip")
    return path


@pytest.fixture(scope="session")
def slow_path(tmp_path_factory):
    """A screen of many distinct values, whose Anderson-Darling tests against the rest take long.

    Measured: 12 s on two cores; a bar comes after one.
    """
    rng = np.random.default_rng(1)
    labels = np.repeat([f"t{i}" for i in range(300)] + ["non-targeting"], 4)
    screen = ad.AnnData(rng.poisson(300, (len(labels), 30_000)).astype(np.float32))
    screen.obs["target"] = pd.Categorical(labels)
    path = tmp_path_factory.mktemp("slow") / "slow.h5ad"
    screen.write_h5ad(path)
    return path


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs words in a new folder; returns the exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def child():
    """Runs words in a process of its own, stdout and stderr in pipes."""

    def child(*words, program=PDEX, **settings):
        words = [*program, *map(str, words)]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, **settings)

    return child


class Terminal:
    """A process whose stdin, stdout and stderr are a terminal, and what it wrote there."""

    def __init__(self, *words, columns=120, cwd=None, environment=None):
        self.end, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

        def own():
            fcntl.ioctl(end, termios.TIOCSCTTY, 0)

        names = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        around = {k: v for k, v in os.environ.items() if k not in names}
        around |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50"}
        self.process = subprocess.Popen(
            [*PDEX, *map(str, words)],
            stdin=end,
            stdout=end,
            stderr=end,
            cwd=cwd,
            env=around | (environment or {}),
            start_new_session=True,
            preexec_fn=own,
        )
        os.close(end)
        self.text, self.decoder = "", codecs.getincrementaldecoder("utf-8")()

    def wait_for(self, words, seconds=60):
        """Read until `words` were written or, where None, the process has ended."""
        until = time.monotonic() + seconds
        while words is None or words not in self.text:
            assert time.monotonic() < until, self.text
            if not select.select([self.end], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(self.end, 4096)
            except OSError:  # so Linux says that the other end is closed
                part = b""
            if not part:
                break
            self.text += self.decoder.decode(part)
        assert words is None or words in self.text, self.text
        return self.text

    def type(self, text):
        os.write(self.end, text.encode())

    def status(self):
        self.wait_for(None)
        os.close(self.end)
        return self.process.wait(timeout=60)


@pytest.fixture
def terminal(tmp_path):
    """Starts words in a terminal of their own, in a new folder."""
    return lambda *words, **settings: Terminal(*words, cwd=tmp_path, **settings)
