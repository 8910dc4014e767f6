"""The part of an audit page about labels: columns that are words, or yes and no."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from pipelines.audit.coded import Coded, Lists
from pipelines.audit.columns import Columns
from pipelines.audit.sections import clipped
from pipelines.audit.sheets import hours_told, text

FEW, SHORT = 24, 40
"""Different texts that a column of labels has at most, and the characters of each."""
NO_LABELS = (
    "status", "reasons", "transform", "tier", "fingerprint", "unit", "corpus", "schema", "language", "source",
    "license", "given_language", "recording_sha256", "key", "text", "given_text", "heard_text", "text_tts", "caption",
    "caption_short", "speaker", "given_speaker", "recording", "reason", "text_raw", "text_norm", "hypotheses", "turn",
    "pcm_sha256", "audio_print",
)  # fmt: skip
"""Columns of texts that other parts of the page tell."""


class Label(NamedTuple):
    """How much audio carries a label."""

    name: str
    kept_hours: float
    lost_hours: float
    """Of segments that are not kept."""


def labels_section(columns: Columns) -> str:
    """Columns that are words, or yes and no: how much audio carries each, kept and not."""
    names = [name for name, kind in columns.types.items() if kind in READ and name not in NO_LABELS]
    figures = "".join(figure(name, labels) for name in names if (labels := label_hours(columns, name)))
    return f'<h3>Labels</h3><div class="charts">{figures}</div>' if figures else ""


def figure(column: str, labels: list[Label]) -> str:
    """A column as a table of its labels."""
    lines = "".join(
        f"<tr><td>{text(clipped(label.name, 60))}</td><td>{hours_told(label.kept_hours)}</td>"
        f"<td>{hours_told(label.lost_hours)}</td></tr>"
        for label in labels
    )
    table = f"<table><tr><th></th><th>kept</th><th>not kept</th></tr>{lines}</table>"
    return f"<figure><figcaption>{text(column.replace('_', ' '))}</figcaption>{table}</figure>"


def label_hours(columns: Columns, name: str) -> list[Label]:
    """The labels of a column, those of most audio first, FEW at most; none where it is free text."""
    found = READ[columns.types[name]](columns, name)
    if found is None:
        return []
    use = (found.coded.codes >= 0) & columns.segment[found.owner]
    names = found.coded.names
    if not use.any() or len(names) > 40 * FEW:
        return []
    codes, owner = found.coded.codes[use], found.owner[use]
    hours, kept = columns.hours[owner], columns.kept[owner]
    kept_hours, lost_hours = (np.bincount(codes, weights=hours * part, minlength=len(names)) for part in (kept, ~kept))
    whole = kept_hours + lost_hours
    order = [code for code in np.argsort(-whole, kind="stable")[:FEW] if whole[code] > 0]
    return [Label(names[code], float(kept_hours[code]), float(lost_hours[code])) for code in order]


def flag_labels(columns: Columns, name: str) -> Lists:
    """`yes` and `no`."""
    return one_each(Coded(columns.flags(name).astype(np.int32), ["no", "yes"]))


def text_labels(columns: Columns, name: str) -> Lists | None:
    """The texts; None where those of the first rows are many or long."""
    different = columns.file.read_row_group(0, columns=[name])[name].drop_null().unique().to_pylist()
    if len(different) > FEW or any(len(label) > SHORT for label in different):
        return None
    return one_each(columns.texts(name))


def list_labels(columns: Columns, name: str) -> Lists | None:
    """The texts of the lists up to their first colon and space; None where one of these is long."""
    lists = columns.lists(name)
    stems = [label.split(": ")[0] for label in lists.coded.names]
    names = list(dict.fromkeys(stems))
    if any(len(label) > SHORT for label in names):
        return None
    codes = np.array([names.index(stem) for stem in stems] or [0], dtype=np.int32)[lists.coded.codes]
    return Lists(Coded(codes, names), lists.owner, lists.length)


def one_each(coded: Coded) -> Lists:
    """A column of texts as lists of at most one."""
    return Lists(coded, np.arange(len(coded.codes)), (coded.codes >= 0).astype(np.int64))


READ: Mapping[str, Callable[[Columns, str], Lists | None]] = {
    "bool": flag_labels,
    "text": text_labels,
    "texts": list_labels,
}
"""Type of a column -> its labels."""
