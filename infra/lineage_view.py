"""The graph of a workflow run as one self-contained HTML page (SVG): MLflow draws no lineage across runs, so we do."""

import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.ancestry import ancestors, tree_lines
from infra.log import clock
from infra.storage import write_atomic
from infra.workflow.store import Slot, Store

WIDTH, HEIGHT, GAP_X, GAP_Y = 210, 74, 70, 26
FILL = {"recordings": "#e8f1fa", "corpus": "#e6f4ea", "train": "#fdf0e1", "eval": "#f3e8fa"}

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: #222; background: #fff }
svg { max-width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif }
svg .name { font-weight: 600; font-size: 14px }
svg .small { fill: #555 } svg path { fill: none; stroke: #888; stroke-width: 1.3 }
pre { background: #f6f6f6; padding: 12px; overflow-x: auto; font-size: 12px }
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
    trees = "".join(f"<pre>{html.escape(chr(10).join(tree_lines(ancestors(store, slot))))}</pre>" for slot in ends)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}: lineage</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}: what was made of what</h1>{drawing(boxes)}"
        f"<h2>Back to source files and licenses</h2>{trees}</html>"
    )
    write_atomic(path, page)
    return path


def columns(boxes: Collection[Box]) -> dict[str, int]:
    """The column of each box: one to the right of the rightmost box it takes something from."""
    by_name = {box.name: box for box in boxes}

    def column(name: str) -> int:
        sources = [source for source in by_name[name].inputs.values() if source in by_name]
        return 1 + max(map(column, sources)) if sources else 0

    return {name: column(name) for name in by_name}


def drawing(boxes: Collection[Box]) -> str:
    """The graph as SVG, left to right."""
    column = columns(boxes)
    row: dict[str, int] = {}
    filled: dict[int, int] = {}
    for box in boxes:
        row[box.name] = filled.get(column[box.name], 0)
        filled[column[box.name]] = row[box.name] + 1
    place = {n: (20 + column[n] * (WIDTH + GAP_X), 20 + row[n] * (HEIGHT + GAP_Y)) for n in column}
    width = 40 + (max(column.values(), default=0) + 1) * (WIDTH + GAP_X) - GAP_X
    height = 60 + max(filled.values(), default=1) * (HEIGHT + GAP_Y)
    lines = [line for box in boxes for line in arrows(box, place)]
    shapes = [shape(box, *place[box.name]) for box in boxes]
    marker = (
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" style="fill:#888;stroke:none"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
        f"{marker}{''.join(lines)}{''.join(shapes)}</svg>"
    )


def arrows(box: Box, place: Mapping[str, tuple[int, int]]) -> list[str]:
    """A curve from each input; long ones sag below the boxes between."""
    x2, y2 = place[box.name]
    found = []
    for number, (role, source) in enumerate(box.inputs.items()):
        if source not in place:
            continue
        x1, y1 = place[source][0] + WIDTH, place[source][1]
        start, end = y1 + HEIGHT / 2, y2 + HEIGHT / 2 + 12 * number
        sag = 0 if x2 - x1 <= GAP_X else HEIGHT / 2 + GAP_Y
        middle = (x1 + x2) / 2
        curve = f"M{x1},{start} C{x1 + 60},{start + sag} {x2 - 60},{end + sag} {x2},{end}"
        found.append(f'<path d="{curve}" marker-end="url(#tip)"><title>{html.escape(role)}</title></path>')
        if not sag:
            found.append(
                f'<text class="small" x="{middle}" y="{end - 5}" text-anchor="middle">{html.escape(role)}</text>'
            )
    return found


def shape(box: Box, x: int, y: int) -> str:
    """A box with its lines of text."""
    fill = FILL.get(box.kind, "#eee")
    texts = [f'<text class="name" x="{x + 12}" y="{y + 22}">{html.escape(box.name)}</text>']
    texts += [
        f'<text class="small" x="{x + 12}" y="{y + 40 + 16 * number}">{html.escape(line[:34])}</text>'
        for number, line in enumerate(box.lines[:2])
    ]
    rect = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" stroke="#bbb"/>'
    return f"<g><title>{html.escape(box.tip)}</title>{rect}{''.join(texts)}</g>"


def box_of(name: str, kind: str, inputs: Mapping[str, str], slot: Slot | None, note: str) -> Box:
    """The box of a node: its version and what it took, or why it is not made."""
    record = slot.commit_record() if slot is not None else None
    if record is None:
        return Box(name, kind, (note,), inputs, note)
    facts = [f"{key}: {value}" for key, value in record["summary"].items()]
    lines = (f"@{record['digest'][:8]}  run {record['run'][:8]}", f"{kind}, {clock(record['seconds'])}")
    return Box(name, kind, lines, inputs, "\n".join(facts))
