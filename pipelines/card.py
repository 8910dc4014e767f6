"""The data card of a corpus, `card.md`: in Hugging Face's form, from what was measured and decided, nothing else."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from infra.log import counted
from infra.manifest import names_in, resolve
from infra.storage import write_atomic
from pipelines.audit.coded import Coded, Mask
from pipelines.audit.columns import UNKNOWN, Columns
from pipelines.audit.pictures import short
from pipelines.audit.scores import known_first, limits, name_of
from pipelines.documented import documented
from pipelines.funnel import duration
from pipelines.markdown import escaped, table
from pipelines.policy.bill import terms_told
from pipelines.policy.licenses import identifier
from pipelines.shards import read_card

FILE = "card.md"
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
HUB_LICENSES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
                "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "odc-by", "odbl")  # fmt: skip
"""Licenses that the hub knows by name."""
SECRET = ("key_file", "folder", "ca_file")
"""Settings that say where something lies on a machine."""
MOST = 40
"""Lines of a table."""

Facts = Mapping[str, Any]


def write_card(corpus: Path) -> Path:
    """Write `card.md` into a finished corpus folder, from its card, its funnel and its ledger."""
    path = corpus / FILE
    write_atomic(path, card_of(corpus))
    return path


def card_of(corpus: Path) -> str:
    """The text of the card.

    Raises: CorpusError
    """
    card = read_card(corpus)
    funnel = json.loads((corpus / "funnel.json").read_text(encoding="utf-8"))
    columns = Columns(corpus)
    parts = [header(card), about(card, funnel), sources(columns), uses(columns), structure(funnel)]
    parts += [creation(funnel, columns), quality(columns), people(columns), "\n".join(limitations(funnel, columns))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def header(card: Facts) -> str:
    """What the hub reads."""
    licenses = [identifier(name) for name in card["licenses"]]
    known = {(name or "other").lower() for name in licenses}
    single = known.pop() if len(known) == 1 else "other"
    license = single if single in HUB_LICENSES else "other"
    named = str(card["licenses"][0]) if len(card["licenses"]) == 1 else "several, see below"
    told: dict[str, Any] = {
        "pretty_name": card["name"],
        "language": [code for code in card["languages"] if code.isalpha() and len(code) in (2, 3)],
        "license": license,
        **({"license_name": named} if license == "other" else {}),
        "task_categories": ["text-to-speech"],
        "size_categories": [next((name for most, name in SIZES if card["samples"] < most), "n>10M")],
        "tags": ["audio", "speech", "webdataset"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "shards/*/*.tar"}]}],
    }
    return f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---\n"


def about(card: Facts, funnel: Facts) -> str:
    """Name, purpose, size."""
    size = sum(shard["bytes"] for shard in card["shards"]) / 1e6
    samples = f"{card['samples']:,} samples, {counted(len(card['shards']), 'shard')}"
    lines = {
        "version": f"`{card['name']}@{card['digest']}`, schema `{card['schema']}`",
        "audio": f"{duration(card['hours'])} in {samples}, {size:,.1f} MB",
        "languages": ", ".join(card["languages"]),
        "kept of what came in": f"{duration(funnel['hours']['kept'])} of {duration(funnel['hours']['in'])}, from "
        f"{funnel['recordings']:,} recordings",
    }
    purpose = funnel["manifest"].get("purpose") or "No purpose is stated in its manifest."
    told = "\n".join(f"- {name}: {value}" for name, value in lines.items())
    return f"# {card['name']}\n\n{escaped(purpose)}\n\n## Dataset Details\n\n{told}"


def sources(columns: Columns) -> str:
    """Sources and licenses with their hours."""
    rows = [
        (escaped(source), escaped(license), duration(kept), duration(came))
        for source, license, kept, came in pairs(columns, columns.source, columns.texts("license"))
    ]
    return "### Dataset Sources\n\n" + table(("source", "license", "kept", "of"), rows)


def pairs(columns: Columns, one: Coded, other: Coded) -> Iterator[tuple[str, str, float, float]]:
    """Each pair of texts that occurs, with hours kept and hours that came in; most first."""
    width = len(other.names) + 1
    both = (one.codes + 1).astype(np.int64) * width + other.codes + 1
    found, place = np.unique(both, return_inverse=True)
    came = np.bincount(place, weights=columns.hours)
    kept = np.bincount(place, weights=columns.hours * columns.kept)
    names_one, names_other = ["not stated", *one.names], ["not stated", *other.names]
    for number in np.argsort(-came, kind="stable")[:MOST]:
        at, at_other = divmod(int(found[number]), width)
        yield names_one[at], names_other[at_other], float(kept[number]), float(came[number])


def uses(columns: Columns) -> str:
    """What the licenses together ask for."""
    told = terms_told(columns.texts("license").present(columns.kept))
    return (
        "## Uses\n\nAn expression of all licenses of the kept audio, read term by term (not legal advice): "
        f"**{told}**. `stipple corpus select --allow commercial` keeps what allows a use."
    )


def structure(funnel: Facts) -> str:
    """Files, fields, tiers."""
    fields = [(f"`{one.name}`", one.type, one.by, escaped(one.meaning)) for one in documented()]
    tiers = [(f"`{name}`", duration(hours)) for name, hours in funnel["by_tier"].items()]
    return (
        "## Dataset Structure\n\n`shards/*/*.tar` are WebDataset tars: `<key>.flac` (mono, 16 bit, native rate) and "
        "`<key>.json` a sample. `index/*.parquet` has a row a sample with all fields; `ledger.parquet` also the "
        "segments that were not kept, and why.\n\n"
        f"### Tiers\n\n{table(('tier', 'audio'), tiers)}\n\n### Fields\n\n"
        f"{table(('field', 'type', 'set by', 'meaning'), fields)}"
    )


def creation(funnel: Facts, columns: Columns) -> str:
    """The chain, the limits, the funnel."""
    hours, prints = funnel["hours"], columns.texts("fingerprint")
    chain = "".join(
        f" The chain's fingerprint is `{prints.names[code]}`." for code in prints.common(columns.kept, most=1)
    )
    return (
        f"## Dataset Creation\n\n### Data Collection and Processing\n\nThe steps in order, with settings that differ "
        f"from their defaults.{chain}\n\n{steps(funnel)}\n\n### Limits\n\n{rules(funnel['manifest'])}\n\n"
        f"### Funnel\n\n{duration(hours['in'])} in = {duration(hours['kept'])} kept + "
        f"{duration(hours['dropped'])} dropped + {duration(hours['failed'])} failed.\n\n{reasons(funnel)}"
    )


def steps(funnel: Facts) -> str:
    """A line a transform: settings, what was lost in it, what it cost."""
    through, costs = funnel.get("by_transform", {}), funnel.get("costs", {})
    rows = []
    for entry in funnel["manifest"]["transforms"]:
        name, part = entry["name"], through.get(entry["name"], {})
        lost = part.get("dropped", 0.0) + part.get("failed", 0.0)
        spent = float(costs.get(name, {}).get("cpu_seconds", 0.0)) / 3600
        rows.append((f"`{name}`", settings_told(entry), duration(lost), duration(spent)))
    return table(("step", "settings", "lost here", "processor time"), rows)


def settings_told(entry: Facts) -> str:
    """Settings that are not the default, without places on a machine."""
    defaults: Facts = {}
    if entry["name"] in names_in("pipelines.transforms"):
        defaults = resolve("pipelines.transforms", entry["name"]).Config().model_dump(mode="json")
    told = {name: value for name, value in entry.get("settings", {}).items() if defaults.get(name) != value}
    return f"`{json.dumps(without_places(told), ensure_ascii=False)}`" if told else ""


def without_places(value: Any) -> Any:
    """The value without paths of keys and folders."""
    if isinstance(value, Mapping):
        return {name: without_places(item) for name, item in value.items() if name not in SECRET}
    return value


def rules(manifest: Facts) -> str:
    """A line a limit, with the languages that it is for; and the filters that have none."""
    languages: dict[tuple[str, str, str], list[str]] = {}
    found = list(limits(manifest))
    for limit in found:
        side = f"`{limit.score}` of at {'least' if limit.side == 'min' else 'most'} {limit.value:g}"
        rule = f"`{limit.filter}`", side, escaped(limit.place)
        languages.setdefault(rule, []).append(limit.language or "all")
    rows = [(*rule, ", ".join(codes)) for rule, codes in languages.items()]
    others = sorted({entry["name"] for entry in manifest.get("keep", [])} - {limit.filter for limit in found})
    more = f"\n\nAnd, without a number: {', '.join(f'`{name}`' for name in others)}." if others else ""
    return table(("filter", "keeps", "where", "language"), rows) + more


def reasons(funnel: Facts) -> str:
    """A line a reason: items and hours that it removed first, at all, and alone."""
    rows = [
        (escaped(name), entry["status"], f"{entry['items']:,}", *(duration(entry[k]) for k in ("first", "any", "only")))
        for name, entry in funnel["by_reason"].items()
    ]
    return table(("reason", "status", "items", "first", "any", "only"), rows[:MOST])


def quality(columns: Columns) -> str:
    """How the scores of kept samples are spread."""
    rows = []
    for score in known_first(columns.score_names):
        values = columns.numbers(score)[columns.kept]
        values = values[np.isfinite(values)]
        if len(values):
            label, unit = name_of(score)
            spread = (short(float(value)) for value in np.percentile(values, (5, 50, 95)))
            rows.append((f"`{score}`", f"{label}{f' ({unit})' if unit else ''}", *spread, f"{len(values):,}"))
    head = ("score", "meaning", "5 %", "median", "95 %", "samples")
    return (
        f"### Scores\n\nOf the kept samples; by models where a field says so, not by listeners.\n\n{table(head, rows)}"
    )


def people(columns: Columns) -> str:
    """Whose voices these are."""
    named, of = int(columns.texts("given_speaker").counts(columns.kept).sum()), int(columns.kept.sum())
    voices = len(columns.texts("speaker").present(columns.kept))
    return (
        "### Personal and Sensitive Information\n\nThese are recordings of voices, which can identify people. "
        f"{f'{named / of:.0%}' if of else 'none'} of the samples came with a speaker's name or number; {voices:,} "
        "voices are told apart, others within their recordings only. `stipple corpus takedown` hides the samples of a "
        "speaker, a recording or a URL from every reader."
    )


WEAK: Sequence[tuple[Callable[[Columns], Mask], str]] = (
    (lambda columns: columns.language.equals(UNKNOWN), "is in a language that nobody knows"),
    (
        lambda columns: columns.texts("license").where(lambda name: identifier(name) is None),
        "is under a license that is not known by name",
    ),
    (
        lambda columns: columns.texts("enhanced").where(lambda name: name != "no"),
        "was changed by enhancement (`enhanced` says how)",
    ),
    (lambda columns: columns.flags("edge_active") == 1, "begins or ends within speech"),
    (lambda columns: columns.flags("bandwidth_cliff") == 1, "has a spectrum that breaks off, as after upsampling"),
    (lambda columns: columns.lists("caption_conflicts").length > 0, "has a caption that the measures deny"),
)
"""Rows, and what is to be said of them."""
EXPECTED = ("mos_overall", "utmos", "snr_db", "bandwidth_hz", "loudness_lufs")
"""Scores whose absence is worth a line."""


def limitations(funnel: Facts, columns: Columns) -> Iterator[str]:
    """What is known to be weak, as far as it can be counted: a line each."""
    hours = columns.hours * columns.kept
    whole = max(float(hours.sum()), 1e-12)

    def part(rows: Mask) -> str:
        return f"{float(hours[rows].sum()) / whole:.1%}"

    yield "## Bias, Risks, and Limitations\n"
    texts = columns.texts("text_by")
    for name in texts.present(columns.kept):
        if name != "given":
            told = "has no text" if name == "untranscribed" else f"has a text by the recognizer `{name}`, not by people"
            yield f"- {part(texts.equals(name))} of the kept audio {told}."
    for rows_of, told in WEAK:
        if (columns.kept & (rows := rows_of(columns))).any():
            yield f"- {part(rows)} of the kept audio {told}."
    language = columns.language
    top = [(language.names[code], language.codes == code) for code in language.common(columns.kept, most=8)]
    yield f"- Audio by language: {', '.join(f'{name} {part(rows)}' for name, rows in top)}."
    for name in columns.score_names:
        if name in EXPECTED and (columns.kept & (missing := ~np.isfinite(columns.numbers(name)))).any():
            yield f"- {part(missing)} of the kept audio has no `{name}`."
    if (coverage := funnel.get("speech_coverage")) is not None:
        yield f"- {coverage:.1%} of the speech that was detected lies in segments; the rest was cut away."
    yield "- Whether the samples are good has to be heard: `audit.html` draws a random sample and computes a verdict."
