"""The short form of tests/fuzz_files.py: some mutations of fixed seeds, all of them well judged."""

import importlib.util
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[1] / "fuzz_files.py"


@pytest.fixture(scope="module", name="fuzz_files")
def imported():
    spec = importlib.util.spec_from_file_location("fuzz_files", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited by Linux")
def test_mutated_files_are_tables_or_errors_that_name_them(tmp_path, fuzz_files):
    fuzz = fuzz_files.run(tmp_path, seed=11, mutations=120)
    assert not fuzz.findings, fuzz.report()
    # Both happen: mutations that change nothing that is read, and those that are refused.
    tables = sum(n for outcome, n in fuzz.outcomes.items() if outcome.endswith("table"))
    errors = sum(fuzz.outcomes.values()) - tables
    assert min(tables, errors) > 60, fuzz.report()


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("raise ValueError('no path')", "ValueError without the path"),
        ("raise AssertionError(path)", "AssertionError"),
        ("bytearray(8 << 30)", "MemoryError"),
        ("os.abort()", "exit -6"),
        ("time.sleep(60)", "exit -6"),
    ],
)
def test_what_is_wrong_is_found(tmp_path, fuzz_files, monkeypatch, call, kind):
    """A child that misbehaves by intention is a finding."""
    script = tmp_path / "fuzz.py"
    text = PLACE.read_text().replace('pdex.de(path, "target")', "misbehave(path)")
    text = text.replace(
        "CALLS = {",
        f"""
import os

def misbehave(path):
    if "mutation" in path:
        {call}
    return pdex.de(path, "target")

CALLS = {{""",
    )
    script.write_text(text)
    monkeypatch.setattr(fuzz_files, "__file__", str(script))
    monkeypatch.setattr(fuzz_files, "HANG", 2.0)
    monkeypatch.setattr(fuzz_files.Child.ask, "__defaults__", (2.0, False))
    fuzz = fuzz_files.run(tmp_path, seed=11, mutations=1)
    assert len(fuzz.findings) == 1
    assert kind in fuzz.findings[0]
