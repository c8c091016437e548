"""Write licenses/THIRD-PARTY.txt, which every wheel holds: `make licenses`.

A wheel's compiled module contains the Rust crates it depends on, and the C libraries that some of
them bring. Their licences ask for their texts. The crates are those of all systems for which wheels
are built. Of a crate that may be used under the MIT licence, only that text is kept. Equal texts
are written once.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTPUT = Path(__file__).with_name("THIRD-PARTY.txt")
#: The systems of .github/workflows/release.yml.
TARGETS = [
    f"{machine}-{system}"
    for machine in ("x86_64", "aarch64")
    for system in ("unknown-linux-gnu", "unknown-linux-musl", "apple-darwin")
]
#: The texts of C libraries, within the crates that bring their sources.
C_LIBRARIES = {
    "HDF5": ("hdf5-metno-src", "ext/hdf5/LICENSE"),
    "libdeflate": ("libdeflate-sys", "libdeflate/COPYING"),
    "zlib": ("libz-sys", "src/zlib/LICENSE"),
    "Zstandard": ("zstd-sys", "zstd/LICENSE"),
}
RULE = "=" * 100


def cargo(*words: str) -> str:
    """Return what a command of Cargo says of pdex as wheels have it."""
    command = ["cargo", *words, "--locked", "--features", "python"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def linked() -> list[str]:
    """Return the names and versions of the crates that are linked into the module."""
    words = ("tree", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    lines = {line for target in TARGETS for line in cargo(*words, "--target", target).splitlines()}
    crates = {" v".join(line.split(" v")[:2]).split(" (")[0] for line in lines if line}
    return sorted(crate for crate in crates if not crate.startswith("pdex "))


def texts_of(folder: Path) -> list[str]:
    """Return the texts of licences in a crate's folder: the MIT licence where there is a choice."""
    names = ("LICEN[CS]E*", "licen[cs]e*", "COPYING*", "NOTICE*")
    files = sorted({path for name in names for path in folder.glob(name) if path.is_file()})
    chosen = [path for path in files if "MIT" in path.name.upper()] or files
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in chosen]


def main() -> None:
    """Write the file."""
    packages = json.loads(cargo("metadata", "--format-version=1"))["packages"]
    folders = {p["name"]: Path(p["manifest_path"]).parent for p in packages}
    known = {f"{p['name']} v{p['version']}": p for p in packages}
    users = defaultdict(list)
    lines = ["The compiled module of pdex contains these Rust crates:", ""]
    crates = linked()
    for title in crates:
        crate = known[title]
        texts = texts_of(Path(crate["manifest_path"]).parent)
        about = [crate["license"] or "the licence of HDF5"]
        about += [] if texts else [*crate["authors"], crate["repository"]]
        lines.append(f"{title}: {', '.join(about)}")
        for text in texts:
            users[text].append(title)
    lines += ["", f"and these C libraries: {', '.join(C_LIBRARIES)}. Their licences follow."]
    for library, (crate, path) in C_LIBRARIES.items():
        users[(folders[crate] / path).read_text(encoding="utf-8").strip()].append(library)
    for text, names in users.items():
        lines += ["", RULE, ", ".join(names), RULE, "", text]
    OUTPUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {OUTPUT.relative_to(ROOT)}: {len(crates)} crates, {len(users)} texts")


if __name__ == "__main__":
    main()
