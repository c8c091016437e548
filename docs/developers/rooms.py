"""Draws rooms.svg: the rooms of the Rust crate, and which way the arrows point.

A room may also import what its own imports do: such arrows are left out.
"""

from pathlib import Path

#: Name, what it is for, left, top, width; the ground floor is at the bottom.
ROOMS = [
    ("python", "the module pdex._pdex", 40, 40, 230),
    ("expr", "Polars expressions", 330, 40, 230),
    ("tables", "count tables, spilled rows", 150, 150, 200),
    ("h5ad", "files of HDF5", 10, 270, 115),
    ("engine", "sources, tests, workers, table", 215, 270, 300),
    ("readers", "chunks of HDF5 files", 40, 390, 180),
    ("matrix", "views of a matrix", 260, 390, 180),
    ("stats", "the numbers", 480, 390, 180),
    ("error, cast", "open to all", 260, 500, 180),
]
ARROWS = [
    ("python", "tables"), ("expr", "engine"), ("tables", "engine"), ("tables", "readers"),
    ("python", "h5ad"), ("h5ad", "readers"),
    ("engine", "matrix"), ("engine", "stats"), ("readers", "matrix"),
    ("matrix", "error, cast"), ("stats", "error, cast"),
]  # fmt: skip
HEIGHT = 62
STYLE = "font-family='system-ui, sans-serif'"


def middle(name: str) -> tuple[float, float, float]:
    """Return the middle of a room, its top and its bottom."""
    _, _, left, top, width = next(room for room in ROOMS if room[0] == name)
    return left + width / 2, top, top + HEIGHT


def arrow(start: str, end: str) -> str:
    """Return the line from the bottom of one room to the top of another, or from side to side."""
    (x1, top1, bottom), (x2, top, _) = middle(start), middle(end)
    if top1 == top:
        left = next(room[2] for room in ROOMS if room[0] == end)
        right = next(room[2] + room[4] for room in ROOMS if room[0] == start)
        x1, x2, bottom, top = right, left - 4, top1 + HEIGHT / 2, top1 + HEIGHT / 2
    else:
        shift = 0.35 * max(-150, min(150, x2 - x1))
        x1, x2, top = x1 + shift, x2 - shift / 2, top - 4
    return (
        f"<line x1='{x1}' y1='{bottom}' x2='{x2}' y2='{top}' stroke='#8a94a6' stroke-width='1.6' "
        "marker-end='url(#tip)'/>"
    )


def room(name: str, what: str, left: float, top: float, width: float) -> str:
    """Return a room."""
    x = left + width / 2
    return (
        f"<rect x='{left}' y='{top}' width='{width}' height='{HEIGHT}' rx='8' fill='#eef1fb' "
        f"stroke='#5566bb' stroke-width='1.4'/>"
        f"<text x='{x}' y='{top + 26}' text-anchor='middle' {STYLE} font-size='17' "
        f"font-weight='600' fill='#222b45'>{name}</text>"
        f"<text x='{x}' y='{top + 47}' text-anchor='middle' {STYLE} font-size='13' "
        f"fill='#4a5568'>{what}</text>"
    )


def main() -> None:
    """Write the picture beside this file."""
    parts = [
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 700 590' width='700' height='590'>",
        "<title>The rooms of the crate: an arrow points to what is imported</title>",
        "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' "
        "markerHeight='7' orient='auto'><path d='M0 0 10 5 0 10z' fill='#8a94a6'/></marker></defs>",
        "<rect width='700' height='590' fill='#ffffff'/>",
        *(arrow(*ends) for ends in ARROWS),
        *(room(*each) for each in ROOMS),
        "</svg>",
    ]
    Path(__file__).with_name("rooms.svg").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
