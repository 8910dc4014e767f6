"""The parts of an audit page that are words and tables: head, funnel, sources, licenses, labels, what failed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.audit.columns import Coded, Columns
from pipelines.audit.sheets import hours_told, text
from pipelines.funnel import STATUSES, duration
from pipelines.policy.bill import terms_told
from pipelines.policy.licenses import terms_of

Facts = Mapping[str, Any]

MOST_LANGUAGES, MOST_SOURCES, MOST_LICENSES, MOST_FAILED = 40, 8, 20, 200
FEW, SHORT = 24, 40
"""Different texts that a column of labels has at most, and the characters of each."""
NO_LABELS = (
    "status", "reasons", "transform", "tier", "fingerprint", "unit", "corpus", "schema", "language", "source",
    "license", "given_language", "recording_sha256", "key", "text", "given_text", "heard_text", "text_tts", "caption",
    "caption_short", "speaker", "given_speaker", "recording", "reason", "text_raw", "text_norm", "hypotheses", "turn",
    "pcm_sha256", "audio_print",
)  # fmt: skip
"""Columns of texts that other parts of the page tell."""


def head(card: Facts, funnel: Facts, columns: Columns) -> str:
    """Name, the few numbers, and what the corpus is made of."""
    hours, manifest = funnel["hours"], funnel["manifest"]
    kept_languages = [name for name, part in funnel["by_language"].items() if part["kept"]]
    voices = np.unique(columns.texts("speaker").codes[columns.kept])
    facts = {
        "kept": duration(hours["kept"]),
        "of the audio that came in": f"{hours['kept'] / hours['in']:.0%}" if hours["in"] else "0 %",
        "segments kept": f"{funnel['segments_kept']:,} of {funnel['segments']:,}",
        "recordings": f"{funnel['recordings']:,}",
        "languages": str(len(set(kept_languages) - {"unknown"})),
    }
    if (voices >= 0).any():
        facts["voices, as told apart"] = f"{int((voices >= 0).sum()):,}"
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


def funnel_section(funnel: Facts, columns: Columns) -> str:
    """Hours from what came in to what is kept, by transform; and the reasons, of all or of one language or source."""
    hours = funnel["hours"]
    total = sum(hours[status] for status in STATUSES)
    off = abs(total - hours["in"]) * 3600
    adds = "adds up" if off < 1 else f"does NOT add up: {off:.1f} s are missing"
    told = (
        f"{duration(hours['in'])} in = {duration(hours['kept'])} kept + {duration(hours['dropped'])} dropped + "
        f"{duration(hours['failed'])} failed: it {adds}, checked recording by recording when it was built."
    )
    parts = (("language", columns.language, MOST_LANGUAGES), ("source", columns.source, MOST_SOURCES))
    choices = "".join(
        f'<label>{part} <select data-part="{part}"><option value="">all</option>{options(coded, most=most)}'
        "</select></label>"
        for part, coded, most in parts
    )
    return (
        f'<h2 id="funnel">Funnel</h2><p>{told}</p>{transforms_table(funnel)}'
        "<h3>Why</h3><p>Choose a language or a source to see its part. <b>First</b>: the reason that counts, so that "
        "these add up. <b>Any</b>: also where another reason came first. <b>Only</b>: what this reason alone removes."
        f'</p><form class="choose">{choices}</form><div class="bar" id="bar"></div>'
        f"{legend('kept', 'dropped', 'failed')}"
        '<div class="wide"><table id="reasons"></table></div>'
    )


def options(coded: Coded, *, most: int) -> str:
    """The names of a column as choices."""
    counts = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.names))
    order = np.argsort(-counts, kind="stable")[:most]
    return "".join(f'<option value="{code}">{text(coded.names[code])}</option>' for code in order if counts[code])


def transforms_table(funnel: Facts) -> str:
    """A line a transform: what came to it as a bar, what it dropped and failed, what it cost."""
    through, costs = funnel.get("by_transform"), funnel.get("costs", {})
    if not through:
        return ""
    whole = funnel["hours"]["in"] or 1.0
    lines = []
    for name, part in through.items():
        cost, lost = costs.get(name, {}), part["dropped"] + part["failed"]
        bar = "".join(
            f'<i class="{kind}" style="width:{max(value, 0) / whole * 100:.3f}%"></i>'
            for kind, value in (("kept", part["out"]), ("dropped", part["dropped"]), ("failed", part["failed"]))
        )
        told = (duration(max(part["out"], 0.0)), hours_told(lost), percent(lost, whole), cost_told(cost))
        label = "filters" if name == "select" else name
        cells = "".join(f"<td>{value}</td>" for value in told)
        lines.append(f'<tr><td>{text(label)}</td><td class="stage"><div>{bar}</div></td>{cells}</tr>')
    head = (
        '<tr><th></th><th class="stage"></th><th>left</th><th>lost here</th><th>of all</th><th>processor time</th></tr>'
    )
    return f'<div class="wide"><table class="stages">{head}{"".join(lines)}</table></div>'


def cost_told(cost: Facts) -> str:
    """Processor time, and how many times faster than the audio that it heard."""
    cpu, gpu, audio = (float(cost.get(f"{kind}_seconds", 0.0)) for kind in ("cpu", "gpu", "audio"))
    told = hours_told(cpu / 3600)
    if gpu > 0:
        told += f" + {duration(gpu / 3600)} GPU"
    return told + (f" ({audio / cpu:,.0f} x)" if cpu > 0.01 and audio > 0 else "")


def cube(columns: Columns) -> list[list[Any]]:
    """Hours by language, source, status and reason: [language, source, status, reason, first, any, only, items].

    Languages and sources beyond the most frequent are summed as -1; the reason of what is kept is the empty text.
    """
    language = shortened(columns.language, most=MOST_LANGUAGES)
    source = shortened(columns.source, most=MOST_SOURCES)
    status = np.select([columns.kept, columns.of_status("failed")], [0, 2], default=1)
    reasons, hours = columns.reasons, columns.hours
    names = [*reasons.coded.names, ""]
    owner = np.concatenate([reasons.owner, np.flatnonzero(columns.kept)])
    reason = np.concatenate([reasons.coded.codes, np.full(int(columns.kept.sum()), len(names) - 1)])
    single = np.where(columns.kept, 1, reasons.length)[owner] == 1
    first = np.concatenate([np.diff(reasons.owner, prepend=-1) != 0, np.ones(int(columns.kept.sum()), dtype=bool)])
    cells = np.stack([language[owner], source[owner], status[owner], reason])
    found, place = np.unique(cells, axis=1, return_inverse=True)
    place = place.ravel()
    weight = hours[owner]
    sums = [np.bincount(place, weights=w, minlength=found.shape[1]) for w in (weight * first, weight, weight * single)]
    items = np.bincount(place, weights=first, minlength=found.shape[1])
    return [
        [int(a), int(b), STATUSES[int(c)], names[int(d)], *(float(f"{s[n]:.9g}") for s in sums), int(items[n])]
        for n, (a, b, c, d) in enumerate(found.T)
    ]


def shortened(coded: Coded, *, most: int) -> Any:
    """The codes of the most frequent texts; -1 for all others."""
    counts = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.names))
    common = np.argsort(-counts, kind="stable")[:most]
    return np.where(np.isin(coded.codes, common), coded.codes, -1)


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
    kept = [license.names[code] for code in np.unique(license.codes[columns.kept]) if code >= 0]
    told = [f"{name}: {' '.join(sorted(terms_of(name))) or 'no conditions'}" for name in license.names]
    return (
        '<h2 id="sources">Languages, sources, licenses</h2><p>Audio kept, of what came in.</p>'
        + cross(columns, columns.language, columns.source, rows=MOST_LANGUAGES, across=MOST_SOURCES)
        + "<h3>License bill of materials</h3><p>With the terms of each license. Together, what is kept asks for: "
        f"<b>{text(terms_told(kept))}</b>.</p>"
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


def labels_section(columns: Columns) -> str:
    """Columns that are words, or yes and no: how much audio carries each, kept and not."""
    figures = []
    for name, kind in columns.types.items():
        if name in NO_LABELS or kind == "number":
            continue
        found = label_hours(columns, name, kind)
        if found:
            lines = "".join(
                f"<tr><td>{text(clipped(label, 60))}</td><td>{hours_told(kept)}</td><td>{hours_told(lost)}</td></tr>"
                for label, kept, lost in found
            )
            table = f"<table><tr><th></th><th>kept</th><th>not kept</th></tr>{lines}</table>"
            figures.append(f"<figure><figcaption>{text(name.replace('_', ' '))}</figcaption>{table}</figure>")
    return f'<h3>Labels</h3><div class="charts">{"".join(figures)}</div>' if figures else ""


def label_hours(columns: Columns, name: str, kind: str) -> list[tuple[str, float, float]]:
    """Label -> hours kept, hours not kept; nothing for columns of free text."""
    segment, hours, kept = columns.segment, columns.hours, columns.kept
    if kind == "bool":
        flags = columns.flags(name)
        coded, owner = Coded(flags.astype(np.int32), ["no", "yes"]), np.arange(len(flags))
    elif kind == "texts":
        lists = columns.lists(name)
        stems = [label.split(": ")[0] for label in lists.coded.names]
        names = list(dict.fromkeys(stems))
        if any(len(label) > SHORT for label in names):
            return []
        codes = np.array([names.index(stem) for stem in stems] or [0], dtype=np.int32)[lists.coded.codes]
        coded, owner = Coded(codes, names), lists.owner
    else:
        different = columns.file.read_row_group(0, columns=[name])[name].drop_null().unique().to_pylist()
        if len(different) > FEW or any(len(label) > SHORT for label in different):
            return []
        coded = columns.texts(name)
        owner = np.arange(len(coded.codes))
    use = (coded.codes >= 0) & segment[owner]
    if not use.any() or len(coded.names) > 40 * FEW:
        return []
    codes, owner = coded.codes[use], owner[use]
    sums = [
        np.bincount(codes, weights=hours[owner] * chosen[owner], minlength=len(coded.names)) for chosen in (kept, ~kept)
    ]
    order = np.argsort(-(sums[0] + sums[1]), kind="stable")[:FEW]
    return [(coded.names[n], float(sums[0][n]), float(sums[1][n])) for n in order if sums[0][n] + sums[1][n] > 0]


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
