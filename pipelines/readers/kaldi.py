"""Kaldi data folders: wav.scp, text, segments, utt2spk, utt2lang (kaldi-asr.org/doc/data_prep.html).

A `wav.scp` may say how to make a file by a command. No command is ever run: such a recording fails.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.layouts import faulty, lines_of, listing, needed, of_file, root_at, split_of
from pipelines.row import Recording


class Config(Manifest):
    audio_root: Path | None = None
    """Folder that the paths of wav.scp begin in, and must not leave; null: the data folder itself."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every recording of wav.scp, or every segment of it; in every data folder under `root`, and `root` itself.

    Raises: Refused where there is no wav.scp, or a table is broken.
    """
    root = root_at(root, what="Kaldi data")
    folders = sorted((root / name).parent for name in listing(root, "wav.scp") if name.split("/")[-1] == "wav.scp")
    if not folders:
        raise Refused(f"{root}: no wav.scp in it or below")
    for folder in folders:
        audio = folder if cfg.audio_root is None else root_at(cfg.audio_root, what="the audio that wav.scp names")
        yield from of_folder(folder, audio, split=split_of(folder.relative_to(root).as_posix()))


def of_folder(folder: Path, audio: Path, *, split: str | None) -> Iterator[Recording]:
    """One data folder."""
    files = pairs(needed(folder, "wav.scp", what="a Kaldi data folder"))
    texts, speakers, languages = (maybe(folder / name) for name in ("text", "utt2spk", "utt2lang"))

    def one(utterance: str, wav: str, **facts: float) -> Recording:
        if wav.endswith("|") or wav.startswith("|") or " |" in wav:
            return faulty(
                f"{folder.name}/{utterance}", "failed:pipe: wav.scp wants a command to be run, which is refused"
            )
        if ".ark:" in wav:
            return faulty(
                f"{folder.name}/{utterance}", "failed:ark: wav.scp leads into an archive of Kaldi, not a file"
            )
        row = {
            "text": texts.get(utterance), "speaker": speakers.get(utterance), "language": languages.get(utterance),
        }  # fmt: skip
        return of_file(audio, wav, row, split=split, extra={"id": utterance}, **facts)

    segments = folder / "segments"
    if not segments.is_file():
        for utterance, wav in files.items():
            yield one(utterance, wav)
        return
    for line in lines_of(segments):
        parts = line.split()
        try:
            utterance, name, start, end = parts[0], parts[1], float(parts[2]), float(parts[3])
        except (IndexError, ValueError):
            raise Refused(
                f"{segments}: `utterance recording start end` is wanted, but a line is {line[:80]!r}"
            ) from None
        if name not in files:
            yield faulty(f"{folder.name}/{utterance}", f"failed:missing_pair: wav.scp has no recording {name[:60]}")
        elif not 0 <= start < end:
            yield faulty(f"{folder.name}/{utterance}", f"failed:interval: from {start} s to {end} s is none")
        else:
            yield one(utterance, files[name], start_seconds=start, end_seconds=end)


def pairs(path: Path) -> dict[str, str]:
    """First word of a line -> the rest.

    Raises: Refused
    """
    found: dict[str, str] = {}
    for line in lines_of(path):
        key, *rest = line.split(maxsplit=1)
        if key in found:
            raise Refused(f"{path}: {key[:60]} is there twice; Kaldi's tables have every key once")
        found[key] = rest[0].strip() if rest else ""
    return found


def maybe(path: Path) -> dict[str, str]:
    """`pairs` of a table that need not be there."""
    return pairs(path) if path.is_file() else {}
