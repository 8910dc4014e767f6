"""What is scored: recordings through the AudioVAE and back, or texts spoken in the voices of prompts."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infra.workflow.node import Refused
from pipelines.evaluation import kept
from pipelines.evaluation.listing import listed
from pipelines.evaluation.manifest import Choice, EvalManifest, Line, Speech
from pipelines.evaluation.metrics import Prompt, Utterance
from pipelines.row import Wave
from pipelines.shards import Corpus

if TYPE_CHECKING:
    from models.audiovae.vae import AudioVAE
    from models.runtime.bundle import Bundle

Systems = dict[str, list[Utterance]]
"""What made them -> what was made. The bundle's own come first."""
Say = Callable[[str], None]


def choose(corpus: Corpus, choice: Choice, *, seed: int, with_text: bool = False) -> list[int]:
    """Numbers of the chosen samples: within the lengths, in an order drawn by the seed, voices in turn."""

    table = corpus.rows.columns("key", "seconds", "text_tts", "text", "given_speaker", "recording", "speaker")
    rows = table.to_pylist()

    def draw(number: int) -> str:
        return hashlib.sha256(f"{seed}:{rows[number]['key']}".encode()).hexdigest()

    fit = [
        number
        for number, row in enumerate(rows)
        if choice.min_seconds <= row["seconds"] <= choice.max_seconds and (not with_text or text_of(row))
    ]
    taken: dict[str, int] = {}
    turns: list[tuple[int, int, int]] = []
    for number in sorted(fit, key=draw):
        voice = voice_of(rows[number])
        turns.append((taken.get(voice, 0), len(turns), number))
        taken[voice] = taken.get(voice, 0) + 1
    if not turns:
        raise Refused(
            f"the corpus {corpus.name} has no utterance of {choice.min_seconds:g} to {choice.max_seconds:g} s"
            f"{' with a text' if with_text else ''}; widen min_seconds and max_seconds in the evaluation's manifest"
        )
    return [number for _, _, number in sorted(turns)[: choice.utterances]]


def voice_of(row: dict[str, Any]) -> str:
    """Who speaks in a sample, as far as the corpus knows: a speaker, or one of the voices of a recording."""
    return str(row.get("given_speaker") or f"{row['recording']}, {row.get('speaker') or 'one voice'}")


def text_of(row: dict[str, Any]) -> str | None:
    """What is spoken in a sample, as models are given it."""
    return row.get("text_tts") or row.get("text")


def reconstructions(bundle: "Bundle", corpus: Corpus, manifest: EvalManifest, *, say: Say) -> Systems:
    """The chosen recordings after encoding and decoding, by the bundle and (if asked) by an untrained AudioVAE."""
    from models.runtime.bundle import new_bundle

    wanted = manifest.reconstruction
    assert wanted is not None
    inputs = [corpus.sample(number) for number in choose(corpus, wanted.inputs, seed=manifest.seed)]
    networks = {"bundle": bundle.audiovae}
    if wanted.untrained:
        networks["untrained"] = new_bundle(bundle.config, seed=manifest.seed).audiovae.to(manifest.device)
    made: Systems = {}
    for name, audiovae in networks.items():
        say(f"{name}: {len(inputs)} recordings through the AudioVAE and back")
        made[name] = [
            checked(
                Utterance(
                    key=sample.key,
                    text=text_of(sample.record),
                    language=sample.record.get("language"),
                    voice=voice_of(sample.record),
                    **reconstruct(audiovae, sample.wave_S, sample.rate_hz),
                )
            )
            for sample in inputs
        ]
    return made


def reconstruct(audiovae: "AudioVAE", wave_S: Wave, rate_hz: int) -> dict[str, Any]:
    """One recording at 48 kHz through encoder (posterior mean) and decoder, beside itself at 48 kHz."""
    import torch

    from models.audiovae.resample import PATCH_SAMPLES, RATE_HZ, resample_kaiser

    begun = time.perf_counter()
    device = next(audiovae.parameters()).device
    with torch.no_grad():
        input_S = resample_kaiser(torch.from_numpy(wave_S), rate_hz, RATE_HZ)
        padded_1S = torch.nn.functional.pad(input_S, (0, -len(input_S) % PATCH_SAMPLES))[None].to(device)
        output_S = audiovae.decode(audiovae.encode(padded_1S).mean_BFD)[0, : len(input_S)].cpu()
    return {
        "wave_S": output_S.numpy(),
        "against_S": input_S.numpy(),
        "rate_hz": RATE_HZ,
        "against_rate_hz": RATE_HZ,
        "aligned": True,
        "making_seconds": time.perf_counter() - begun,
    }


def speech(bundle: "Bundle", corpus: Corpus | None, manifest: EvalManifest, *, folder: Path, say: Say) -> Systems:
    """Every line in the voice of every prompt (or the pairs of a list), and the prompts themselves for comparison.

    What is spoken is kept in `folder`, and found there by the next attempt.
    """
    wanted = manifest.speech
    assert wanted is not None
    pairs = list(listed(wanted) if wanted.list_file else crossed(wanted, corpus, seed=manifest.seed))
    made: Systems = {"bundle": []}
    for number, (key, line, prompt) in enumerate(pairs, start=1):
        wanting = unspoken(key, line, prompt)
        utterance = kept.recall(folder, wanting)
        again = "" if utterance is None else " (of an earlier attempt)"
        if utterance is None:
            utterance = spoken(bundle, wanted, wanting, line=line, prompt=prompt, seed=manifest.seed)
            kept.keep(folder, utterance)
        told = utterance.problem or f"{utterance.seconds:.1f} s, {utterance.finish}{again}"
        say(f"{number} of {len(pairs)}: {told}")
        made["bundle"].append(utterance)
    prompts = {prompt.key: prompt for _, _, prompt in pairs if prompt}
    if wanted.recordings and prompts:
        made["recordings"] = [
            Utterance(
                key=p.key,
                text=p.text,
                language=p.language,
                voice=p.voice,
                wave_S=p.wave_S,
                rate_hz=p.rate_hz,
                problem=p.problem,
            )
            for p in prompts.values()
        ]
    return made


def unspoken(key: str, line: Line, prompt: Prompt | None) -> Utterance:
    """What is to be spoken, and what it will be held against."""
    return Utterance(
        key=key,
        text=line.text,
        language=line.language,
        voice=None if prompt is None else prompt.voice,
        against_S=None if prompt is None else prompt.wave_S,
        against_rate_hz=48000 if prompt is None else prompt.rate_hz,
    )


def spoken(
    bundle: "Bundle", wanted: Speech, wanting: Utterance, *, line: Line, prompt: Prompt | None, seed: int
) -> Utterance:
    """One line spoken, or why it could not be; its seed comes from its key, so that order does not matter."""
    from models.runtime.generate import generate
    from models.runtime.prompt import RequestError

    own_seed = int.from_bytes(hashlib.sha256(f"{seed}:{wanting.key}".encode()).digest()[:7], "little")
    sampler = wanted.sampler
    begun = time.perf_counter()
    try:
        if prompt is not None and prompt.wave_S is None:
            raise RequestError(prompt.problem or "its prompt is missing")
        sound = None if prompt is None or prompt.wave_S is None else (prompt.wave_S, prompt.rate_hz)
        made = generate(
            bundle,
            line.text,
            prompt_audio=sound,
            prompt_text=prompt.text if prompt is not None and wanted.mode == "continuation" else None,
            language=line.language if wanted.tag_language else None,
            method=sampler.method,
            num_steps=sampler.num_steps,
            guidance_scale=sampler.guidance_scale,
            speaker_scale=sampler.speaker_scale,
            stop_threshold=sampler.stop_threshold,
            max_patches=max(1, int(sampler.max_seconds * bundle.config.patches_per_second)),
            seed=own_seed,
        )
    except RequestError as error:
        return replace(wanting, problem=str(error))
    utterance = replace(
        wanting,
        wave_S=made.wave_S.cpu().numpy(),
        rate_hz=made.rate_hz,
        finish=made.finish_reason,
        making_seconds=time.perf_counter() - begun,
    )
    return checked(utterance)


def checked(utterance: Utterance) -> Utterance:
    """The utterance; without its sound, and with the reason, where that is not finite: one such value spoils a mean."""
    if utterance.wave_S is None or np.isfinite(utterance.wave_S).all():
        return utterance
    return replace(utterance, wave_S=None, finish=None, problem="what came out has samples that are not numbers")


def crossed(wanted: Speech, corpus: Corpus | None, *, seed: int) -> Iterator[tuple[str, Line, Prompt | None]]:
    """Every line with every prompt of the corpus."""
    prompts: Sequence[Prompt | None] = [None]
    if wanted.mode != "no_prompt":
        if corpus is None:
            raise Refused("the prompts come from a corpus: give one (role `data`), or set mode to no_prompt")
        numbers = choose(corpus, wanted.prompts, seed=seed, with_text=wanted.mode == "continuation")
        prompts = [prompt_of(corpus, number) for number in numbers]
    for at, line in enumerate(wanted.lines):
        for prompt in prompts:
            yield f"line{at:03d}-{prompt.key if prompt else 'no-prompt'}", line, prompt


def prompt_of(corpus: Corpus, number: int) -> Prompt:
    """A sample of the corpus as a prompt."""
    sample = corpus.sample(number)
    record = sample.record
    return Prompt(sample.key, sample.wave_S, sample.rate_hz, text_of(record), record.get("language"), voice_of(record))
