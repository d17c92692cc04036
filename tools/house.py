"""Draw the house: rooms by layer, and which room imports which, from the code itself.

    python tools/house.py docs/house.svg

Layers are those of the import contract in pyproject.toml. Arrows that follow from others are left
out, as are those to the lowest layer, on which all rooms stand. Needs the extra `dev`.
"""

import re
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGE = "musclejax"
WIDTH, ROOM, HEIGHT, GAP = 1000, 148, 46, 62
STYLE = "font-family='sans-serif' text-anchor='middle'"


def layers() -> list[list[str]]:
    """Return the names of the rooms, the top layer first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    rows = next(c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    return [[name.strip() for name in re.split("[|:]", row)] for row in rows]


def imports(rooms: list[str]) -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    graph, found = grimp.build_graph(PACKAGE), {}
    for room in rooms:
        others = [other for other in rooms if other != room]
        found[room] = {
            other
            for other in others
            if graph.direct_import_exists(
                importer=f"{PACKAGE}.{room}", imported=f"{PACKAGE}.{other}", as_packages=True
            )
        }
    return found


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out the arrows that follow from two or more others."""

    def reach(room: str) -> set[str]:
        return arrows[room].union(*(reach(other) for other in arrows[room]))

    return {
        room: {t for t in targets if not any(t in reach(o) for o in targets if o != t)}
        for room, targets in arrows.items()
    }


def lines_of(room: str) -> int:
    """Return the lines of Python in a room."""
    place = ROOT / PACKAGE / room
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def draw(rows: list[list[str]], arrows: dict[str, set[str]]) -> str:
    """Return the picture as SVG."""
    places = {}
    for level, row in enumerate(rows):
        step = WIDTH / len(row)
        for n, room in enumerate(row):
            places[room] = step * (n + 0.5), 20 + level * (HEIGHT + GAP)
    total = 40 + len(rows) * (HEIGHT + GAP) - GAP
    svg = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {total}'>",
        "<defs><marker id='a' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='7' markerHeight='7' "
        "orient='auto'><path d='M0,0 L8,4 L0,8 z' fill='#666'/></marker></defs>",
        f"<rect width='{WIDTH}' height='{total}' fill='white'/>",
    ]
    for room, targets in arrows.items():
        x, y = places[room]
        for target in sorted(targets):
            end, below = places[target]
            svg.append(
                f"<line x1='{x:.0f}' y1='{y + HEIGHT:.0f}' x2='{end:.0f}' y2='{below:.0f}' "
                "stroke='#666' marker-end='url(#a)'/>"
            )
    for room, (x, y) in places.items():
        wide = min(ROOM, WIDTH / max(len(row) for row in rows if room in row) - 8)
        svg += [
            f"<rect x='{x - wide / 2:.0f}' y='{y:.0f}' width='{wide:.0f}' height='{HEIGHT}' rx='6' "
            "fill='#e8f0f8' stroke='#36c'/>",
            f"<text x='{x:.0f}' y='{y + 20:.0f}' {STYLE} font-size='15'>{room}</text>",
            f"<text x='{x:.0f}' y='{y + 37:.0f}' {STYLE} font-size='11' fill='#555'>"
            f"{lines_of(room):,} lines</text>",
        ]
    return "\n".join([*svg, "</svg>"]) + "\n"


def main() -> None:
    """Write the picture."""
    rows = layers()
    arrows = reduced(imports([room for row in rows[:-1] for room in row]))
    Path(sys.argv[1]).write_text(draw(rows, arrows), encoding="utf-8")


if __name__ == "__main__":
    main()
