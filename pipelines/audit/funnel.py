"""The part of an audit page about hours: from what came in to what is kept, by transform and by reason."""

from typing import Any

import numpy as np

from pipelines.audit.coded import Coded
from pipelines.audit.columns import Columns
from pipelines.audit.sections import MOST_LANGUAGES, MOST_SOURCES, Facts, legend, percent
from pipelines.audit.sheets import hours_told, text
from pipelines.funnel import STATUSES, duration


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
    common = coded.common(most=most)
    return "".join(f'<option value="{code}">{text(coded.names[code])}</option>' for code in common)


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
    return np.where(np.isin(coded.codes, coded.common(most=most)), coded.codes, -1)
