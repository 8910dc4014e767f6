"""Texts spoken in the voices of prompts."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from infra.workflow.node import Refused
from pipelines.evaluation.choosing import choose, text_of, voice_of
from pipelines.evaluation.kept import Shelf, Utterances
from pipelines.evaluation.listing import Voice, listed
from pipelines.evaluation.manifest import EvalManifest, Line, Speech
from pipelines.evaluation.metrics import Prompt, Utterance, checked
from pipelines.shards import Corpus

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle


def speech(
    bundle: "Bundle", corpus: Corpus | None, manifest: EvalManifest, *, shelf: Shelf, say: Callable[[str], None]
) -> dict[str, Utterances]:
    """Every line in the voice of every prompt (or the pairs of a list), and the prompts themselves for comparison."""
    wanted = manifest.speech
    assert wanted is not None
    pairs = list(listed(wanted) if wanted.list_file else crossed(wanted, corpus, seed=manifest.seed))

    def tell(number: int, made: Utterance, before: bool) -> None:
        told = made.problem or f"{made.seconds:.1f} s, {made.finish}"
        say(f"{number} of {len(pairs)}: {told}{' (spoken before)' if before else ''}")

    by = {
        **wanted.model_dump(mode="json", include={"mode", "tag_language", "sampler"}),
        **manifest.model_dump(mode="json", include={"seed", "device", "precision"}),
    }
    asked = [partial(unspoken, key, line, voice) for key, line, voice in pairs]
    made = {"bundle": shelf.made(asked, partial(spoken, bundle, wanted, seed=manifest.seed), by=by, tell=tell)}
    voices = dict.fromkeys(voice for _, _, voice in pairs if voice is not None)
    if wanted.recordings and voices:
        made["recordings"] = Utterances([partial(recorded, voice) for voice in voices])
    return made


def crossed(wanted: Speech, corpus: Corpus | None, *, seed: int) -> Iterator[tuple[str, Line, Voice | None]]:
    """Every line with every prompt of the corpus: key, line, prompt."""
    voices: Sequence[tuple[str, Voice | None]] = [("no-prompt", None)]
    if wanted.mode != "no_prompt":
        if corpus is None:
            raise Refused("the prompts come from a corpus: give one (role `data`), or set mode to no_prompt")
        numbers = choose(corpus, wanted.prompts, seed=seed, with_text=wanted.mode == "continuation")
        voices = [(corpus.rows[number]["key"], partial(prompt_of, corpus, number)) for number in numbers]
    for at, line in enumerate(wanted.lines):
        for key, voice in voices:
            yield f"line{at:03d}-{key}", line, voice


def prompt_of(corpus: Corpus, number: int) -> Prompt:
    """A sample of the corpus as a prompt."""
    sample = corpus.sample(number)
    return Prompt(
        key=sample.key,
        wave_S=sample.wave_S,
        rate_hz=sample.rate_hz,
        text=text_of(sample.record),
        language=sample.record.get("language"),
        voice=voice_of(sample.record),
    )


def unspoken(key: str, line: Line, voice: Voice | None) -> Utterance:
    """What is to be spoken, with the prompt that it will be held against; or why it cannot be."""
    wanting = Utterance(key=key, text=line.text, language=line.language)
    if voice is None:
        return wanting
    prompt = voice()
    return replace(
        wanting,
        voice=prompt.voice,
        against_S=prompt.wave_S,
        against_rate_hz=prompt.rate_hz,
        against_text=prompt.text,
        problem=prompt.problem,
    )


def recorded(voice: Voice) -> Utterance:
    """A prompt, to be scored as it is."""
    prompt = voice()
    return Utterance(
        key=prompt.key,
        text=prompt.text,
        language=prompt.language,
        voice=prompt.voice,
        wave_S=prompt.wave_S,
        rate_hz=prompt.rate_hz,
        problem=prompt.problem,
    )


def spoken(bundle: "Bundle", wanted: Speech, wanting: Utterance, *, seed: int) -> Utterance:
    """One line spoken, or why it could not be; its seed comes from its key, so that order does not matter."""
    from models.runtime.generate import generate
    from models.runtime.prompt import RequestError

    sampler = wanted.sampler
    begun = time.perf_counter()
    try:
        made = generate(
            bundle,
            wanting.text or "",
            prompt_audio=None if wanting.against_S is None else (wanting.against_S, wanting.against_rate_hz),
            prompt_text=wanting.against_text if wanted.mode == "continuation" else None,
            language=wanting.language if wanted.tag_language else None,
            method=sampler.method,
            num_steps=sampler.num_steps,
            guidance_scale=sampler.guidance_scale,
            speaker_scale=sampler.speaker_scale,
            stop_threshold=sampler.stop_threshold,
            max_patches=max(1, int(sampler.max_seconds * bundle.config.patches_per_second)),
            seed=int.from_bytes(hashlib.sha256(f"{seed}:{wanting.key}".encode()).digest()[:7], "little"),
        )
    except RequestError as error:
        return replace(wanting, problem=str(error))
    return checked(
        replace(
            wanting,
            wave_S=made.wave_S.cpu().numpy(),
            rate_hz=made.rate_hz,
            finish=made.finish_reason,
            making_seconds=time.perf_counter() - begun,
        )
    )
