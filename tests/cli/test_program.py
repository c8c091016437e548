"""The program: its streams, its exit status, its completion; the commands demo and report."""

import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pdex
import polars as pl
import pytest
from pdex.cli import main
from pdex.cli.app import COMMANDS, program

PDEX = (sys.executable, "-m", "pdex")


def test_version_help_and_nothing(run):
    assert run("--version") == (0, f"pdex {pdex.__version__}\n", "")
    status, help_text, _ = run("--help")
    assert status == 0
    for command in COMMANDS:
        assert f"\n│ {command.name} " in help_text
    assert run() == (2, help_text, "")
    assert run("dee")[0] == 2


@pytest.mark.parametrize("command", [program, *COMMANDS], ids=lambda command: command.name)
def test_examples_of_the_help_are_commands(run, command):
    words = [] if command is program else [command.name]
    status, out, _ = run(*words, "-h")
    assert status == 0
    examples = [line.strip() for line in out.split(" Examples\n")[1].splitlines() if line.strip()]
    assert examples == command.examples
    assert len(examples) >= 2
    for line in examples:
        example = re.split(r" *[#|]", line.replace("@genes.txt", "a"))[0].split('"')
        arguments = example[0].split()
        for part, text in enumerate(example[1:]):
            arguments += [text] if part % 2 == 0 else text.split()
        assert arguments.pop(0) == "pdex"
        # Parses, and runs nothing.
        name = arguments[0]
        program.commands[name].make_context(name, arguments[1:])


def test_import_of_pdex_leaves_the_command_line_out():
    code = "import pdex, sys; print({'click', 'rich', 'pdex.cli'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_entry_point_is_main():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '[project.scripts]\npdex = "pdex.cli:main"' in text
    script = (
        f"import sys; sys.argv[0] = 'pdex'; from pdex.cli import {main.__name__}; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, b"pdex")


def test_stdout_has_the_rows_alone(child, path):
    done = child("de", path, "-g", "target", "--threads", 1)
    assert (done.returncode, done.stderr) == (0, "")
    got = pl.read_csv(io.StringIO(done.stdout))
    expected = pdex.de(path, "target")
    assert got["p_value"].to_list() == expected["p_value"].to_list()
    assert "\x1b" not in child("info", path).stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves(path, unbuffered):
    words = [*PDEX, "de", str(path), "-g", "target", "--reference", "rest"]
    for _ in range(3):
        words += ["--groups", "T000,T001,T002,T003"]
    run = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    # A pipe of 4 kB is full before all rows are in it.
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(run.stdout, 1031, 4096)
    assert run.stdout.readline().startswith(b"target,")
    run.stdout.close()
    assert run.stderr.read() == b""
    assert run.wait(timeout=60) == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_was_never_there(path, unbuffered):
    end, stdout = os.pipe()
    os.close(end)
    done = subprocess.run(
        [*PDEX, "info", str(path)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(stdout)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_reader_that_left_before_the_table(path):
    end, stdout = os.pipe()
    os.close(end)
    words = [*PDEX, "de", str(path), "-g", "target", "--format", "table"]
    done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE)
    os.close(stdout)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name != "posix", reason="closes file descriptors in the shell")
def test_closed_streams(path, tmp_path):
    def status(words, closed):
        line = f"exec {sys.executable} -m pdex {words} {closed}"
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True)
        return done.returncode, done.stdout, done.stderr

    for words in (f"info {path}", f"de {path} -g target", f"de {path} -g target -o de.csv"):
        assert status(words, ">&-") == (0, b"", b"")
    assert pl.read_csv(tmp_path / "de.csv").height == 300
    assert status(f"de {path} -g nope", "2>&-") == (1, b"", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["de", "-g", "target"], ["info"]])
def test_a_full_disk(path, words, unbuffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PDEX, words[0], str(path), *words[1:]],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (1, b"pdex: error: No space left on device\n")


@pytest.mark.parametrize("place", [0, 1, 4])
def test_debug_anywhere_shows_the_traceback(run, path, place):
    words = ["de", path, "-g", "nope"]
    words.insert(place, "--debug")
    status, _, err = run(*words)
    assert status == 1
    assert err.startswith("Traceback")
    assert "NotFoundError" in err
    assert "direct cause" not in err
    last = err.splitlines()[-1]
    assert last.startswith("pdex: error: ")
    assert last.endswith("obs has no column 'nope'. Columns: 'target', 'rep'")
    assert "UsageError" in run("de", path, "--debug", "-g", "target", "-o", "x.xlsx")[2]


def test_an_error_of_another_kind_is_one_line(run, path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("of two\nlines")

    monkeypatch.setattr(pdex, "de", fail)
    expected = "pdex: error: RuntimeError: of two lines (--debug shows where)\n"
    assert run("de", path, "-g", "target") == (1, "", expected)


SIGNALS = {signal.SIGINT: (130, b"interrupted"), signal.SIGTERM: (143, b"terminated")}


@pytest.mark.parametrize("sent", SIGNALS)
def test_a_signal_to_a_process(slow_path, tmp_path, sent):
    words = [*PDEX, "de", str(slow_path), "-g", "target", "-t", "anderson", "-r", "rest"]
    run = subprocess.Popen(
        [*words, "-o", "de.parquet", "--progress"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    # The bar says that it is at work.
    assert b"pdex" in os.read(run.stderr.fileno(), 1000)
    time.sleep(0.2)
    run.send_signal(sent)
    _, err = run.communicate(timeout=60)
    status, word = SIGNALS[sent]
    assert (run.returncode, err.splitlines()[-1]) == (status, b"pdex: " + word)
    assert b"Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_a_bar_in_a_terminal_and_ctrl_c(slow_path, terminal, tmp_path):
    run = terminal("de", slow_path, "-g", "target", "-t", "anderson", "-r", "rest", "-o", "x.csv")
    run.wait_for("pdex: the values look like counts")
    text = run.wait_for(" genes")
    assert "/30000 [" in text
    run.type("\x03")
    assert run.status() == 130
    assert "pdex: interrupted" in run.text
    assert "Traceback" not in run.text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("columns", [120, 80])
def test_a_table_in_a_terminal(path, terminal, columns):
    run = terminal("de", path, "-g", "target", columns=columns)
    assert run.status() == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in run.text.splitlines()]
    assert lines[0] == "pdex: the values look like counts"
    means = ["target_mean", "reference_mean"] if columns == 120 else []
    names = ["target", "feature", *means, "log2_fold_change", "auroc", "p_value", "fdr"]
    assert lines[1].split() == names
    rows = [line for line in lines if line.startswith("T0")]
    best = pdex.de(path, "target").sort("p_value").head(20)
    assert [row.split()[1] for row in rows] == best["feature"].to_list()
    assert max(map(len, lines)) <= columns
    # Up is red, down is blue.
    fold = best["log2_fold_change"].to_list()
    colours = re.findall(r"\x1b\[3([14])m *-?[0-9.]+", run.text)
    assert colours == ["1" if x > 0 else "4" for x in fold]


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)]
)
def test_help_in_a_terminal(terminal, environment, coloured):
    run = terminal("de", "--help", environment=environment)
    assert run.status() == 0
    assert "─ The test ─" in re.sub(r"\x1b\[[0-9;]*m", "", run.text)
    # NO_COLOR is about colours: bold stays.
    assert ("\x1b[1m Examples" in run.text) == (environment.get("TERM") != "dumb")
    assert (re.search(r"\x1b\[[0-9;]*3[0-7]m", run.text) is not None) == coloured


@pytest.mark.parametrize("columns", [35, 40, 50, 60, 100])
def test_a_narrow_terminal_has_whole_numbers(path, terminal, columns):
    run = terminal("de", path, "-g", "target", "--head", "5", columns=columns)
    assert run.status() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run.text).replace("\r", "").splitlines()
    table = lines[1 : lines.index("", 2)]
    assert max(map(len, table)) <= columns
    rows = [line.split() for line in table if line.startswith("T00")]
    best = pdex.de(path, "target").sort("p_value").head(5)
    assert [row[1] for row in rows] == best["feature"].to_list()
    assert [row[-1] for row in rows] == [f"{fdr:.1e}" for fdr in best["fdr"]]
    fold = 2 if columns < 100 else 4
    assert [row[fold] for row in rows] == [f"{lfc:.4g}" for lfc in best["log2_fold_change"]]
    assert (len(rows[0]) < 6) == (columns < 60)


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_has_whole_facts(path, terminal, columns):
    run = terminal("info", path, columns=columns)
    assert run.status() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run.text).replace("\r", "").splitlines()
    tables = lines[3 : lines.index("", lines.index("", 3) + 1)]
    assert max(map(len, tables)) <= columns
    words = [line.split() for line in tables if line.startswith("X ")]
    assert words[0][1] == "csr"
    assert ("float32" in words[0]) == (columns == 60)
    assert "counts:" in words[0]
    assert any(line.split()[:2] == ["target", "categorical"] for line in tables)


def test_a_file_from_a_terminal_is_told(path, terminal, tmp_path):
    run = terminal("de", path, "-g", "target", "-o", "de.csv")
    assert run.status() == 0
    size = os.path.getsize(tmp_path / "de.csv") / 1000
    assert run.text.splitlines()[-1] == f"pdex: wrote de.csv: {size:.0f} kB"


def test_report(run, path):
    run("de", path, "-g", "target", "-o", "de.parquet")
    run("de", path, "-g", "target", "-r", "T001", "-o", "null.csv")
    assert run("report", "de.parquet") == (0, "", "")
    words = ["--title", "My screen", "--fdr", "0.01", "--min-abs-lfc", "0.5"]
    assert run("report", "de.parquet", "-o", "x.html", *words, "--calibration", "null.csv")[0] == 0
    expected = pdex.report(
        "de.parquet",
        "expected.html",
        title="My screen",
        fdr=0.01,
        min_abs_lfc=0.5,
        calibration="null.csv",
    )
    assert Path("x.html").read_bytes() == expected.read_bytes()
    assert Path("de.html").read_bytes() == pdex.report("de.parquet", "y.html").read_bytes()
    status, _, err = run("report", path)
    assert status == 1
    text = "is a screen, not a result: run pdex de first, with --output"
    assert err == f"pdex: error: {path} {text}\n"
    assert run("report", "de.parquet", "--fdr", "2")[0] == 2
    assert run("report", "de.parquet", "--fdr", "nan")[0] == 2
    assert run("report", "de.parquet", "--min-abs-lfc", "inf")[0] == 2


@pytest.mark.parametrize("output", ["de.parquet", "de.csv", "-", "x.pdf", "report"])
def test_a_report_is_no_other_file(run, path, output):
    run("de", path, "-g", "target", "-o", "de.parquet")
    Path("de.csv").write_text("old")
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    status, _, err = run("report", "de.parquet", "-o", output)
    assert status == 2
    assert err == (
        f"pdex: error: {output}: expected a name that ends in .html or .htm; "
        "see pdex report --help\n"
    )
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_a_report_of_gzipped_text(run, child, path):
    import gzip

    _, rows, _ = run("de", path, "-g", "target")
    Path("de.csv").write_text(rows)
    Path("de.csv.gz").write_bytes(gzip.compress(rows.encode()))
    assert run("report", "de.csv.gz", "-o", "x.html") == (0, "", "")
    run("report", "de.csv", "-o", "y.html")
    assert Path("x.html").read_bytes() == Path("y.html").read_bytes()
    run("report", "de.csv.gz")
    assert Path("de.html").read_bytes() == Path("y.html").read_bytes()
    assert "expected the result of pdex.de as one of" in run("report", "de.parquet.gz")[2]


def test_a_report_names_the_file_at_fault(run, path):
    run("de", path, "-g", "target", "-o", "de.csv")
    Path("other.csv").write_text("a,b\n1,2\n")
    text = "pdex: error: other.csv: the frame has no column"
    assert run("report", "other.csv")[2].startswith(f"{text} 'target'")
    status, _, err = run("report", "de.csv", "--calibration", "other.csv")
    assert (status, err.startswith(f"{text} 'neg_log10_p'")) == (1, True)
    assert not os.path.exists("de.html")
    Path("none.csv").write_text(Path("de.csv").read_text().splitlines()[0] + "\n")
    assert run("report", "none.csv")[2].startswith("pdex: error: none.csv: the frame has no rows")


def test_demo(run):
    status, out, err = run("demo", "-o", "demo.csv", "--screen", "screen.h5ad")
    assert (status, err) == (0, "")
    found = pl.read_csv("demo.csv").filter(pl.col("fdr") < 0.05)
    true = found["planted"].sum()
    # Measured with seed 0: 971 of 1,000 planted effects.
    assert true > 950
    assert f"{true} of the 1,000 planted ones are among them" in out
    assert "their p-values are equal\n" in out
    wrote = "wrote demo.csv", "wrote screen.h5ad: try pdex info screen.h5ad"
    hint = "to see the result as a page: pdex report demo.csv"
    assert out.splitlines()[-3:] == [*wrote, hint]
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
    assert sorted(os.listdir()) == ["demo.csv", "screen.h5ad"]
    again = pdex.de("screen.h5ad", "target")
    assert again["p_value"].to_list() == pl.read_csv("demo.csv")["p_value"].to_list()
    assert run("demo", "-o", "demo.xlsx")[0] == 2
    assert run("demo", "--screen", "x.txt")[0] == 2
    assert run("demo", "--screen", "no/x.h5ad")[0] == 1
    assert len(os.listdir()) == 2
    os.mkdir("x.h5ad")
    status, out, err = run("demo", "-o", "other.csv", "--screen", "x.h5ad")
    assert (status, out) == (1, "")
    assert err == "pdex: error: --screen x.h5ad is a folder: expected the path of a file\n"
    assert not os.path.exists("other.csv")


def test_demo_ends_in_a_picture_and_the_report(run):
    names = ("--picture", "demo.png", "--report", "demo.html")
    status, out, err = run("demo", *names)
    assert (status, err) == (0, "")
    hits = pl.read_parquet("demo.parquet").filter(pl.col("fdr") < 0.05)
    most = hits.group_by("target").len().sort("len")["target"][-1]
    *_, table, picture, report = out.splitlines()
    assert table == "wrote demo.parquet"
    assert picture == f"wrote demo.png: the genes of target {most}"
    assert report == "wrote demo.html: open it in a browser"
    data = Path("demo.png").read_bytes()
    # Twice as large as on the screen.
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG")
    assert 1_100 < width < 2_000 > height > 800
    assert "<title>A simulated screen" in Path("demo.html").read_text()
    assert sorted(os.listdir()) == ["demo.html", "demo.parquet", "demo.png"]
    for option, name, code in (
        ("--picture", "x.jpg", 2),
        ("--report", "x.txt", 2),
        ("--report", "no/x.html", 1),
    ):
        status, out, err = run("demo", "-o", "x.parquet", option, name)
        assert (status, out, name in err) == (code, "", True)
    assert len(os.listdir()) == 3


COMPLETIONS = {
    "pdex ": ["de", "tabulate", "collect", "info", "report", "calibrate", "demo"],
    "pdex de {path} --test ": ["wilcoxon", "anderson", "ttest", "ks"],
    "pdex de {path} --method a": ["auto", "asymptotic"],
    "pdex de {path} --groupby ": ["target", "rep"],
    "pdex de {path} --groupby t --strata r": ["rep"],
    "pdex de {path} -g target --reference n": ["non-targeting"],
    "pdex de {path} -g target --groups T00": [f"T00{i}" for i in range(6)],
    "pdex de {path} -g target --groups T000,T001,T00": [f"T000,T001,T00{i}" for i in range(2, 6)],
    "pdex de {path} -g target --exclude non": ["non-targeting"],
    "pdex calibrate {path} --by ": ["target", "rep"],
    "pdex de {path} --layer ": ["log"],
    "pdex de {path} --over": ["--overestim-var"],
    "pdex de {path} --deb": ["--debug"],
    "pdex de none.h5ad --groupby ": [],
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completions(run, path, monkeypatch, line):
    words = line.format(path=path)
    monkeypatch.setenv("_PDEX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    status, out, err = run()
    assert (status, err) == (0, "")
    assert [item.split(",", 1)[1] for item in out.split()] == COMPLETIONS[line]


@pytest.mark.parametrize(
    ("option", "expected"), [("-r", ["1", "a,b", "c d", "nt"]), ("--groups", ["1", "c d", "nt"])]
)
def test_completion_of_odd_labels(run, screen, monkeypatch, option, expected):
    names = ["1", "a,b", "c d", "two\nlines", "nt"]
    odd = screen[:50].copy()
    odd.obs["target"] = pd.Categorical([names[i % 5] for i in range(50)], names)
    odd.write_h5ad("odd.h5ad")
    monkeypatch.setenv("_PDEX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"pdex de odd.h5ad -g target {option} ")
    monkeypatch.setenv("COMP_CWORD", "6")
    _, out, _ = run()
    assert [item.split(",", 1)[1] for item in out.splitlines()] == expected


BASH = """
source {home}/.bashrc
COMP_WORDS=(pdex de x.h5ad --test w)
COMP_CWORD=4
_pdex_completion pdex
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_installed_in_bash(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / ".bashrc").write_text("export MINE=1")
    for _ in range(2):
        status, out, _ = run("--install-completion")
        assert (status, out.split(":")[0]) == (0, f"wrote {tmp_path}/.config/pdex/completion.bash")
    expected = f"export MINE=1\nsource {tmp_path}/.config/pdex/completion.bash\n"
    assert (tmp_path / ".bashrc").read_text() == expected
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pdex").write_text(f'#!/bin/sh\nexec {sys.executable} -m pdex "$@"\n')
    (folder / "pdex").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", BASH.format(home=tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )
    assert (done.stdout, done.stderr) == ("wilcoxon\n", "")


def test_completion_of_other_shells(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/sh")
    for name in ("XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    assert run("--install-completion", "zsh")[0] == 0
    assert run("--install-completion", "fish")[0] == 0
    script = tmp_path / ".config" / "pdex" / "completion.zsh"
    assert (tmp_path / ".zshrc").read_text() == f"source {script}\n"
    # zsh refuses compdef before compinit.
    text = script.read_text()
    assert text.index("compinit") < text.index("compdef _pdex_completion pdex")
    fish = tmp_path / ".config" / "fish" / "completions" / "pdex.fish"
    assert "complete --no-files --command pdex" in fish.read_text()
    # Names and help have commas: an item is parted at the first.
    assert 'string split -m 1 "," $completion' in fish.read_text()
    assert run("--show-completion", "fish")[1].strip() == fish.read_text().strip()
    assert run("--show-completion", "bash")[1].startswith("_pdex_completion()")
    status, _, err = run("--show-completion")
    assert status == 2
    assert "$SHELL is 'sh': name one of bash, zsh, fish" in err
