"""The part of an audit page about labels: columns that are words, or yes and no."""

import numpy as np

from pipelines.audit.columns import Coded, Columns
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
