"""WenetSpeech4TTS: WAV and text in folders of three tiers by DNSMOS; a tier is a part of the one below it.

    filelists/Basic_filelist.lst             id ../Premium/WenetSpeech4TTS_Premium_9/wavs/id.wav     (all tiers)
    DNSMOS_P808Scores/Basic_DNSMOS.lst       id score
    Premium/WenetSpeech4TTS_Premium_9/wavs/id.wav, txts/id.txt      first line: id, tab, text; second: times
Layout: github.com/lhotse-speech/lhotse, lhotse/recipes/wenetspeech4tts.py; arXiv 2406.05763. Premium is in Standard is
in Basic, and every file is there once: the tier is that of the folder it lies in. Speakers are not told.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.layouts import lines_of, listing, of_file, root_at, small_text
from pipelines.row import Recording

TIERS = ("Premium", "Standard", "Basic")
"""Best first."""


class Config(Manifest):
    tiers: list[str] = list(TIERS)


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every file once, with its tier; by the list of files where there is one, else as the folders show.

    Raises: Refused
    """
    root = root_at(root, what="WenetSpeech4TTS")
    scores = dict(words(root / "DNSMOS_P808Scores" / "Basic_DNSMOS.lst"))
    listed = [path.removeprefix("../") for _, path in words(root / "filelists" / "Basic_filelist.lst")]
    names = listed or [name for tier in TIERS for name in listing(root, ".wav", under=tier) if "/wavs/" in name]
    if not names:
        raise Refused(f"{root}: no filelists/Basic_filelist.lst, and no Premium, Standard or Basic with wavs/ in it")
    for name in names:
        tier, stem = name.split("/")[0], Path(name).stem
        if tier not in cfg.tiers:
            continue
        row = {"tier": tier, "dnsmos": number(scores.get(stem))}
        text = text_of(root, name)
        fault = None if text else "failed:missing_pair: no text of it in txts/"
        yield of_file(root, name, row, text=text, language="zh", fault=fault, extra={"tier": tier})


def text_of(root: Path, name: str) -> bytes | None:
    """The text that belongs to `.../wavs/id.wav`, as it is written."""
    folder, _, file = name.rpartition("/wavs/")
    data = small_text(root, f"{folder}/txts/{Path(file).stem}.txt")
    return (data or b"").partition(b"\n")[0].partition(b"\t")[2] or None


def words(path: Path) -> Iterator[tuple[str, str]]:
    """Two words a line, of a list that need not be there."""
    for line in lines_of(path) if path.is_file() else ():
        parts = line.split()
        if len(parts) == 2:
            yield parts[0], parts[1]


def number(word: str | None) -> float | None:
    """The number that a word is."""
    try:
        return float(word) if word else None
    except ValueError:
        return None
