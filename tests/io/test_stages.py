"""The log names each stage of a call, with its wall and CPU seconds."""

import io
import logging
import re
import sys

import pdex


def test_stages_are_logged_at_level_debug_only(caplog):
    screen = pdex.datasets.simulate_screen(n_cells=300, n_genes=20, n_targets=2, n_effects=5)
    with caplog.at_level(logging.INFO, "pdex"):
        pdex.de(screen, "target")
    assert "stage" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "pdex"):
        pdex.de(screen, "target")
    line = r"stage '([\w ]+)': (\d+\.\d{3}) s wall, (\d+\.\d{3}) s CPU"
    found = [re.fullmatch(line, message) for message in caplog.messages if "stage" in message]
    names = [match[1] for match in found]
    assert names == ["labels", "check the matrix", "guess is_log1p", "test", "finish"]
    assert all(float(match[2]) < 60 for match in found)


def test_one_thread_and_two_give_one_table():
    screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=30, n_targets=3, n_effects=5)
    one, two = (pdex.de(screen, "target", threads=threads, fdr="all") for threads in (1, 2))
    assert one.equals(two)


def test_the_bar_shows_in_a_notebook(monkeypatch):
    """There stderr is no terminal, and IPython says that it runs."""
    import builtins
    import types

    from pdex._progress import Progress

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not Progress(10, None)._show
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    # Other tests may have imported it.
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not Progress(10, None)._show
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert Progress(10, None)._show
    assert not Progress(10, False)._show
