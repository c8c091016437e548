"""Draw the pictures of docs/pictures.md and README: `python docs/pictures.py`.

A simulated screen with planted effects; the report is photographed by Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pdex
from PIL import Image

if TYPE_CHECKING:
    import anndata as ad
    import polars as pl

FOLDER = Path(__file__).parent / "pictures"


def make_screen() -> ad.AnnData:
    """Simulate 12 targets, four control guides."""
    screen = pdex.datasets.simulate_screen(
        n_cells=6_000, n_genes=2_000, n_targets=12, n_effects=80, reference_fraction=0.2
    )
    screen.obs["guide"] = [f"guide {i % 4}" for i in range(screen.n_obs)]
    return screen


def draw(screen: ad.AnnData, table: pl.DataFrame) -> None:
    """Save each chart."""
    effects = pdex.pl.effects(table, n_genes=40)
    charts = {
        "volcano": pdex.pl.volcano(table, "T003"),
        "ma": pdex.pl.ma(table, "T003"),
        "top_genes": pdex.pl.top_genes(table, "T003"),
        "effects": effects,
        "pvalues": pdex.calibrate(screen, "target", by="guide").plot(),
    }
    for name, chart in charts.items():
        chart.save(FOLDER / f"{name}.png", scale_factor=1.5)


def photograph(screen: ad.AnnData, table: pl.DataFrame) -> None:
    """Open the report in a browser, and save what is seen."""
    from playwright.sync_api import sync_playwright

    controls = pdex.calibrate(screen, "target", by="guide")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as browsers:
        page = pdex.report(table, Path(folder) / "report.html", calibration=controls)
        program = shutil.which("chromium")
        browser = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_timeout(1_000)
        tab.screenshot(path=FOLDER / "report.png")
        browser.close()


def shrink() -> None:
    """Keep 256 colours of each picture: a third of the bytes."""
    for path in FOLDER.glob("*.png"):
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {small.width} x {small.height}")


def main() -> None:
    """Draw all of them."""
    FOLDER.mkdir(exist_ok=True)
    screen = make_screen()
    table = pdex.de(screen, "target")
    draw(screen, table)
    photograph(screen, table)
    shrink()


if __name__ == "__main__":
    main()
