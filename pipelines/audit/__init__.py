"""The audit page of a corpus: one HTML file that opens anywhere, to see what was kept, to hear why the rest was not.

It reads the ledger by columns and shows a bounded number of clips: a million segments cost seconds more than a hundred.
Nothing in it comes from elsewhere, and nothing is stored by the browser: MLflow shows such a page in a sandbox.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.storage import write_atomic
from pipelines import acceptance
from pipelines.audit.bins import Binned, binned
from pipelines.audit.columns import Columns
from pipelines.audit.funnel import cube, funnel_section
from pipelines.audit.labels import labels_section
from pipelines.audit.picks import Pick, picks
from pipelines.audit.pictures import histogram
from pipelines.audit.scores import known_first, limits, name_of
from pipelines.audit.sections import failures_section, head, legend, predicted_section, sources_section, truth_section
from pipelines.audit.sheets import PageSounds, Row, length, numbers, place, sheet, text
from pipelines.shards import read_card

SECTIONS = {
    "kept": ("Kept", "One sounds at a time: press a picture, press again to stop. Open the last line for all numbers."),
    "doubt": ("In doubt", "Kept clips on which two judges disagree most: one of them is wrong."),
    "limits": (
        "At the limits",
        "The clips that a slightly other limit would have decided otherwise: the nearest on each side, where there are "
        "any on both. Is what was lost worth having?",
    ),
    "rejected": ("Rejected", "Under the first reason, with the value that decided; drawn at random."),
}
"""Sections of clips: anchor -> title, and what to know."""


def write_audit(
    corpus: Path, *, sound_of: Callable[[Row], bytes | None], each: int = 4, to: Path | None = None
) -> Path:
    """Write `audit.html` into a finished corpus folder, from what lies there: card, funnel, ledger, reports.

    `sound_of`: row of a segment -> its sound in a format that libsndfile reads, or None; rejected segments are in no
    shard, so only whoever has the work folder can give them. `each`: clips on a side of a limit, and the measure of all
    other sheets. `to`: another file.
    """
    card = read_card(corpus)
    funnel = json.loads((corpus / "funnel.json").read_text(encoding="utf-8"))
    columns = Columns(corpus)
    found = list(limits(funnel["manifest"]))
    random = np.random.default_rng(int(card["digest"][:16], 16))
    chosen = list(picks(columns, limits=found, random=random, each=each))
    sample = sample_rows(columns, digest=card["digest"])
    rows = columns.shown([*sample, *(int(row) for pick in chosen for row in pick.rows)])
    sounds = PageSounds(sound_of, [float(row.get("seconds") or 0.0) for row in rows.values()])
    drawn = known_first(columns.score_names)
    bins = [bin_ for score in drawn if (bin_ := binned(columns, score, limits=found))]
    listed = [clip for row in sample if (clip := clip_told(sounds, rows[row])) is not None]
    parts = [head(card, funnel, columns), menu(), review_section(), told_reports(corpus)]
    parts += [funnel_section(funnel, columns), charts(bins), labels_section(columns)]
    parts += [clips_section(name, chosen, sounds, rows) for name in SECTIONS]
    parts += [sources_section(columns), failures_section(columns)]
    data = {
        "corpus": f"{card['name']}@{card['digest']}",
        "format": acceptance.FORMAT,
        "sample": listed,
        "rule": rule(len(listed), of=int(columns.kept.sum())),
        "cube": cube(columns),
        "charts": {bin_.score: chart_told(bin_) for bin_ in bins},
        "sounds": {key: clip.sound for key, clip in sounds.clips.items() if clip},
        "pictures": {key: clip.picture for key, clip in sounds.clips.items() if clip},
    }
    path = to or corpus / "audit.html"
    write_atomic(path, whole(parts, data, title=f"{card['name']}@{card['digest'][:12]}"))
    return path


def sample_rows(columns: Columns, *, digest: str) -> list[int]:
    """The rows of the acceptance sample, in the order in which they were drawn."""
    rows = np.flatnonzero(columns.kept)
    return [int(rows[number]) for number in acceptance.drawn(columns.keys(columns.kept), digest=digest)]


def rule(sample: int, *, of: int) -> dict[str, Any]:
    """What the page needs to compute the verdict as `pipelines.acceptance` does."""
    asked = acceptance.result_of(sample=sample, of=of, judged=0, bad=0)
    return {
        "sample": asked.sample,
        "allowed": asked.allowed,
        "whole": asked.whole,
        "of": of,
        "limit": acceptance.LIMIT,
        "confidence": acceptance.CONFIDENCE,
    }


def clip_told(sounds: PageSounds, row: Row) -> dict[str, Any] | None:
    """A clip of the sample, for the script that shows it."""
    clip = sounds.clip(row)
    if clip is None:
        return None
    return {
        "key": row["key"],
        "text": row.get("text") or "",
        "numbers": numbers(row, most=8),
        "place": place(row),
        "top": clip.top,
        "long": length(row, clip),
    }


def menu() -> str:
    """Links to the sections."""
    names = {"judge": "Judge", "funnel": "Funnel", "scores": "Scores", **{n: t for n, (t, _) in SECTIONS.items()}}
    names |= {"sources": "Sources", "failed": "Failed"}
    return "<nav>" + "".join(f'<a href="#{name}">{label}</a>' for name, label in names.items()) + "</nav>"


def review_section() -> str:
    """Where a person listens to the sample and judges it; the script fills it."""
    share, sure = f"{acceptance.LIMIT:.0%}", f"{acceptance.CONFIDENCE:.0%}"
    return (
        '<h2 id="judge">Listen and judge</h2><p>A random sample of what is kept. Judge each clip as you would for '
        "training: good, or bad. When all are judged with few enough bad ones, fewer than "
        f"{share} of the corpus are bad, with {sure} confidence (exact binomial). "
        "Verdicts stay in this window: save them as a file.</p>"
        '<div id="review"></div>'
    )


def told_reports(corpus: Path) -> str:
    """What lies beside the corpus, where it does: the truth of its recordings, and what was predicted of it."""
    parts = []
    for name, section in (("truth_report.json", truth_section), ("prediction.json", predicted_of)):
        path = corpus / name
        if path.is_file():
            parts.append(section(json.loads(path.read_text(encoding="utf-8"))))
    return "".join(parts)


def predicted_of(report: Mapping[str, Any]) -> str:
    """The sentences of `prediction.json`."""
    return predicted_section(report["sentences"])


def charts(bins: Sequence[Binned]) -> str:
    """A histogram for each score that was measured, and what another limit would keep."""
    told = (
        "Hours of all segments that were scored. Dashed lines are the limits of the manifest; those of a tier bear its "
        "name. Move a limit to see what would be kept: exact for one limit at a time, from the bins in this page; "
        "<code>stipple corpus select --what-if</code> answers for several at once."
    )
    if not bins:
        return '<h2 id="scores">Scores</h2><p>No segment was scored.</p>'
    key = legend("kept", "alone", "dropped", alone="dropped by this limit alone", dropped="dropped for other reasons")
    return f'<h2 id="scores">Scores</h2><p>{told}</p>{key}<div class="charts">{"".join(map(chart, bins))}</div>'


def chart(bins: Binned) -> str:
    """A histogram, two sliders, and the line that they change."""
    name, unit = name_of(bins.score)
    last = len(bins.edges) - 1
    sliders = "".join(
        f'<label>{word}<input type="range" min="0" max="{last}" value="{at}" data-side="{side}" '
        f'aria-label="{text(name)} {word}"></label>'
        for word, side, at in (("at least", "low", bins.low), ("at most", "high", bins.high))
    )
    return (
        f'<figure data-score="{text(bins.score)}"><figcaption>{text(name)} <span>{text(unit)}</span></figcaption>'
        f'{histogram(bins)}<div class="sliders">{sliders}</div><output></output></figure>'
    )


def chart_told(bins: Binned) -> dict[str, Any]:
    """What the sliders need: numbers of nine figures, so that sums are exact to a second in a million hours."""
    exact = [[float(f"{hours:.9g}") for hours in group] for group in (bins.kept, bins.alone)]
    return {
        "edges": [float(f"{edge:.7g}") for edge in bins.edges],
        "kept": exact[0],
        "alone": exact[1],
        "unscored": bins.kept_unscored,
        "low": bins.low,
        "high": bins.high,
    }


def clips_section(name: str, chosen: Sequence[Pick], sounds: PageSounds, rows: Mapping[int, Row]) -> str:
    """The sheets of a section; those without any sound are left out."""
    title, told = SECTIONS[name]
    parts = []
    for pick in chosen:
        shown = sheet(sounds, [rows[int(row)] for row in pick.rows], score=pick.score) if pick.section == name else ""
        if shown:
            parts.append(f"<h3>{text(pick.title)}</h3>{shown}")
    return f'<h2 id="{name}">{title}</h2><p>{told}</p>' + ("".join(parts) or "<p>None.</p>")


def whole(parts: Sequence[str], data: Mapping[str, Any], *, title: str) -> str:
    """The document: style and script inside, nothing from elsewhere; no text of the data can end the script."""
    folder = Path(__file__).parent
    style, script, review = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "review.js")
    )
    told = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    top = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{top}<style>{style}</style></head><body>{"".join(parts)}'
        f"<script>\nconst DATA = {told};\n{script}\n{review}</script></body></html>\n"
    )
