"""Part of training_gpu.py: the AudioVAE's first stage at full size, both players, by precision and crops."""

from functools import partial

import torch
from training_gpu import Report
from training_gpu_backbone import AT, config_of

from models.audiovae.discriminators import Discriminator, DiscriminatorConfig
from models.audiovae.flow import PosteriorFlow
from models.audiovae.vae import AudioVAE
from training.data.draw import Draw
from training.engine import Engine, make_engine
from training.manifest import Engine as EngineManifest
from training.manifest import Optimizer
from training.objectives.audiovae import Config, Crops, DiscriminatorPlayer, GeneratorPlayer
from training.update import Micro, only, update
from training.world import World

SECONDS = 9.6
WEIGHTS = {
    "discriminator": {"adv/discriminator": 1.0},
    "generator": {"mel/l1": 15.0, "adv/generator": 1.0, "adv/feature": 1.0, "kl/ramped": 0.1},
}
OPTIMIZER = Optimizer(lr=1e-6, betas=(0.8, 0.99), eps=1e-6, clip=500.0)


def measure(report: Report) -> None:
    """A step of both players."""
    report.turn("nnAudio.features")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    engines = engines_of(report, dtype="bfloat16")
    for micros, crops in ((1, 4), (4, 4)) if report.on_gpu else ((1, 1), (2, 1)):
        report.attempt(f"{micros} x {crops} crops", partial(line, report, engines, micros=micros, crops=crops))


def engines_of(report: Report, *, dtype: str) -> dict[str, Engine]:
    """The networks and optimizers of manifests/train/audiovae_stage1.yaml, random weights."""
    config, cfg = config_of(report.config).audiovae, Config()
    torch.manual_seed(0)
    with report.device:
        vae, flow = AudioVAE(config), PosteriorFlow(config.latent_dim, **cfg.flow.model_dump())
        discriminator = Discriminator(DiscriminatorConfig(rate_hz=config.sample_rate, **cfg.discriminator.model_dump()))
    players = {
        "discriminator": DiscriminatorPlayer(discriminator, vae=vae, cfg=cfg),
        "generator": GeneratorPlayer(vae, flow, discriminator=discriminator, cfg=cfg),
    }
    manifest = EngineManifest(name="plain", dtype=dtype)  # type: ignore[arg-type]
    world = World(device=report.device)
    made = {
        name: make_engine(player.train(), manifest=manifest, optimizer=OPTIMIZER, world=world)
        for name, player in players.items()
    }
    sizes = {name: sum(p.numel() for p in one.player.parameters()) / 1e6 for name, one in made.items()}
    report.say(f"{dtype}: " + ", ".join(f"{name} {size:.0f} M" for name, size in sizes.items()))
    return made


def line(report: Report, engines: dict[str, Engine], *, micros: int, crops: int) -> None:
    """A line of the table."""
    config = config_of(report.config).audiovae
    frames = round((SECONDS if report.on_gpu else 0.64) * config.sample_rate / config.hop)
    wave_BS = 0.1 * torch.randn(crops, frames * config.hop, device=report.device)
    noise_BFD = torch.randn(crops, frames, config.latent_dim, device=report.device)
    micro = Micro(Crops(wave_BS, noise_BFD), Draw(0, 60_000, [str(row) for row in range(crops)]))

    def step() -> None:
        for player, engine in engines.items():
            with only(player, engines):
                update(
                    engine, [micro] * micros, weights=WEIGHTS[player], lr=1e-6, world=World(device=report.device), at=AT
                )

    report.peak()
    spent = report.timed(step, warm=1, steps=2)
    audio = micros * crops * SECONDS
    report.say(
        f"{micros} x {crops} crops of 9.6 s: {1000 * spent:7.0f} ms a step, {audio / spent:6.1f} h/h, {report.peak()}",
        step_ms=1000 * spent,
        audio_hours_per_hour=audio / spent,
    )
    if micros == 1:
        report.attempt("profile", lambda: report.profile(f"{crops} crops", step))
