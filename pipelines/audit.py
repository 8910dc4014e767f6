"""The audit page of a corpus: one HTML file that opens anywhere, to see what was kept, to hear why the rest was not."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.manifest import resolve
from infra.storage import write_atomic
from pipelines.funnel import duration
from pipelines.ledger import read_ledger
from pipelines.pictures import histogram, short
from pipelines.shards import read_card
from pipelines.sheets import SCORES, Page, Row, Threshold, sheets, text

SECTIONS = {
    "funnel": "Funnel",
    "scores": "Scores",
    "kept": "Kept",
    "limits": "At the limits",
    "rejected": "Rejected",
    "failed": "Failed",
}
"""Anchor -> name, in the menu."""


def write_audit(corpus: Path, *, sound_of: Callable[[str], bytes | None], samples: int = 24, each: int = 4) -> Path:
    """Write `audit.html` into a finished corpus folder, from what lies there: card, funnel, ledger, truth report.

    `sound_of`: key of a segment -> its sound in a format that libsndfile reads, or None; rejected segments are in no
    shard, so only whoever has the work folder can give them. `samples` kept clips and `each` clips a reason are shown.
    """
    card = read_card(corpus)
    funnel = json.loads((corpus / "funnel.json").read_text(encoding="utf-8"))
    rows = [with_rate(row) for row in read_ledger(corpus)]
    page = Page(corpus, sound_of)
    limits = list(thresholds(funnel["manifest"]))
    page.add(head(card, funnel))
    page.add(funnel_section(funnel))
    report = corpus / "truth_report.json"
    if report.is_file():
        page.add(truth_section(json.loads(report.read_text(encoding="utf-8"))))
    page.add(charts(rows, limits))
    page.add(language_table(rows))
    sheets(page, rows, limits, samples=samples, each=each)
    page.add(failures(rows))
    path = corpus / "audit.html"
    write_atomic(path, whole(page, title=f"{card['name']}@{card['digest'][:12]}"))
    return path


def with_rate(row: Row) -> dict[str, Any]:
    """The row, with the score that is a property of a segment."""
    text, seconds = row["text"], row["seconds"]
    rate = len(text.replace(" ", "")) / seconds if text and seconds else None
    return {**row, "chars_per_second": rate}


def thresholds(manifest: Row) -> Iterator[Threshold]:
    """Every `min` and `max` of the filters in a manifest (as stored in funnel.json)."""
    places = {"keep": manifest.get("keep", []), **manifest.get("tiers", {})}
    for place, entries in places.items():
        for entry in entries:
            score = str(resolve("pipelines.filters", entry["name"]).SCORE)
            for side in ("min", "max"):
                value = entry["settings"].get(side)
                if isinstance(value, int | float) and score in SCORES:
                    yield Threshold(entry["name"], score, float(value), place)


def head(card: Row, funnel: Row) -> str:
    """Name, the few numbers, and what the corpus is made of."""
    hours, manifest = funnel["hours"], funnel["manifest"]
    kept_languages = [name for name, part in funnel["by_language"].items() if part["kept"]]
    facts = {
        "kept": duration(hours["kept"]),
        "of the hours in": f"{hours['kept'] / hours['in']:.0%}" if hours["in"] else "0 %",
        "segments kept": f"{funnel['segments_kept']} of {funnel['segments']}",
        "recordings": str(funnel["recordings"]),
        "languages": str(len(kept_languages)),
    }
    told = {
        "Purpose": manifest.get("purpose", ""),
        "Languages": ", ".join(kept_languages),
        "Licenses": "; ".join(card["licenses"]),
        "Tiers": ", ".join(f"{name} {duration(value)}" for name, value in funnel["by_tier"].items()),
        "Transforms": ", ".join(entry["name"] for entry in manifest["transforms"]),
    }
    cells = "".join(f"<div><b>{text(value)}</b><span>{text(name)}</span></div>" for name, value in facts.items())
    lines = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in told.items() if value)
    menu = "".join(f'<a href="#{name}">{label}</a>' for name, label in SECTIONS.items())
    name = f"<h1>{text(card['name'])} <small>@{text(card['digest'])}</small></h1>"
    return f'{name}<nav>{menu}</nav><div class="facts">{cells}</div><dl class="lines">{lines}</dl>'


def funnel_section(funnel: Row) -> str:
    """Hours by what became of them, as a bar and as a table."""
    hours = funnel["hours"]
    reasons = [(name, entry) for name, entry in funnel["by_reason"].items() if entry["items"]]
    parts = [("kept", "kept", hours["kept"]), *((entry["status"], name, entry["first"]) for name, entry in reasons)]
    bar = "".join(
        f'<i class="{status}" style="flex:{max(value, 0) / max(hours["in"], 1e-9):.6f}" '
        f'title="{text(name)}: {duration(value)}"></i>'
        for status, name, value in parts
        if value > 0
    )
    lines = [
        ("kept", "kept", duration(hours["kept"]), percent(hours["kept"], hours["in"]), funnel["segments_kept"], "")
    ]
    for name, entry in reasons:
        alone = duration(entry["only"]) if entry["only"] else ""
        share = percent(entry["first"], hours["in"])
        lines.append((entry["status"], name, duration(entry["first"]), share, entry["items"], alone))
    body = "".join(
        f'<tr class="{status}"><td>{text(name)}</td>'
        + "".join(f"<td>{text(str(value))}</td>" for value in rest)
        + "</tr>"
        for status, name, *rest in lines
    )
    told = "Every second that came in is kept, dropped or failed; a reason counts where it was the first."
    return (
        f'<h2 id="funnel">Funnel</h2><p>{told}</p><div class="bar">{bar}</div>{legend("kept", "dropped", "failed")}'
        f'<div class="wide"><table><tr><th></th><th>audio</th><th>share</th><th>items</th><th>by it alone</th></tr>'
        f"{body}</table></div>"
    )


def truth_section(report: Row) -> str:
    """How the recordings with a known truth were treated."""
    kinds = "".join(
        f"<div><span>{text(kind.replace('_', ' '))}</span> <b>{counts['right']} of {counts['all']}</b></div>"
        for kind, counts in sorted(report["kinds"].items())
    )
    wrong = "".join(
        f"<tr><td>{text(item['name'])}</td>"
        f'<td class="words">expected {text(item["expect"])}: {text(item["was"])}</td></tr>'
        for item in report["wrong"]
    )
    told = f"{report['right']} of {report['all']} recordings whose truth is known were treated rightly."
    more = f'<h3>Treated wrongly</h3><div class="wide"><table>{wrong}</table></div>' if wrong else ""
    return f'<h2>Against the truth</h2><p>{told}</p><div class="kinds">{kinds}</div>{more}'


def charts(rows: Sequence[Row], limits: Sequence[Threshold]) -> str:
    """A histogram for each score that was measured, with the limits of the manifest."""
    figures = []
    for score, (name, unit) in SCORES.items():
        groups = {
            group: [
                float(row[score]) for row in rows if row["key"] and row["status"] == group and row[score] is not None
            ]
            for group in ("kept", "dropped")
        }
        marks: dict[str, float] = {}
        for limit in limits:
            if limit.score == score:
                marks[f"{limit.place} {short(limit.value)}"] = limit.value
        drawn = histogram(groups, marks=marks)
        if drawn:
            label = f"{name} <span>{unit}</span>"
            figures.append(f"<figure><figcaption>{label}</figcaption>{drawn}</figure>")
    told = "Of all segments that were scored. Dashed lines are the limits of the manifest."
    if not figures:
        return '<h2 id="scores">Scores</h2><p>No segment was scored.</p>'
    key = legend("kept", "dropped")
    return f'<h2 id="scores">Scores</h2><p>{told}</p>{key}<div class="charts">{"".join(figures)}</div>'


def language_table(rows: Sequence[Row]) -> str:
    """Language by source: what is kept, of what came in."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    sources_of = {row["recording"]: row["source"] for row in rows if row["source"]}
    for row in rows:
        language = row["language"] or row["given_language"] or "unknown"
        cell = cells[language, sources_of.get(row["recording"], "not known")]
        cell[0] += row["item_seconds"] / 3600 * (row["status"] == "kept")
        cell[1] += row["item_seconds"] / 3600
    sources = sorted(
        {source for _, source in cells}, key=lambda s: -sum(c[1] for (_, o), c in cells.items() if o == s)
    )[:8]
    header = "".join(f'<th title="{text(source)}">{text(clipped(source, 40))}</th>' for source in sources)
    lines = []
    for language in sorted({language for language, _ in cells}):
        found = [cells.get((language, source)) for source in sources]
        line = "".join(f"<td>{duration(c[0])} of {duration(c[1])}</td>" if c else "<td></td>" for c in found)
        lines.append(f"<tr><td>{text(language)}</td>{line}</tr>")
    return (
        "<h2>Languages and sources</h2><p>Audio kept, of what came in.</p>"
        f'<div class="wide"><table><tr><th></th>{header}</tr>{"".join(lines)}</table></div>'
    )


def failures(rows: Sequence[Row]) -> str:
    """Recordings, or the parts of them, that could not be worked on; and those that had nothing to give."""
    found = [row for row in rows if row["status"] == "failed"]
    found += [row for row in rows if row["status"] == "dropped" and not row["key"] and row["reasons"][0] != "between"]
    body = "".join(
        f'<tr class="{row["status"]}"><td>{text(row["recording"])}</td><td>{duration(row["item_seconds"] / 3600)}</td>'
        f'<td class="words">{text(row["reason"])}</td></tr>'
        for row in found[:500]
    )
    more = f"<p>And {len(found) - 500} more in ledger.parquet.</p>" if len(found) > 500 else ""
    table = (
        f'<table><tr><th></th><th>audio</th><th class="words">why</th></tr>{body}</table>' if found else "<p>None.</p>"
    )
    return f'<h2 id="failed">Failed, or without speech</h2><div class="wide">{table}</div>{more}'


def whole(page: Page, *, title: str) -> str:
    """The document: style and script inside, nothing from elsewhere."""
    folder = Path(__file__).parent
    style, script = ((folder / f"audit.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    top = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{top}<style>{style}</style></head><body>{"".join(page.parts)}'
        f"<script>const SOUNDS = {json.dumps(page.sounds)};\n{script}</script></body></html>\n"
    )


def clipped(value: str, length: int) -> str:
    """The text, or its beginning."""
    return value if len(value) <= length else value[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def legend(*names: str) -> str:
    """What the colors mean."""
    return '<div class="key">' + "".join(f'<i class="{name}"></i>{name}' for name in names) + "</div>"


def percent(part: float, of: float) -> str:
    """`12.3 %`."""
    return f"{part / of * 100:.1f} %" if of else ""
