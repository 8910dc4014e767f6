"""Part of training_gpu.py: the backbone's step by length, mask, micro-batches and compilation; what takes its time."""

import importlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from official_model import MEDIUM, MEDIUM_LLM, liven
from torch import Tensor
from training_gpu import Report

from models.backbone import layout
from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.text.tokens import byte_tokenizer, training_example
from training.compiled import compile_blocks
from training.data.draw import Draw
from training.data.prepared import Prepared, placed, stacked
from training.engine import PlainEngine, make_engine, norm_of
from training.losses.flow import over_patches, patch_error
from training.losses.stop import stop_loss
from training.manifest import Engine as EngineManifest
from training.manifest import Optimizer, load_model
from training.objectives import Term
from training.objectives.backbone import BackbonePlayer, Noise, interpolate, kept, path_velocity
from training.recompute import blocks_of, computed_again
from training.speed import counter, matrix_rate
from training.update import Micro, Moment, update
from training.world import World

SHEET = 989e12
LATE = (
    "transformers.models.qwen2.modeling_qwen2",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "torch.nn.attention.flex_attention",
    "torch.profiler",
)
"""Imported by what the parts call."""
PREPARING = 85 * 2**30
"""Bytes of the GPU that a part may take before its turn."""
CLIP = 10.0
"""Seconds of each clip of a micro-batch: buckets hold clips of about one length."""
OPTIMIZER = Optimizer(lr=1e-5, clip=1.0)
WEIGHTS = {"flow/velocity": 1.0, "stop/bce": 1.0}
AT = Moment(stage="benchmark", step=0, player="backbone")


class Trained(BackbonePlayer):
    """The player, with what a variant asks for."""

    packed = False
    forgetful = False
    """It does not tell its counts, so several micro-batches need a pass without gradients, as they did."""

    def counts(self, prepared: Prepared, draw: Draw) -> dict[str, Tensor] | None:  # type: ignore[override]
        return None if self.forgetful else super().counts(prepared, draw)

    def terms(self, prepared: Prepared, noise: Noise) -> dict[str, Term]:
        """`BackbonePlayer.terms`, or the same with the utterances packed into one row."""
        if not self.packed:
            return super().terms(prepared, noise)
        backbone, valid_BP = self.backbone, prepared.valid
        hidden_BLH = backbone.hidden(
            prepared.ids_BL,
            prepared.latent_BFD,
            audio_BL=prepared.audio_BL,
            valid_BP=valid_BP,
            length_B=(prepared.ids_BL != 0).sum(1),
        )
        hidden_BPH = layout.gather(hidden_BLH, at_BL=prepared.speaks_BL, valid_BP=valid_BP)
        speaker_BH = backbone.speaker(prepared.xvector_BE)
        said_BFD = backbone.velocity(
            hidden_BPH * kept(noise.keep_hidden_B, hidden_BPH),
            prepared.clean_BFD,
            interpolate(noise.noise_BFD, prepared.clean_BFD, time=noise.time_B),
            time_B=noise.time_B,
            speaker_BH=speaker_BH * kept(noise.keep_speaker_B, speaker_BH),
            patches_B=prepared.patches_B,
            flex=True,
        )
        wanted_BFD = path_velocity(noise.noise_BFD, prepared.clean_BFD)
        error_BP = patch_error(said_BFD, wanted_BFD, frames=backbone.config.patch_size)
        stop = stop_loss(backbone.stop_logits(hidden_BPH), prepared.patches_B)
        return {"flow/velocity": over_patches(error_BP, valid_BP), "stop/bce": stop}


@dataclass(frozen=True)
class Variant:
    """One line of the table."""

    seconds: float
    head: str = "dense"
    """dense: a mask of all pairs; packed: FlexAttention, all utterances in one row."""
    again: bool = False
    """Activation checkpointing."""
    micros: int = 1
    forgetful: bool = False
    clip: float = CLIP

    @property
    def name(self) -> str:
        """In words."""
        more = f"{', recomputed' * self.again}{', counted by a pass' * self.forgetful}"
        clips = "" if self.clip == CLIP else f" of {self.clip:.0f} s"
        return f"{self.micros} x {self.seconds:.0f} s{clips}, {self.head}{more}"


def config_of(name: str) -> ModelConfig:
    """The medium model, or one of manifests/models."""
    if name == "medium":
        return ModelConfig.from_dicts(MEDIUM, MEDIUM_LLM)
    model = load_model(name)
    return ModelConfig.from_dicts(model.config, model.llm)


def micro_of(seconds: Sequence[float], *, of: ModelConfig, device: torch.device) -> Micro:
    """A prepared micro-batch: random latents and x-vectors, and 4 tokens of text a second, as Qwen's make."""
    tokenizer = byte_tokenizer()
    patches = [max(1, round(one / 0.16)) for one in seconds]
    rows = [
        training_example(tokenizer, "word" * max(1, round(one)), patches=count, layout="plain")
        for one, count in zip(seconds, patches, strict=True)
    ]
    frames = of.patch_size * max(patches)
    latent_BFD = torch.randn(len(patches), frames, of.latent_dim, device=device)
    for row, count in enumerate(patches):
        latent_BFD[row, of.patch_size * count :] = 0
    xvector_BE = torch.randn(len(patches), of.campplus_embedding_size)
    prepared = Prepared(*stacked(rows), latent_BFD, latent_BFD, torch.tensor(patches), xvector_BE)
    return Micro(placed(prepared, device), Draw(0, 0, [str(row) for row in range(len(patches))]))


def player_of(report: Report) -> Trained:
    """The trained network, with random weights drawn on the device."""
    torch.manual_seed(0)
    with report.device:
        backbone = Backbone(config_of(report.config))
        liven(backbone)
    return Trained(backbone, hidden_drop=0.5, speaker_drop=0.5).train()


def operations(player: Trained, *, clip: float, device: torch.device) -> tuple[float, float]:
    """Forward and backward of one clip: as training.speed counts it, and without the pairs that the head's mask hides.

    The head's attention is 4 operations a pair and channel forward and 10 back, since the scores are made again.
    """
    micro, counting = micro_of([clip], of=player.backbone.config, device=device), counter()
    with torch.compiler.set_stance("force_eager"), counting, torch.autocast(device.type, torch.bfloat16):
        terms = player(micro.prepared, micro.draw)
        torch.autograd.backward(torch.stack([term.total for term in terms.values()]).sum())
    player.zero_grad(set_to_none=True)
    if counting.missed:
        raise ValueError(f"not counted: {', '.join(sorted(counting.missed))}")
    total, head = counting.get_total_flops(), player.backbone.config.dit
    patches, unit = round(clip / 0.16), player.backbone.config.unit
    tokens = patches * unit
    needed = tokens * (tokens + 1) / 2 + unit * unit * patches * (patches + 1) / 2
    counted = (2 * tokens) ** 2 if device.type == "cuda" else needed  # on a CPU the mask is in pieces
    return total, total - 14 * head.hidden_size * head.num_layers * (counted - needed)


class Bench:
    """A player, its engine, and what the machine can do."""

    def __init__(self, report: Report, *, compiled: bool) -> None:
        self.report, self.player = report, player_of(report)
        self.rate = matrix_rate(report.device, torch.bfloat16)
        count = sum(parameter.numel() for parameter in self.player.parameters())
        report.say(f"{count / 1e9:.2f} B parameters; a bfloat16 product reaches {self.rate / 1e12:.0f} TFLOP/s")
        self.flops: dict[float, tuple[float, float]] = {}
        report.attempt("operations", lambda: self.count(CLIP))
        self.blocks = list(blocks_of([self.player]))
        if compiled:
            compile_blocks([self.player], stage="benchmark")
        self.forwards = [block.forward for block in self.blocks]
        engine = EngineManifest(name="plain", dtype="bfloat16")
        made = make_engine(self.player, manifest=engine, optimizer=OPTIMIZER, world=World(device=report.device))
        assert isinstance(made, PlainEngine)
        self.engine = made

    def count(self, clip: float) -> None:
        """Operations of clips of this length."""
        self.flops[clip] = operations(self.player, clip=clip, device=self.report.device)

    def set(self, variant: Variant) -> None:
        """Make the player what the variant asks for."""
        self.player.packed, self.player.forgetful = variant.head == "packed", variant.forgetful
        for block, forward in zip(self.blocks, self.forwards, strict=True):
            inner: Any = forward
            block.forward = (lambda *a, f=inner, **n: computed_again(f, *a, **n)) if variant.again else inner

    def step(self, micros: Sequence[Micro]) -> None:
        """One update by our own code."""
        update(self.engine, micros, weights=WEIGHTS, lr=1e-5, world=self.engine.world, at=AT)

    def micros(self, variant: Variant) -> list[Micro]:
        """Its micro-batches; on a CPU small ones."""
        clip, seconds = (variant.clip, variant.seconds) if self.report.on_gpu else (1.6, 3.2)
        of, device = self.player.backbone.config, self.report.device
        return [micro_of([clip] * max(1, round(seconds / clip)), of=of, device=device)] * variant.micros

    def first(self, variant: Variant) -> None:
        """A step that compiles."""
        self.set(variant)
        micros, began = self.micros(variant), time.process_time()
        spent = self.report.timed(lambda: self.step(micros), warm=0, steps=1)
        used = time.process_time() - began
        self.report.say(f"first {variant.name}: {spent:.1f} s, {used:.1f} s of processor", seconds=spent)

    def measure(self, variant: Variant) -> None:
        """A line of the table."""
        report = self.report
        self.set(variant)
        self.engine.optimizer.zero_grad(set_to_none=True)
        micros = self.micros(variant)
        report.peak()
        began = report.timed(lambda: self.step(micros), warm=0, steps=1)
        spent = report.timed(lambda: self.step(micros), warm=1)
        audio = variant.seconds * variant.micros
        counted, needed = (one * audio / variant.clip for one in self.flops.get(variant.clip, (math.nan, math.nan)))
        facts = {
            "step_ms": 1000 * spent,
            "audio_hours_per_hour": audio / spent,
            "mfu": counted / spent / self.rate,
            "mfu_needed": needed / spent / self.rate,
            "mfu_sheet": needed / spent / SHEET,
        }
        report.say(
            f"{variant.name:42} {1000 * spent:7.1f} ms, {audio / spent:6.0f} h/h, MFU {facts['mfu']:.1%}, needed "
            f"{facts['mfu_needed']:.1%}, sheet {facts['mfu_sheet']:.1%}, {report.peak()}, first {began:.1f} s",
            **facts,
        )

    def pieces(self) -> None:
        """What surrounds forward and backward: each on its own."""
        report, parameters = self.report, self.engine.parameters
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer = self.engine.optimizer
        found = {"AdamW, fused": report.timed(optimizer.step)}
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = False, True
        for state in optimizer.state.values():
            state["step"] = state["step"].cpu()
        report.attempt("foreach", lambda: found.update({"AdamW, foreach": report.timed(optimizer.step, warm=1)}))
        norm = norm_of(parameters)
        found["norm"] = report.timed(lambda: norm_of(parameters))
        found["clip"] = report.timed(lambda: torch.nn.utils.clip_grads_with_norm_(parameters, 1.0, norm))
        optimizer.zero_grad(set_to_none=True)
        found["weights to bfloat16"] = report.timed(lambda: [p.detach().bfloat16() for p in parameters])
        micro = self.micros(Variant(120))[0]
        found["noise of 120 s, drawn and copied"] = report.timed(
            lambda: Noise.drawn(micro.draw, micro.prepared, hidden_drop=0.5, speaker_drop=0.5)
        )
        told = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in found.items())
        report.say(f"around it: {told}", **found)

    def profile(self, variant: Variant) -> None:
        """What a step is made of."""
        self.set(variant)
        micros = self.micros(variant)
        self.report.profile(variant.name, lambda: self.step(micros))


def eager(report: Report) -> None:
    """As it is by default."""
    report.turn(*LATE)
    bench = Bench(report, compiled=False)
    measure(bench, [Variant(480), Variant(720)])
    if report.rows[-1].get("failed"):
        measure(bench, [Variant(720, again=True)])
    report.attempt("profile", lambda: bench.profile(Variant(480)))
    report.attempt("pieces", bench.pieces)


def compiled(report: Report) -> None:
    """With `engine.compile`: what it compiles for one shape, and for many, is compiled before its turn."""
    if report.on_gpu:
        report.attempt("workers of the compiler", warm_compiler)
        memory = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, PREPARING / memory))
    for module in LATE:
        importlib.import_module(module)
    bench = Bench(report, compiled=True)
    for variant in (Variant(240), Variant(480)):
        if not report.called():
            report.attempt(f"first {variant.name}", partial(bench.first, variant))
            report.say("beside others:")
            measure(bench, [variant])
    report.turn()
    if report.on_gpu:
        torch.cuda.set_per_process_memory_fraction(1.0)
    bench.rate = matrix_rate(report.device, torch.bfloat16)
    measure(bench, [Variant(240), Variant(480), Variant(720)])
    report.attempt("profile", lambda: bench.profile(Variant(240)))


def measure(bench: Bench, variants: Sequence[Variant]) -> None:
    """A line each; one that fails does not keep the others."""
    for variant in variants:
        bench.report.attempt(variant.name, partial(bench.measure, variant))


def warm_compiler() -> None:
    """Start the processes that compile, which takes long, before it is this part's turn."""
    from torch._inductor.async_compile import AsyncCompile

    AsyncCompile.warm_pool()
