"""The data card of a corpus, `card.md`: in Hugging Face's form, from what was measured and decided, nothing else."""

import ast
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from infra.manifest import names_in, resolve
from infra.storage import write_atomic
from pipelines.audit.coded import Coded
from pipelines.audit.columns import Columns
from pipelines.audit.pictures import short
from pipelines.audit.scores import Limit, in_order, limits, name_of
from pipelines.funnel import duration
from pipelines.policy.bill import terms_told
from pipelines.policy.licenses import identifier
from pipelines.row import Segment
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
    parts = [header(card), about(card, funnel), sources(columns), uses(columns), structure(card, funnel)]
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
    samples = f"{card['samples']:,} samples, {len(card['shards'])} shards"
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
        for (source, license), kept, came in pairs(columns, columns.source, columns.texts("license"))
    ]
    return "### Dataset Sources\n\n" + table(("source", "license", "kept", "of"), rows)


def pairs(columns: Columns, one: Coded, other: Coded) -> Iterator[tuple[tuple[str, str], float, float]]:
    """Each pair of texts that occurs, with hours kept and hours that came in; most first."""
    width = len(other.names) + 1
    both = (one.codes + 1).astype(np.int64) * width + other.codes + 1
    found, place = np.unique(both, return_inverse=True)
    came = np.bincount(place, weights=columns.hours)
    kept = np.bincount(place, weights=columns.hours * columns.kept)
    names_one, names_other = ["not stated", *one.names], ["not stated", *other.names]
    for number in np.argsort(-came, kind="stable")[:MOST]:
        pair = names_one[found[number] // width], names_other[found[number] % width]
        yield pair, float(kept[number]), float(came[number])


def uses(columns: Columns) -> str:
    """What the licenses together ask for."""
    license = columns.texts("license")
    kept = [license.names[code] for code in np.unique(license.codes[columns.kept]) if code >= 0]
    return (
        "## Uses\n\nAn expression of all licenses of the kept audio, read term by term (not legal advice): "
        f"**{terms_told(kept)}**. `stipple corpus select --allow commercial` keeps what allows a use."
    )


def structure(card: Facts, funnel: Facts) -> str:
    """Files, fields, tiers."""
    fields = [(f"`{name}`", kind, by, told) for name, kind, by, told in fields_of_segment()]
    tiers = [(f"`{name}`", duration(hours)) for name, hours in funnel["by_tier"].items()]
    return (
        "## Dataset Structure\n\n`shards/*/*.tar` are WebDataset tars: `<key>.flac` (mono, 16 bit, native rate) and "
        "`<key>.json` a sample. `index/*.parquet` has a row a sample with all fields; `ledger.parquet` also the "
        "segments that were not kept, and why.\n\n"
        f"### Tiers\n\n{table(('tier', 'audio'), tiers)}\n\n### Fields\n\n"
        f"{table(('field', 'type', 'set by', 'meaning'), fields)}"
    )


def fields_of_segment() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, transform and documentation of every field of a segment, as its source states them."""
    (made,) = ast.parse(inspect.getsource(Segment)).body
    assert isinstance(made, ast.ClassDef)
    for item, after in zip(made.body, [*made.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        call = item.value if isinstance(item.value, ast.Call) else None
        by = ast.literal_eval(call.args[0]) if call is not None and call.args else ""
        told = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told = " ".join(str(after.value.value).split())
        yield item.target.id, ast.unparse(item.annotation).removesuffix(" | None"), by, escaped(told)


def creation(funnel: Facts, columns: Columns) -> str:
    """The chain, the limits, the funnel."""
    manifest = funnel["manifest"]
    through, costs = funnel.get("by_transform", {}), funnel.get("costs", {})
    steps = []
    for entry in manifest["transforms"]:
        part = through.get(entry["name"], {})
        lost = part.get("dropped", 0.0) + part.get("failed", 0.0)
        spent = float(costs.get(entry["name"], {}).get("cpu_seconds", 0.0)) / 3600
        steps.append((f"`{entry['name']}`", settings_told(entry), duration(lost), duration(spent)))
    languages: dict[tuple[str, str, str], list[str]] = {}
    for limit in limits(manifest):
        rule = f"`{limit.filter}`", side_told(limit), escaped(limit.place)
        languages.setdefault(rule, []).append(limit.language or "all")
    rules = [(*rule, ", ".join(codes)) for rule, codes in languages.items()]
    others = sorted(
        {entry["name"] for entry in manifest.get("keep", [])} - {limit.filter for limit in limits(manifest)}
    )
    more = f"\n\nAnd, without a number: {', '.join(f'`{name}`' for name in others)}." if others else ""
    reasons = [
        (escaped(name), entry["status"], f"{entry['items']:,}", *(duration(entry[k]) for k in ("first", "any", "only")))
        for name, entry in funnel["by_reason"].items()
    ]
    chain = most_common(columns.texts("fingerprint"), columns.kept, most=1)
    print_ = f" The chain's fingerprint is `{chain[0][1]}`." if chain else ""
    return (
        f"## Dataset Creation\n\n### Data Collection and Processing\n\nThe steps in order, with settings that differ "
        f"from their defaults.{print_}\n\n{table(('step', 'settings', 'lost here', 'processor time'), steps)}\n\n"
        f"### Limits\n\n{table(('filter', 'keeps', 'where', 'language'), rules)}{more}\n\n### Funnel\n\n"
        f"{duration(funnel['hours']['in'])} in = {duration(funnel['hours']['kept'])} kept + "
        f"{duration(funnel['hours']['dropped'])} dropped + {duration(funnel['hours']['failed'])} failed.\n\n"
        f"{table(('reason', 'status', 'items', 'first', 'any', 'only'), reasons[:MOST])}"
    )


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


def side_told(limit: Limit) -> str:
    """`mos_overall of at least 2.5`."""
    return f"`{limit.score}` of at {'least' if limit.side == 'min' else 'most'} {limit.value:g}"


def quality(columns: Columns) -> str:
    """How the scores of kept samples are spread."""
    rows = []
    for score in in_order(columns.score_names):
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
    kept = columns.kept
    given = columns.texts("given_speaker").codes[kept]
    voices = len(np.unique(columns.texts("speaker").codes[kept & (columns.texts("speaker").codes >= 0)]))
    named = f"{share(int((given >= 0).sum()), len(given))} of the samples came with a speaker's name or number"
    hides = "`stipple corpus takedown` hides the samples of a speaker, a recording or a URL from every reader."
    return (
        "### Personal and Sensitive Information\n\nThese are recordings of voices, which can identify people. "
        f"{named}; {voices:,} voices are told apart, others within their recordings only. {hides}"
    )


def limitations(funnel: Facts, columns: Columns) -> Iterator[str]:
    """What is known to be weak, as far as it can be counted."""
    yield "## Bias, Risks, and Limitations\n"
    kept, hours = columns.kept, columns.hours
    whole = max(float(hours[kept].sum()), 1e-12)

    def part(rows: Any) -> str:
        return f"{float(hours[kept & rows].sum()) / whole:.1%}"

    by = columns.texts("text_by")
    for code, name in enumerate(by.names):
        if name not in ("given",) and (kept & (by.codes == code)).any():
            told = "has no text" if name == "untranscribed" else f"has a text by the recognizer `{name}`, not by people"
            yield f"- {part(by.codes == code)} of the kept audio {told}."
    language = columns.language
    yield from (f"- {part(rows)} of the kept audio {told}." for rows, told in counted(columns, language) if rows.any())
    top = [f"{name} {part(language.codes == code)}" for code, name in most_common(language, kept)]
    yield f"- Audio by language: {', '.join(top)}."
    for name in columns.score_names:
        values = columns.numbers(name)
        missing = kept & ~np.isfinite(values)
        if missing.any() and name in ("mos_overall", "utmos", "snr_db", "bandwidth_hz", "loudness_lufs"):
            yield f"- {part(missing)} of the kept audio has no `{name}`."
    coverage = funnel.get("speech_coverage")
    if coverage is not None:
        yield f"- {coverage:.1%} of the speech that was detected lies in segments; the rest was cut away."
    yield "- Whether the samples are good has to be heard: `audit.html` draws a random sample and computes a verdict."


def counted(columns: Columns, language: Coded) -> Iterable[tuple[Any, str]]:
    """Rows, and what is to be said of them."""
    license, enhanced = columns.texts("license"), columns.texts("enhanced")
    kept = columns.kept
    yield kept & (language.codes == language.code("unknown")), "is in a language that nobody knows"
    unknown = [code for code, name in enumerate(license.names) if identifier(name) is None]
    yield kept & np.isin(license.codes, unknown), "is under a license that is not known by name"
    changed = [code for code, name in enumerate(enhanced.names) if name != "no"]
    yield kept & np.isin(enhanced.codes, changed), "was changed by enhancement (`enhanced` says how)"
    if "edge_active" in columns.types:
        yield kept & (columns.flags("edge_active") == 1), "begins or ends within speech"
    if "bandwidth_cliff" in columns.types:
        yield kept & (columns.flags("bandwidth_cliff") == 1), "has a spectrum that breaks off, as after upsampling"
    if "caption_conflicts" in columns.types:
        yield kept & (columns.lists("caption_conflicts").length > 0), "has a caption that the measures deny"


def most_common(coded: Coded, rows: Any, *, most: int = 8) -> list[tuple[int, str]]:
    """Codes and texts, by the number of rows."""
    counts = np.bincount(coded.codes[rows & (coded.codes >= 0)], minlength=len(coded.names))
    return [(int(code), coded.names[code]) for code in np.argsort(-counts, kind="stable")[:most] if counts[code]]


def share(part: int, of: int) -> str:
    """`12 %`."""
    return f"{part / of:.0%}" if of else "none"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escaped(value: str) -> str:
    """Fit for a cell: no bars, breaks or tags."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
