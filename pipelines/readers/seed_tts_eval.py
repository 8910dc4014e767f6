"""Seed-TTS-Eval: prompts and targets for measuring voice cloning. They are listed so that no training takes them.

    en/meta.lst        id|prompt text|prompt-wavs/common_voice_en_10119832.wav|text to speak
    zh/hardcase.lst    the same, and wavs/<id>.wav where the recording of the text itself is there
Layout: github.com/BytedanceSpeech/seed-tts-eval, README.md.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.columns import code_of
from pipelines.reading.layouts import faulty, lines_of, listing, of_file, root_at
from pipelines.row import Recording


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every prompt once, and every recording of a target; all of them for evaluation.

    Raises: Refused
    """
    root = root_at(root, what="Seed-TTS-Eval")
    lists = list(listing(root, ".lst"))
    if not lists:
        raise Refused(f"{root}: no meta.lst of Seed-TTS-Eval in it")
    seen: set[str] = set()
    for name in lists:
        folder = f"{name.rpartition('/')[0]}/".lstrip("/")
        language = code_of(folder.rstrip("/").rpartition("/")[2] or root.name)
        for line in lines_of(root / name):
            parts = line.split("|")
            if len(parts) < 4:
                yield faulty(f"{name}/{parts[0]}", "failed:metadata: a line is `id|prompt text|prompt|text`")
                continue
            utterance, prompt_text, prompt, text = parts[:4]
            target = f"{folder}wavs/{utterance}.wav"
            for place, words in ((f"{folder}{prompt}", prompt_text), (target, text)):
                if place in seen or (place == target and not (root / place).is_file()):
                    continue
                seen.add(place)
                yield of_file(root, place, text=words, language=language, split=Path(name).stem, evaluation=True)
