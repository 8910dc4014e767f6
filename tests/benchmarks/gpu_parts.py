"""The measures of official_gpu.py, each with a model of its own."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from gpu_case import FLOW, MEANFLOW, Case, difference, latents, ordinary, spread, times
from gpu_graphs import SIZES, SMALLEST, alone
from official_side import TEXT
from torch import Tensor

from models.audiovae.streaming import StreamingDecoder
from models.runtime.batch import Batch
from models.runtime.bundle import Bundle
from models.runtime.generate import Speech, all_decoded, decoded, generate_batch
from models.runtime.request import Request
from models.runtime.session import Session
from models.runtime.slot_pool import SlotPool
from models.runtime.stream import generate_stream


def equal(case: Case, *, meanflow: bool = False) -> None:
    """Graphs and the ordinary way say the same: the same noise, differences over the largest value."""
    options, name = (MEANFLOW, "MeanFlow") if meanflow else (FLOW, "flow, guidance")
    for config, precision, count in ((case.config, case.precision, 6), ("medium", "float32", min(70, case.longest))):
        bundle = case.bundle(meanflow=meanflow, config=config, precision=precision)
        with_graphs = list(latents(bundle, count, **options))
        again = list(latents(bundle, count, **options))
        without = list(latents(ordinary(bundle), count, **options))
        latent_FD = torch.cat(without)
        if meanflow:
            sound(case, bundle, latent_FD, name=f"{config} {precision}")
        batch = generate_batch(
            bundle,
            [Request(text=TEXT, max_patches=count, stop_threshold=1.0, seed=7 + n, **options) for n in range(3)],
        )
        case.tell(
            f"equal: {config} {precision} {name}: first patch {difference(with_graphs[0], without[0])}, "
            f"{count} patches {difference(torch.cat(with_graphs), latent_FD)}, "
            f"of three together {difference(batch[0].latent_FD, latent_FD)}, "
            f"again {difference(torch.cat(again), torch.cat(with_graphs))}"
        )


def sound(case: Case, bundle: Bundle, latent_FD: Tensor, *, name: str) -> None:
    """The same of the AudioVAE's stream, and what TF32 changes."""
    assert bundle.slots is not None
    patch = bundle.config.patch_size
    streams = [StreamingDecoder(bundle.audiovae), bundle.slots.decoder(bundle.audiovae, patch=patch)]
    waves = [
        torch.cat([*[stream.push(part) for part in latent_FD.split(patch)], stream.flush()])  # type: ignore[attr-defined]
        for stream in streams
    ]
    with torch.backends.cudnn.flags(allow_tf32=False), torch.no_grad():
        exact_S = bundle.audiovae.decode(latent_FD[None])[0]
    case.tell(
        f"equal: {name}: audio by graphs {difference(waves[1], waves[0])}, "
        f"as it is from float32 without TF32 {difference(waves[0], exact_S)}"
    )


def patch(case: Case) -> None:
    """Time of a patch of latents, with and without graphs, and of every graph alone."""
    for meanflow, options in ((True, MEANFLOW), (False, FLOW)):
        bundle = case.bundle(meanflow=meanflow)
        name = "MeanFlow NFE 4" if meanflow else "flow NFE 10, guidance"
        first = times(case, latents(bundle, 4, **options))
        with_graphs = times(case, latents(bundle, 40, **options))[2:]
        without = times(case, latents(ordinary(bundle), 8, **options))[2:]
        case.tell(
            f"patch: {name}: graphs {spread(with_graphs)}, ordinary {spread(without)}; first request "
            f"{first[0]:.2f} s and {first[1]:.2f} s for its first two patches, {case.memory()}",
            {f"{name}/graphs": with_graphs, f"{name}/ordinary": without},
        )
        alone(case, bundle, name, options, sizes=[SMALLEST], watched=False)
        del bundle
        gc.collect()


def kernels(case: Case) -> None:
    """Every graph alone, at several sizes, and the kernels in it."""
    for meanflow, options in ((True, MEANFLOW), (False, FLOW)):
        name = "MeanFlow NFE 4" if meanflow else "flow NFE 10, guidance"
        alone(case, case.bundle(meanflow=meanflow), name, options, sizes=SIZES, watched=case.cuda)
        gc.collect()


def fused(case: Case) -> None:
    """The same with chains of small operations compiled: how long that takes, what it brings, what it changes."""
    plain = case.bundle(meanflow=True)
    wanted_FD = torch.cat(list(latents(plain, 6, **MEANFLOW)))
    begun = case.now()
    bundle = replace(plain, slots=SlotPool(backend="inductor"))
    latent_FD = torch.cat(list(latents(bundle, 6, **MEANFLOW)))
    case.tell(
        f"fused: compiled and recorded in {case.now() - begun:.1f} s; 6 patches beside graphs that are not "
        f"{difference(latent_FD, wanted_FD)}"
    )
    for name, model in (("not fused", plain), ("fused", bundle)):
        found = times(case, latents(model, 30, **MEANFLOW))[2:]
        case.tell(f"fused: a patch, {name}: {spread(found)}", {name: found})
    begun = case.now()
    sound(case, bundle, wanted_FD, name=f"fused, {case.config}")
    case.tell(f"fused: the AudioVAE's stream compiled and recorded in {case.now() - begun:.1f} s")
    alone(case, bundle, "fused, MeanFlow NFE 4", MEANFLOW, sizes=[SMALLEST], watched=case.cuda)


def first(case: Case) -> None:
    """First audio and real-time factor of one request, text only and text that comes word by word."""
    bundle = case.bundle(meanflow=True)
    options = {**MEANFLOW, "max_patches": case.patches, "stop_threshold": 1.0}
    text_only(case, bundle, "graphs", options)
    sessions(case, bundle, options)
    voices(case, bundle, options)
    text_only(case, ordinary(bundle), "ordinary", options)


def text_only(case: Case, model: Bundle, name: str, options: dict[str, Any]) -> None:
    """First audio and real-time factor of a text; fewer requests and patches where it is slow."""
    seconds_a_patch = model.config.patch_samples / model.config.audiovae.sample_rate
    patches, rounds = (case.patches, case.rounds) if name == "graphs" else (min(8, case.patches), 2)
    firsts, factors = [], []
    for number in range(rounds + 2):
        begun = case.now()
        chunks = generate_stream(model, TEXT, seed=number, **{**options, "max_patches": patches})
        next(chunk for chunk in chunks if len(chunk.wave_S))
        firsts.append(time.perf_counter() - begun)
        for _ in chunks:
            pass
        factors.append((time.perf_counter() - begun) / (patches * seconds_a_patch))
    factor = statistics.median(factors[2:])
    case.tell(
        f"first: text only, {name}: first audio {spread(firsts[2:])}, real-time factor {factor:.4f} "
        f"({min(factors[2:]):.4f} .. {max(factors[2:]):.4f}); the very first {firsts[0]:.2f} s, "
        f"{case.memory()}",
        {f"text/{name}": firsts[2:], f"factor/{name}": factors[2:]},
    )


def voices(case: Case, bundle: Bundle, options: dict[str, Any]) -> None:
    """First audio in the voice of a recording."""
    voice_S = 0.1 * torch.randn(3 * 48_000, generator=torch.Generator().manual_seed(1))
    for mode, prompt in (("x-vector", {}), ("continued", {"prompt_text": "What the voice says, a sentence long."})):
        firsts = []
        for number in range(case.rounds // 2 + 3):
            begun = case.now()
            chunks = generate_stream(
                bundle, TEXT, seed=number, prompt_audio=(voice_S.numpy(), 48_000), **prompt, **options
            )
            next(chunk for chunk in chunks if len(chunk.wave_S))
            firsts.append(time.perf_counter() - begun)
            chunks.close()  # type: ignore[attr-defined]
        case.tell(
            f"first: {mode} of a 3 s voice that is known: {spread(firsts[2:])}; heard for the first time "
            f"{1000 * firsts[0]:.0f} ms",
            {mode: firsts[2:]},
        )


def sessions(case: Case, bundle: Bundle, options: dict[str, Any]) -> None:
    """From the word that allows the first patch to its audio; from the session's start; real-time factor."""
    seconds_a_patch = bundle.config.patch_samples / bundle.config.audiovae.sample_rate
    for silence in (1, 0):
        from_word, from_start, factors = [], [], []
        for number in range(case.rounds + 2):
            begun = case.now()
            session = Session(bundle, seed=number, initial_silence=silence, **{**options, "max_patches": 20})
            spoken, heard = case.now() - begun, 0
            for word in TEXT.split()[:5]:
                pushed = case.now()
                for chunk in session.push(word + " "):
                    if not heard:
                        from_word.append(time.perf_counter() - pushed)
                        from_start.append(spoken + from_word[-1])
                    heard += len(chunk.wave_S)
            for chunk in session.finish():
                heard += len(chunk.wave_S)
            factors.append((time.perf_counter() - begun) / (heard / bundle.config.audiovae.sample_rate))
        first = "a patch of silence, as officially" if silence else "speech"
        case.tell(
            f"first: word by word, the first patch is {first}: from the word {spread(from_word[2:])}, with the "
            f"session's start {spread(from_start[2:])}, real-time factor {statistics.median(factors[2:]):.4f} "
            f"({seconds_a_patch:.2f} s a patch)",
            {f"session/{silence}": from_word[2:], f"session start/{silence}": from_start[2:]},
        )


def flat(case: Case) -> None:
    """The cost of a patch with few and with many before it."""
    for meanflow, options in ((True, MEANFLOW), (False, FLOW)):
        bundle = case.bundle(meanflow=meanflow)
        name = "MeanFlow NFE 4" if meanflow else "flow NFE 10, guidance"
        times(case, latents(bundle, 4, **options))  # larger sizes are recorded in the run itself, between what is read
        found = times(case, latents(bundle, case.longest, **options))
        at = [n for n in (2, 100, 250, 500) if n <= case.longest]
        near = {n: found[max(1, n - 6) : max(1, n - 6) + 11] for n in at}
        said = ", ".join(f"patch {n} {spread(seconds)}" for n, seconds in near.items())
        case.tell(
            f"flat: {name}: {said}; while recording {max(found[1:]):.2f} s; {case.memory()}",
            {f"{name}/{n}": seconds for n, seconds in near.items()},
        )
        del bundle
        gc.collect()


def together(case: Case) -> None:
    """Seconds of audio a second of many requests at once, decoding included; and of latents, and decoding alone."""
    bundle = case.bundle(meanflow=True)
    seconds = case.patches * bundle.config.patch_samples / bundle.config.audiovae.sample_rate
    for count in (1, 8, 32):
        asked = [
            Request(text=TEXT, seed=n, max_patches=case.patches, stop_threshold=1.0, **MEANFLOW) for n in range(count)
        ]
        for name, model in (("graphs", bundle), ("ordinary", ordinary(bundle))):
            if name == "ordinary" and count == 1:
                continue
            rates, said = [], list[Speech]()
            for number in range(4 if name == "graphs" else 1):
                begun = case.now()
                said = generate_batch(model, asked)
                if number or name == "ordinary":
                    rates.append(count * seconds / (case.now() - begun))
            begun = case.now()
            if name == "graphs":
                batch = Batch(model)
                for one in asked:
                    batch.add(one)
                while batch.busy:
                    batch.step()
            latent_rate = f", {count * seconds / (case.now() - begun):.1f} of latents" if name == "graphs" else ""
            case.tell(
                f"together: {count:2}, {name}: {statistics.median(rates):.1f} s of audio a second "
                f"({min(rates):.1f} .. {max(rates):.1f}){latent_rate}; {case.memory()}",
                {f"{count}/{name}": rates},
            )
            if name == "graphs" and count > 1:
                decoding(case, model, said)


def decoding(case: Case, bundle: Bundle, said: list[Speech]) -> None:
    """Finished speeches decoded in batches, beside one after the other."""
    latents = [one.latent_FD.to(case.device) for one in said]
    found: dict[str, list[float]] = {"in batches": [], "one by one": []}
    waves: dict[str, Tensor] = {}
    for _ in range(3):
        for name, decode in (
            ("in batches", partial(all_decoded, bundle.audiovae)),
            ("one by one", lambda given: [decoded(bundle.audiovae, latent_FD) for latent_FD in given]),
        ):
            begun = case.now()
            waves[name] = torch.cat(decode(latents))
            found[name].append(case.now() - begun)
    case.tell(
        f"together: {len(said):2}, decoding alone: "
        + ", ".join(f"{name} {spread(taken[1:])}" for name, taken in found.items())
        + f"; difference {difference(waves['in batches'], waves['one by one'])}"
    )


PARTS: dict[str, tuple[Callable[[Case], None], float]] = {
    "first": (first, 55.0),
    "together": (together, 50.0),
    "flat": (flat, 50.0),
    "meanflow": (partial(equal, meanflow=True), 35.0),
    "patch": (patch, 30.0),
    "fused": (fused, 100.0),
    "equal": (equal, 45.0),
    "kernels": (kernels, 45.0),
}
"""In order of what is wanted most, with the seconds that each may take."""
USUAL = ("first", "together", "flat", "meanflow", "patch", "fused")
