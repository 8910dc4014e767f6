"""Parts of an audit page that are words and tables: head, prediction, truth, sources and licenses, what failed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.audit.coded import Coded
from pipelines.audit.columns import Columns
from pipelines.audit.sheets import text
from pipelines.funnel import duration
from pipelines.policy.bill import terms_told
from pipelines.policy.licenses import terms_of

Facts = Mapping[str, Any]

MOST_LANGUAGES, MOST_SOURCES, MOST_LICENSES, MOST_FAILED = 40, 8, 20, 200


def head(card: Facts, funnel: Facts, columns: Columns) -> str:
    """Name, the few numbers, and what the corpus is made of."""
    hours, manifest = funnel["hours"], funnel["manifest"]
    kept_languages = [name for name, part in funnel["by_language"].items() if part["kept"]]
    voices = len(columns.texts("speaker").present(columns.kept))
    facts = {
        "kept": duration(hours["kept"]),
        "of the audio that came in": f"{hours['kept'] / hours['in']:.0%}" if hours["in"] else "0 %",
        "segments kept": f"{funnel['segments_kept']:,} of {funnel['segments']:,}",
        "recordings": f"{funnel['recordings']:,}",
        "languages": str(len(set(kept_languages) - {"unknown"})),
    }
    if voices:
        facts["voices, as told apart"] = f"{voices:,}"
    told = {
        "Purpose": manifest.get("purpose", ""),
        "Languages": ", ".join(kept_languages[:MOST_LANGUAGES]),
        "Licenses": "; ".join(card["licenses"][:MOST_LICENSES]),
        "Tiers": ", ".join(f"{name} {duration(value)}" for name, value in funnel["by_tier"].items()),
        "Transforms": " > ".join(entry["name"] for entry in manifest["transforms"]),
    }
    cells = "".join(f"<div><b>{text(value)}</b><span>{text(name)}</span></div>" for name, value in facts.items())
    lines = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in told.items() if value)
    name = f"<h1>{text(card['name'])} <small>@{text(card['digest'])}</small></h1>"
    return f'<header>{name}<div class="facts">{cells}</div><dl class="lines">{lines}</dl></header>'


def predicted_section(sentences: Sequence[str]) -> str:
    """What was predicted before the corpus was made, and what came of it."""
    lines = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f"<h2>Predicted and true</h2><ul>{lines}</ul>" if lines else ""


def truth_section(report: Facts) -> str:
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


def sources_section(columns: Columns) -> str:
    """Language by source: what is kept, of what came in; and what each license covers."""
    license = columns.texts("license")
    told = [f"{name}: {' '.join(sorted(terms_of(name))) or 'no conditions'}" for name in license.names]
    return (
        '<h2 id="sources">Languages, sources, licenses</h2><p>Audio kept, of what came in.</p>'
        + cross(columns, columns.language, columns.source, rows=MOST_LANGUAGES, across=MOST_SOURCES)
        + "<h3>License bill of materials</h3><p>With the terms of each license. Together, what is kept asks for: "
        f"<b>{text(terms_told(license.present(columns.kept)))}</b>.</p>"
        + cross(columns, Coded(license.codes, told), columns.source, rows=MOST_LICENSES, across=MOST_SOURCES)
    )


def cross(columns: Columns, down: Coded, right: Coded, *, rows: int, across: int) -> str:
    """A table of two columns of texts: audio kept of audio that came in, most first."""
    kept = np.zeros((len(down.names) + 1, len(right.names) + 1))
    came = np.zeros_like(kept)
    np.add.at(came, (down.codes, right.codes), columns.hours)
    np.add.at(kept, (down.codes, right.codes), columns.hours * columns.kept)
    names_down, names_right = [*down.names, "not stated"], [*right.names, "not stated"]
    places_down = [n for n in np.argsort(-came.sum(axis=1), kind="stable") if came[n].any()][:rows]
    places_right = [n for n in np.argsort(-came.sum(axis=0), kind="stable") if came[:, n].any()][:across]
    top = "".join(f'<th title="{text(names_right[n])}">{text(clipped(names_right[n], 34))}</th>' for n in places_right)
    lines = []
    for a in places_down:
        cells = [share(kept[a].sum(), came[a].sum()), *(share(kept[a, b], came[a, b]) for b in places_right)]
        lines.append(f"<tr><td>{text(names_down[a])}</td>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><tr><th></th><th>all</th>{top}</tr>{"".join(lines)}</table></div>'


def share(kept: float, came: float) -> str:
    """A cell: hours kept of hours in, and the share as a line below."""
    if came <= 0:
        return "<td></td>"
    line = f'<i class="share" style="width:{kept / came * 100:.0f}%"></i>'
    return f"<td>{duration(kept)} <small>of {duration(came)}</small>{line}</td>"


def failures_section(columns: Columns) -> str:
    """Recordings, or the parts of them, that could not be worked on; and those that had nothing to give."""
    names = columns.reasons.coded
    lost = columns.of_status("dropped") & ~columns.segment & (columns.reasons.first != names.code("between"))
    rows = np.concatenate([np.flatnonzero(found & ~columns.gone) for found in (columns.of_status("failed"), lost)])
    shown = columns.shown(rows[:MOST_FAILED].tolist())
    body = "".join(
        f'<tr class="{text(row["status"])}"><td>{text(row["recording"])}</td>'
        f'<td>{duration(row["item_seconds"] / 3600)}</td><td class="words">{text(row["reason"])}</td></tr>'
        for row in (shown[number] for number in rows[:MOST_FAILED].tolist())
    )
    more = f"<p>And {len(rows) - MOST_FAILED:,} more in ledger.parquet.</p>" if len(rows) > MOST_FAILED else ""
    table = (
        f'<table><tr><th></th><th>audio</th><th class="words">why</th></tr>{body}</table>'
        if len(rows)
        else "<p>None.</p>"
    )
    return f'<h2 id="failed">Failed, or without speech</h2><div class="wide">{table}</div>{more}'


def clipped(value: str, length: int) -> str:
    """The text, or its beginning."""
    return value if len(value) <= length else value[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def legend(*names: str, **labels: str) -> str:
    """What the colors mean."""
    return '<div class="key">' + "".join(f'<i class="{n}"></i>{labels.get(n, n)}' for n in names) + "</div>"


def percent(part: float, of: float) -> str:
    """`12.3 %`; nothing for nothing."""
    return f"{part / of * 100:.1f} %" if of and part > 0 else ""
