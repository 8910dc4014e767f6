"""The graph of a workflow run as one self-contained HTML page (SVG): MLflow draws no lineage across runs, so we do."""

import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.ancestry import ancestors, tree_lines
from infra.log import clock
from infra.storage import write_atomic
from infra.workflow.node import Refused
from infra.workflow.store import Slot, Store

WIDTH, HEIGHT, GAP_X, GAP_Y = 250, 66, 46, 44
KINDS = ("recordings", "corpus", "train", "eval")
"""Those that have a color of their own."""

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #555; --paper: #fff; --panel: #f6f6f6; --line: #888;
  --recordings: #e8f1fa; --corpus: #e6f4ea; --train: #fdf0e1; --eval: #f3e8fa; --other: #eee }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ee; --soft: #b4b8c4; --paper: #14161d; --panel: #1d2029;
  --recordings: #1d3043; --corpus: #1d3626; --train: #43301a; --eval: #36244a; --other: #2d303c } }
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: var(--ink); background: var(--paper) }
.graph { overflow-x: auto } svg { display: block } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .name { font-weight: 600; font-size: 14px } svg rect { stroke: var(--line); stroke-opacity: .5 }
svg .small { fill: var(--soft) } svg path { fill: none; stroke: var(--line); stroke-width: 1.3 }
svg .tip { fill: var(--line); stroke: none }
pre { background: var(--panel); padding: 12px; overflow-x: auto; font-size: 12px }
h1 { font-size: 20px } h2 { font-size: 15px }
"""


@dataclass(frozen=True)
class Box:
    """A node of the drawing."""

    name: str
    kind: str
    lines: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role -> name of the box it comes from."""
    tip: str = ""


def write_view(path: Path, title: str, boxes: Collection[Box], slots: Collection[Slot], store: Store) -> Path:
    """Draw the boxes, and below them the tree of every artifact that no other one uses."""
    used = {source for box in boxes for source in box.inputs.values()}
    ends = [slot for slot in slots if (slot.commit_record() or {}).get("name") not in used]
    trees = "".join(tree_of(store, slot) for slot in ends)
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=width=device-width>"
        f"<title>{html.escape(title)}: lineage</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}: what was made of what</h1><div class=graph>{drawing(boxes)}</div>"
        f"<h2>Back to source files and licenses</h2>{trees}</html>"
    )
    write_atomic(path, page)
    return path


def tree_of(store: Store, slot: Slot) -> str:
    """The tree of an artifact; nothing where another run sets it aside just then."""
    try:
        lines = tree_lines(ancestors(store, slot))
    except Refused:
        return ""
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def rows_of(boxes: Collection[Box]) -> dict[str, int]:
    """The row of each box: one below the lowest box that it takes something from."""
    by_name = {box.name: box for box in boxes}

    def row(name: str) -> int:
        sources = [source for source in by_name[name].inputs.values() if source in by_name]
        return 1 + max(map(row, sources)) if sources else 0

    return {name: row(name) for name in by_name}


def drawing(boxes: Collection[Box]) -> str:
    """The graph as SVG, from top to bottom; what others build on stands in the first column."""
    row = rows_of(boxes)
    used = {source for box in boxes for source in box.inputs.values()}
    column: dict[str, int] = {}
    filled: dict[int, int] = {}
    for box in sorted(boxes, key=lambda box: box.name not in used):
        column[box.name] = filled.get(row[box.name], 0)
        filled[row[box.name]] = column[box.name] + 1
    left = 20 + 14 * len(boxes)  # room for arrows that pass other boxes
    place = {n: (left + column[n] * (WIDTH + GAP_X), 20 + row[n] * (HEIGHT + GAP_Y)) for n in row}
    width = left + max(filled.values(), default=1) * (WIDTH + GAP_X)
    height = 20 + (max(row.values(), default=0) + 1) * (HEIGHT + GAP_Y)
    lines = [line for number, box in enumerate(boxes) for line in arrows(box, place, lane=left - 14 - 12 * number)]
    shapes = [shape(box, *place[box.name]) for box in boxes]
    marker = (
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" class="tip"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="which artifact was made of which; the same in words below">'
        f"{marker}{''.join(lines)}{''.join(shapes)}</svg>"
    )


def arrows(box: Box, place: Mapping[str, tuple[int, int]], *, lane: int) -> list[str]:
    """A line from each input: down to the next row, or along a side past the rows between."""
    x2, y2 = place[box.name]
    found = []
    for role, source in box.inputs.items():
        if source not in place:
            continue
        x1, y1 = place[source]
        label = html.escape(role)
        if y2 - y1 == HEIGHT + GAP_Y:
            start, end, bottom = x1 + WIDTH / 2, x2 + WIDTH / 2, y1 + HEIGHT
            curve = f"M{start},{bottom} C{start},{bottom + GAP_Y / 2} {end},{y2 - GAP_Y / 2} {end},{y2}"
            found.append(f'<text class="small" x="{end + 8}" y="{y2 - 14}">{label}</text>')
        else:
            start, end = y1 + HEIGHT - 12, y2 + HEIGHT / 2
            out, side, into = (x1, lane, x2) if x1 == x2 else (x1 + WIDTH, x2 + WIDTH + 24, x2 + WIDTH)
            curve = f"M{out},{start} C{side},{start} {side},{start} {side},{start + 30} L{side},{end - 30} "
            curve += f"C{side},{end} {side},{end} {into},{end}"
        found.append(f'<path d="{curve}" marker-end="url(#tip)"><title>{label}</title></path>')
    return found


def shape(box: Box, x: int, y: int) -> str:
    """A box with its lines of text."""
    fill = box.kind if box.kind in KINDS else "other"
    texts = [f'<text class="name" x="{x + 12}" y="{y + 22}">{html.escape(box.name)}</text>']
    texts += [
        f'<text class="small" x="{x + 12}" y="{y + 40 + 16 * number}">{html.escape(cut(line))}</text>'
        for number, line in enumerate(box.lines[:2])
    ]
    rect = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="var(--{fill})"/>'
    return f"<g><title>{html.escape(box.tip)}</title>{rect}{''.join(texts)}</g>"


def cut(line: str, *, most: int = 36) -> str:
    """What fits into a box; its tip has the whole."""
    return line if len(line) <= most else f"{line[: most - 3]}..."


def box_of(name: str, kind: str, inputs: Mapping[str, str], slot: Slot | None, note: str) -> Box:
    """The box of a node: its version and what it took, or why it is not made."""
    record = slot.commit_record() if slot is not None else None
    if record is None:
        return Box(name, kind, (note,), inputs, note)
    facts = [f"{key}: {value}" for key, value in record["summary"].items()]
    lines = (f"@{record['digest'][:8]}  run {record['run'][:8]}", f"{kind}, {clock(record['seconds'])}")
    return Box(name, kind, lines, inputs, "\n".join(facts))
