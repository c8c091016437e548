"""The pictures of docs/pictures show what is drawn today."""

import sys
from pathlib import Path

import pdex
import pytest

pytest.importorskip("altair", reason="charts need altair")
pytest.importorskip("PIL", reason="pictures need pillow, of the extra docs")

DOCS = Path(__file__).parents[1] / "docs"
NAMES = ("effects", "ma", "pvalues", "report", "tails", "top_genes", "volcano")


@pytest.fixture(scope="module")
def pictures():
    sys.path.insert(0, str(DOCS))
    import pictures

    yield pictures
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def drawn(pictures, tmp_path_factory):
    """What each picture would show if it were drawn now."""
    import tails

    screen = pictures.make_screen()
    table = pdex.de(screen, "target")
    controls = pdex.calibrate(screen, "target", by="guide")
    page = tmp_path_factory.mktemp("report") / "report.html"
    pdex.report(table, page, calibration=controls)
    found = {name: chart.to_json() for name, chart in pictures.charts(table, controls).items()}
    return found | {"report": page.read_text(), "tails": tails.chart().to_json()}


def test_every_picture_is_checked():
    assert sorted(path.stem for path in DOCS.glob("pictures/*")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_shows_what_is_drawn_today(pictures, drawn, name):
    from PIL import Image

    script = "tails" if name == "tails" else "pictures"
    with Image.open(DOCS / "pictures" / f"{name}.png") as picture:
        kept = picture.info.get(pictures.MARK)
    assert kept == pictures.hash_of(drawn[name]), f"python docs/{script}.py draws it anew"


def test_the_hash_sees_words_and_not_roundings(pictures):
    same = pictures.hash_of('{"x": 1.2345678}')
    assert pictures.hash_of('{"x": 1.2345679}') == same
    assert pictures.hash_of('{"x": 1.3}') != same
    assert pictures.hash_of('{"y": 1.2345678}') != same
