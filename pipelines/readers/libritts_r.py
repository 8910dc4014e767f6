"""LibriTTS-R: LibriTTS with restored sound; folders of part, speaker and chapter, two texts beside every WAV.

    LibriTTS_R/train-clean-100/19/198/19_198_000000_000000.wav, .normalized.txt, .original.txt
    LibriTTS_R/speakers.tsv (READER, GENDER, SUBSET, NAME)
    libritts_r_failed_speech_restoration_examples/train-clean-100_bad_sample_list.txt, a path of a WAV a line
Layout: www.openslr.org/141 and github.com/lhotse-speech/lhotse, lhotse/recipes/libritts.py (which reads the same texts
from .trans.tsv). The normalized text is taken: it is what is spoken. LibriTTS itself (openslr 60) is read, too.
The lists name what its authors found to be restored badly; each is an archive of its own there.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.layouts import lines_of, listing, of_file, root_at, small_text
from pipelines.row import Recording

SPOILT = "dropped:restoration: the corpus lists it among those that were not restored well"


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every WAV of every part; the parts `dev-...` and `test-...` are evaluation sets. Those whose restoration failed,
    by the lists of the corpus, are dropped with that reason.

    Raises: Refused
    """
    root = root_at(root, what="LibriTTS-R")
    genders, spoilt = genders_of(root), spoilt_in(root)
    found = False
    for name in listing(root, ".wav"):
        parts = name.split("/")
        if len(parts) < 4:
            continue
        found = True
        part, speaker = parts[-4], parts[-3]
        text = small_text(root, f"{name[:-4]}.normalized.txt")
        if text is None:
            yield of_file(root, name, split=part, speaker=speaker, fault="failed:missing_pair: no .normalized.txt")
            continue
        row = {"gender": genders.get(speaker)}
        fault = SPOILT if parts[-1][:-4] in spoilt else None
        yield of_file(root, name, row, text=text, split=part, speaker=speaker, language="en", fault=fault)
    if not found:
        raise Refused(f"{root}: no part/speaker/chapter/*.wav in it, as in LibriTTS-R")


def spoilt_in(root: Path) -> set[str]:
    """Names, without their ending, of the WAVs in all lists of failed restorations that are there."""
    lists = listing(root, "_bad_sample_list.txt")
    return {Path(line.strip()).name.removesuffix(".wav") for name in lists for line in lines_of(root / name)}


def genders_of(root: Path) -> dict[str, str]:
    """Speaker -> gender, of speakers.tsv (LibriTTS-R) or SPEAKERS.txt (LibriTTS), where one is there."""
    genders: dict[str, str] = {}
    for path in [root / name for name in listing(root, "speakers.tsv", "speakers.txt")]:
        for line in lines_of(path):
            columns = [item.strip() for item in line.replace("|", "\t").split("\t")]
            if len(columns) > 1 and columns[0].isdigit():
                genders[columns[0]] = columns[1]
    return genders
