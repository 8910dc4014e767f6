"""Where a bundle computes, and how exactly: float32, or the core in bfloat16 as released models run on a GPU."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from models.runtime.files import BundleError

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle

Precision = Literal["float32", "bfloat16"]


def place(
    bundle: "Bundle",
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    round_rotary: bool | None = None,
    graphs: bool | None = None,
    fused: bool = False,
) -> "Bundle":
    """The bundle on a device; its networks are moved, not copied. AudioVAE, CAM++ and statistics stay float32.

    `round_rotary`: with bfloat16, round the LLM's rotary frequencies to bfloat16 too. The official runtime does (it
    casts the whole core), and its released checkpoints are heard so: angles are off by 0.6 rad at position 500. None
    rounds in a released checkpoint, and not in one that was made here.

    `graphs`: speak by CUDA graphs, which are recorded at the first request of a size (models.runtime.slot_pool). None:
    on a GPU. On a CPU the same steps run as they are, with nothing gained.

    `fused`: let torch.compile make one kernel of each chain of small operations in those steps (models.fusing). It
    needs a compiler for C, and the first request of a kind waits for it.

    Raises: BundleError for a precision or device that is not there, or `fused` without `graphs`.
    """
    from models.runtime.slot_pool import SlotPool

    if precision not in ("float32", "bfloat16"):
        raise BundleError(f"unknown precision {precision!r}; there are: float32, bfloat16")
    target = usable(device)
    wanted = target.type == "cuda" if graphs is None else graphs
    if fused and not wanted:
        raise BundleError(
            f"fused is for the steps of graphs, and on {device} there are none: set graphs=True, or fused=False"
        )
    bundle.audiovae.to(target)
    bundle.speaker.to(target)
    if bundle.backbone is not None:
        released = not bundle.card
        rounds = released if round_rotary is None else round_rotary
        bundle.backbone.to(target, torch.bfloat16 if precision == "bfloat16" else torch.float32)
        bundle.backbone.llm.set_rotary(torch.bfloat16 if precision == "bfloat16" and rounds else torch.float32)
    mean_D, var_D = bundle.latent_mean_D, bundle.latent_var_D
    return replace(
        bundle,
        latent_mean_D=None if mean_D is None else mean_D.to(target),
        latent_var_D=None if var_D is None else var_D.to(target),
        slots=SlotPool(backend="inductor" if fused else None) if wanted else None,
    )


def usable(device: str | torch.device) -> torch.device:
    """Raises: BundleError for a device that is not there."""
    try:
        target = torch.device(device)
        torch.zeros(1, device=target).cpu()  # `meta` has no numbers to give back
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]  # what follows is for those who build torch
        raise BundleError(f"device {device} cannot be used here: {reason}") from None
    return target
