"""Every graph of a patch by itself, and the kernels that it spends its time in."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from gpu_case import Case, spread

from models.audiovae.streaming import StreamingDecoder
from models.runtime.bundle import Bundle
from models.runtime.slots import Size, Slots
from models.runtime.speaking import sampler_of, speaking_parts

SMALLEST = Size(1, 64, 256)
SIZES = (SMALLEST, Size(1, 512, 1024), Size(8, 64, 256), Size(32, 64, 256))


def alone(
    case: Case, bundle: Bundle, name: str, options: dict[str, Any], *, sizes: Sequence[Size], watched: bool
) -> None:
    """Every graph by itself, at some sizes; and, `watched`, which kernels take the time."""
    assert bundle.slots is not None
    parts = speaking_parts(bundle)
    sampler = sampler_of(bundle.config, method=None, num_steps=options["num_steps"], guidance_scale=None)
    for size in sizes:
        slots = bundle.slots.lend(parts, sampler, size)
        if slots is None:
            case.tell(f"graph: {name}: no room for {size}")
            continue
        slots.open(range(size.rows), parts.backbone.speaker(None, batch=size.rows))
        found = {}
        for step in ("sample", "hear", "read"):
            width = 64 if step == "read" else 0
            found[step] = alone_ms(case, partial(slots.run, step, width), slots)
        said = ", ".join(f"{step} {spread(seconds)}" for step, seconds in found.items())
        case.tell(f"graph: {name}: {size}: {said}, {slots.bytes / 2**30:.2f} GiB of buffers")
        if watched and size == SMALLEST:
            for step in ("sample", "hear"):
                kernels(case, f"{name}, {step}", partial(slots.run, step))
        bundle.slots.give_back(slots)
        del slots
    decoder = bundle.slots.decoder(bundle.audiovae, patch=bundle.config.patch_size)
    latent_KD = torch.randn(bundle.config.patch_size, bundle.config.latent_dim, device=case.device)
    decoder.push(latent_KD)
    case.tell(f"graph: step of the AudioVAE's stream {spread(alone_ms(case, lambda: decoder.push(latent_KD)))}")
    stream = StreamingDecoder(bundle.audiovae)
    stream.push(latent_KD)
    stream.push(latent_KD)
    case.tell(f"       the same without graphs {spread(alone_ms(case, lambda: stream.push(latent_KD), count=5))}")
    if watched:
        kernels(case, "AudioVAE", lambda: decoder.push(latent_KD))


def alone_ms(case: Case, step: Callable[[], object], slots: Slots | None = None, *, count: int = 20) -> list[float]:
    """How long a step took, each time from where it began."""
    found = []
    for number in range(count + 1):
        if slots is not None:
            for history in slots.histories:
                history.length_R.fill_(8)
        begun = case.now()
        step()
        if number:
            found.append(case.now() - begun)
    return found


def kernels(case: Case, name: str, step: Callable[[], object], *, most: int = 14) -> None:
    """Which kernels a step spends its time in."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        step()
        torch.cuda.synchronize()
    found = sorted(watched.key_averages(), key=lambda one: -one.self_device_time_total)
    total, count = sum(one.self_device_time_total for one in found), sum(one.count for one in found)
    case.tell(f"kernels: {name}: {count} kernels, {total / 1000:.2f} ms")
    for one in found[:most]:
        case.tell(f"    {one.self_device_time_total / 1000:7.3f} ms {one.count:5} x {one.key[:90]}")
