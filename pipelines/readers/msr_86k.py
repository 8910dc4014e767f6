"""MSR-86K: videos of YouTube in 15 languages, with one JSON a language and part that cuts them into segments.

    <language>/train.json      {"audios": [{"aid": "...", "segments": [{"sid", "begin_time", "end_time", "text_tn"}]}]}
    <aid>.wav (or .opus, .m4a, .mp3), anywhere below
The corpus is gated: this is the layout as a public recipe reads it (a `make_msr86k_list` that takes `aid`, `segments`,
`sid`, `begin_time`, `end_time` and `text_tn`); the names of files and folders were not seen. arXiv 2406.18301;
huggingface.co/datasets/Alex-Song/MSR-86K, whose terms are CC BY-NC-ND 4.0, for research and education.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.folder import SUFFIXES
from pipelines.reading.columns import code_of
from pipelines.reading.layouts import faulty, listing, of_file, root_at, split_of
from pipelines.row import Recording

LICENSE = "CC-BY-NC-ND-4.0 AND LicenseRef-third-party AND LicenseRef-research-only"
COUNTRIES = {"jp": "ja", "kr": "ko", "cn": "zh", "vn": "vi", "ua": "uk"}
"""Codes of countries in the place of languages."""
CHUNK = 1 << 20
LONGEST_AUDIO = 1 << 26
"""Characters of the entry of one video."""


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every segment of every video that a table names; a video that is not there fails once, not once a segment.

    Raises: Refused
    """
    root = root_at(root, what="MSR-86K")
    sounds = {Path(name).stem: name for name in listing(root, *SUFFIXES)}
    found = False
    for name in listing(root, ".json"):
        language = language_of(root, name)
        for audio in audios_of(root / name):
            found = True
            aid = str(audio.get("aid"))
            if aid not in sounds:
                yield faulty(f"{name}/{aid}", "failed:missing_pair: the sound of this video is not there")
                continue
            yield from segments_of(root, sounds[aid], audio, language=language, split=split_of(name))
    if not found:
        raise Refused(f"{root}: no .json with a list of `audios` in it, as in MSR-86K")


def segments_of(
    root: Path, name: str, audio: dict[str, Any], *, language: str | None, split: str | None
) -> Iterator[Recording]:
    """The segments of one video."""
    segments = audio.get("segments")
    for number, segment in enumerate(segments if isinstance(segments, list) else []):
        facts = segment if isinstance(segment, dict) else {}
        try:
            start, end = float(facts["begin_time"]), float(facts["end_time"])
        except (KeyError, TypeError, ValueError):
            start, end = 0.0, 0.0
        if not 0 <= start < end:
            yield faulty(f"{name}#{number}", "failed:interval: a segment has no begin_time before its end_time")
            continue
        text = facts.get("text_tn") or facts.get("text")
        yield of_file(
            root, name, text=str(text) if text else None, language=language, split=split, license=LICENSE,
            start_seconds=start, end_seconds=end, source=f"https://www.youtube.com/watch?v={audio.get('aid')}",
            extra={"id": str(facts.get("sid", number))},
        )  # fmt: skip


def language_of(root: Path, name: str) -> str | None:
    """By the folder of a table, or the beginning of its name: `KO/train.json`, `jp_train.json`."""
    for part in (*reversed(f"{root.name}/{name}".split("/")[:-1]), Path(name).stem.split("_")[0].split("-")[0]):
        code = COUNTRIES.get(part.lower()) or code_of(part)
        if code is not None and part.lower() not in ("train", "dev", "test", "data"):
            return code
    return None


def audios_of(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of the list `audios`, one after the other: the tables have gigabytes.

    Raises: Refused where the list breaks off.
    """
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        text = file.read(CHUNK)
        place = text.find('"audios"')
        start = text.find("[", place)
        if place < 0 or start < 0:
            return
        text = text[start + 1 :]
        while True:
            text = text.lstrip(" \t\r\n,")
            if text.startswith("]"):
                return
            try:
                entry, end = decoder.raw_decode(text)
            except (ValueError, RecursionError):
                more = file.read(CHUNK)
                if not more or len(text) > LONGEST_AUDIO:
                    raise Refused(f"{path}: its list of audios breaks off; fetch it again") from None
                text += more
                continue
            text = text[end:]
            if isinstance(entry, dict):
                yield entry
