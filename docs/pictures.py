"""Draw the pictures of docs/pictures.md and README: `python docs/pictures.py`.

A simulated screen with planted effects; the report is photographed by Chromium. Each picture keeps
a hash of the chart or page that it shows: `tests/test_pictures.py` fails if it is stale.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pdex
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    import anndata as ad
    import polars as pl

FOLDER = Path(__file__).parent / "pictures"
#: The text of a PNG file that holds the hash.
MARK = "shows"


def make_screen() -> ad.AnnData:
    """Simulate 12 targets, four control guides."""
    screen = pdex.datasets.simulate_screen(
        n_cells=6_000, n_genes=2_000, n_targets=12, n_effects=80, reference_fraction=0.2
    )
    screen.obs["guide"] = [f"guide {i % 4}" for i in range(screen.n_obs)]
    return screen


def charts(table: pl.DataFrame, controls: pdex.Calibration) -> dict[str, Any]:
    """Return each chart, by the name of its picture."""
    return {
        "volcano": pdex.pl.volcano(table, "T003"),
        "ma": pdex.pl.ma(table, "T003"),
        "top_genes": pdex.pl.top_genes(table, "T003"),
        "effects": pdex.pl.effects(table, n_genes=40),
        "pvalues": controls.plot(),
    }


def photograph(page: Path, picture: Path) -> None:
    """Open a report in a browser, and save what is seen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as browsers:
        program = shutil.which("chromium")
        browser = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_timeout(1_000)
        tab.screenshot(path=picture)
        browser.close()


def hash_of(shown: str) -> str:
    """Return a hash of a chart (JSON) or page (HTML) that does not depend on the machine.

    Numbers are rounded. Left out are the packed numbers of a page, names that are hashes of data,
    and the version of Vega-Lite.
    """
    text = re.sub(r'<script type="text/plain".*?</script>', "", shown, flags=re.S)
    text = re.sub(r"data-[0-9a-f]{32}|schema/vega-lite/[\w.]+", "", text)
    text = re.sub(r"\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.2g}", text)
    return hashlib.sha256(text.encode()).hexdigest()


def keep(picture: Path, shown: str) -> None:
    """Keep 256 colours of a picture, a third of the bytes, and the hash of what it shows."""
    about = PngInfo()
    about.add_text(MARK, hash_of(shown))
    with Image.open(picture) as large:
        small = large.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(picture, optimize=True, pnginfo=about)
    kilobytes = picture.stat().st_size / 1000
    print(f"{picture.name}: {kilobytes:.0f} kB, {small.width} x {small.height}")


def main() -> None:
    """Draw all of them."""
    screen = make_screen()
    table = pdex.de(screen, "target")
    controls = pdex.calibrate(screen, "target", by="guide")
    for name, chart in charts(table, controls).items():
        picture = FOLDER / f"{name}.png"
        chart.save(picture, scale_factor=1.5)
        keep(picture, chart.to_json())
    with tempfile.TemporaryDirectory() as folder:
        page = pdex.report(table, Path(folder) / "report.html", calibration=controls)
        photograph(page, FOLDER / "report.png")
        keep(FOLDER / "report.png", page.read_text())


if __name__ == "__main__":
    main()
