"""One self-contained HTML page of an evaluation: what was measured, with which doubt, and the sound itself."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from infra.log import counted
from pipelines.evaluation.metrics import Utterance
from pipelines.row import Wave

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --dim: #6b6b6b; }
@media (prefers-color-scheme: dark) { :root { --dim: #9a9a9a; } }
body { font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; }
.dim { color: var(--dim); font-size: .9em; } .scroll { overflow-x: auto; }
td { min-width: 5rem; } td:first-child { min-width: 10rem; } td.wide { min-width: 14rem; }
li, code, td.wide { overflow-wrap: anywhere; } code { font-size: .9em; }
audio { width: 13rem; height: 2rem; }
@media (max-width: 40rem) { td, th { padding: .35rem .3rem; } td.number { white-space: normal; } }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.bar { background: var(--soft); padding: .6rem .9rem; border-left: 3px solid var(--line); }
"""


def page(facts: Mapping[str, Any], systems: Mapping[str, Sequence[Utterance]], *, players: int) -> str:
    """The whole page; nothing in it is fetched from anywhere."""
    body = [
        f"<h1>{escape(facts['name'])}</h1>",
        f"<p>{escape(facts['purpose'])}</p>" if facts["purpose"] else "",
        about(facts),
        "<h2>Numbers</h2>",
        f'<div class="scroll">{summary_table(facts["systems"])}</div>',
        f'<p class="dim">{escape(intervals(facts))}</p>',
        *unscored(facts["systems"]),
        *finishes(facts),
        "<h2>How each number came about</h2>",
        hows(facts["systems"]),
        settings(facts),
    ]
    for name, utterances in systems.items():
        body.append(f"<h2>{escape(name)}: utterances</h2>")
        body.append(f'<div class="scroll">{utterance_table(facts["systems"][name], utterances, players=players)}</div>')
    title = escape(f"{facts['name']} - evaluation")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f"<!doctype html><html lang='en'><head>{head}<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def escape(text: object) -> str:
    """Text as HTML shows it."""
    return html.escape(str(text))


def about(facts: Mapping[str, Any]) -> str:
    """Which bundle, which corpus."""
    bundle, data = facts["bundle"], facts["data"]
    parts = [
        f"{escape(facts['kind'])} by the bundle of <b>{escape(bundle['name'])}</b> "
        f"(run <code>{escape(bundle['run'][:12] or 'none')}</code>, "
        f"digest <code>{escape(bundle['digest'][:12])}</code>)"
    ]
    if data:
        parts.append(f"corpus <b>{escape(data['name'])}</b>@<code>{escape(data['digest'][:12])}</code>")
    if listed := facts["list"]:
        parts.append(
            f"list <b>{escape(listed['file'])}</b>@<code>{escape(listed['digest'][:12])}</code>, "
            f"{listed['lines']} lines"
        )
    parts.append(f"evaluated by run <code>{escape(facts['run'][:12])}</code>")
    known = "".join(f'<p class="bar">{escape(told)}</p>' for told in known_by_heart(facts))
    return f"<p>{'; '.join(parts)}</p>{known}"


def known_by_heart(facts: Mapping[str, Any]) -> Iterator[str]:
    """That scores are of what was trained on, where they are; that nobody can say so, where nobody can."""
    if facts["trained_on"]:
        yield (
            f"The bundle was trained on what this corpus is, or is made of ({', '.join(facts['trained_on'])}): "
            "what it heard in training and what was held out are not told apart here."
        )
    if facts["trained_on_unknown"]:
        more = "more of it" if facts["trained_on"] else "it"
        yield f"Whether the bundle was trained on {more} is not known: {'; '.join(facts['trained_on_unknown'])}."


def intervals(facts: Mapping[str, Any]) -> str:
    """How means and intervals came about."""
    settings = facts["settings"]
    return (
        "Mean over the scored utterances, each of equal weight; below it how many were scored, of how many, in how "
        "many voices. In brackets the 95 % interval of the mean: percentiles of a bootstrap that draws whole voices "
        f"({settings['resamples']} times, seed {settings['seed']}), because what one voice says is not independent; "
        "where no speaker is known, a recording stands for one, and speech without a prompt for itself. Of fewer than "
        "some 20 voices it is too narrow; where all values are the same it has no width, which is no certainty. It "
        "says nothing of other kinds of text and recording than these."
    )


def settings(facts: Mapping[str, Any]) -> str:
    """All that the manifest said, defaults included."""
    import yaml

    told = yaml.safe_dump({**facts["settings"], "metrics": facts["metrics"]}, sort_keys=False, allow_unicode=True)
    return f"<details><summary>Every setting, defaults included</summary><pre>{escape(told)}</pre></details>"


def shown(summary: Mapping[str, Any]) -> str:
    """A mean with its interval, or that there is none."""
    if summary["mean"] is None:
        return "not scored"
    unit = f" {summary['unit']}" if summary["unit"] else ""
    doubt = "" if summary["low"] is None else f" [{summary['low']:.3f}, {summary['high']:.3f}]"
    return f"{summary['mean']:.3f}{unit}{doubt}"


def how_many(summary: Mapping[str, Any]) -> str:
    """`9 of 10, 4 voices`: how many a mean is of."""
    return f"{summary['scored']} of {summary['total']}, {counted(summary['voices'], 'voice')}"


def metric_names(measured: Mapping[str, Any]) -> list[str]:
    """Every metric of any system, in order."""
    return list(dict.fromkeys(name for system in measured.values() for name in system["metrics"]))


def summary_table(measured: Mapping[str, Any]) -> str:
    """Metrics down, systems across."""
    heads = "".join(f'<th class="number">{escape(name)}</th>' for name in measured)
    rows = []
    for metric in metric_names(measured):
        cells, better = "", "neither"
        for system in measured.values():
            summary = system["metrics"][metric]
            better = summary["better"]
            count = f'<br><span class="dim">{how_many(summary)}</span>'
            cells += f'<td class="number">{escape(shown(summary))}{count}</td>'
        note = "" if better == "neither" else f' <span class="dim">{better} is better</span>'
        rows.append(f"<tr><td>{escape(metric)}{note}</td>{cells}</tr>")
    return f"<table><tr><th>measure</th>{heads}</tr>{''.join(rows)}</table>"


def unscored(measured: Mapping[str, Any]) -> Iterator[str]:
    """What has no score, and why."""
    lines = [
        f"<li>{escape(system)}, {escape(metric)}: {count} x {escape(reason)}</li>"
        for system, facts in measured.items()
        for metric, summary in facts["metrics"].items()
        for reason, count in summary["unscored"].items()
    ]
    if lines:
        yield f"<h2>Not scored</h2><ul>{''.join(lines)}</ul>"


def finishes(facts: Mapping[str, Any]) -> Iterator[str]:
    """How utterances ended, and how long the making took."""
    own = facts["systems"]["bundle"]
    if facts["kind"] == "speech":
        ends = ", ".join(f"{count} {escape(reason)}" for reason, count in own["finish"].items())
        yield (
            f'<p class="bar">How they ended: <b>{ends}</b>. <code>stop</code>: the stop head ended it; '
            "<code>length</code>: it was still speaking at the stated maximum, and was cut; "
            "<code>missing</code>: it could not be made.</p>"
        )
    spent = facts["timing"]["bundle"]
    if spent["real_time_factor"] is not None:
        yield (
            f"<p>{spent['audio_seconds']:.1f} s of sound in {spent['making_seconds']:.1f} s where it was "
            f"made: real-time factor {spent['real_time_factor']:.2f}.</p>"
        )


def hows(measured: Mapping[str, Any]) -> str:
    """One sentence a measure; those that came about the same way together."""
    together: dict[str, list[str]] = {}
    for system in measured.values():
        for name, facts in system["metrics"].items():
            names = together.setdefault(facts["how"], [])
            names += [name] if name not in names else []
    told = [f"<li><b>{escape(', '.join(names))}</b>: {escape(how)}</li>" for how, names in together.items()]
    return f"<ul>{''.join(told)}</ul>"


def utterance_table(system: Mapping[str, Any], utterances: Sequence[Utterance], *, players: int) -> str:
    """One row an utterance; the first ones can be heard, beside what they are held against."""
    metrics = list(system["metrics"])
    heard = [utterances[number] for number in range(min(players, len(utterances)))]
    compared = any(utterance.against_S is not None for utterance in heard)
    heads = ["what", "sound", *(["held against"] if compared else []), "ended", *metrics]
    rows = []
    for row, utterance in zip_longest(system["utterances"], heard):
        cells = [
            f"{escape(row['text'] or '(text unknown)')}<br><span class='dim'>{escape(row['language'] or '?')} "
            f"<code>{escape(row['key'])}</code></span>",
            "-" if utterance is None else player(utterance.wave_S, utterance.rate_hz, label=f"sound of {row['key']}"),
        ]
        if compared:
            label = f"what {row['key']} is held against"
            held = None if utterance is None else player(utterance.against_S, utterance.against_rate_hz, label=label)
            cells.append(held or "-")
        cells.append(escape(row["problem"] or row["finish"] or "-"))
        told = "".join(f"<td>{cell}</td>" for cell in cells)
        told += "".join(value(row["scores"][metric], note=row["notes"].get(metric, "")) for metric in metrics)
        rows.append(f"<tr>{told}</tr>")
    names = "".join(f"<th>{escape(head).replace('_', '_<wbr>')}</th>" for head in heads)
    return f"<table><tr>{names}</tr>{''.join(rows)}</table>"


def value(score: float | str, *, note: str = "") -> str:
    """The cell of a score with what led to it, or of a dash that tells why on hover."""
    if not isinstance(score, float | int):
        return f'<td><span class="dim" title="{escape(score)}">-</span></td>'
    if not note:
        return f"<td>{score:.3f}</td>"
    return f"<td class='wide'>{score:.3f}<br><span class='dim'>{escape(note)}</span></td>"


def player(wave_S: Wave | None, rate_hz: int, *, label: str) -> str:
    """The sound inside the page, as FLAC; a dash where there is none."""
    if wave_S is None:
        return "-"
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, np.clip(wave_S, -1, 1), rate_hz, format="FLAC", subtype="PCM_16")
    data = base64.b64encode(held.getvalue()).decode()
    return f'<audio controls preload="none" aria-label="{escape(label)}" src="data:audio/flac;base64,{data}"></audio>'


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The numbers for a terminal."""
    for system, measured in facts["systems"].items():
        yield f"{system}:"
        for metric, summary in measured["metrics"].items():
            yield f"  {metric:<22} {shown(summary):<32} {how_many(summary)}"
    yield from known_by_heart(facts)
    ends = facts["systems"]["bundle"]["finish"]
    if facts["kind"] == "speech":
        yield f"ended: {', '.join(f'{count} {reason}' for reason, count in ends.items())}"
