"""The training loop: over a bare PyTorch loop, saving, ZeRO-1 over DDP, and how a step grows with audio and workers.

    python tests/benchmarks/training_loop.py [--rounds 12] [--only loop growth ranks]

Sides take turns step by step in one process; a ratio is ours over the other's in one round, and what is printed is the
median of the rounds (least .. most), of wall and of processor time. The model is a backbone of 4 layers of 256 (`tiny`
made larger), in float32, one thread a worker. A step against the official package: official.py --only step2 step8.
"""

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn

from infra.manifest import parse
from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.runtime.bundle import new_bundle, save_bundle
from models.text.tokens import byte_tokenizer, training_example
from training.data.draw import Draw
from training.data.prepared import Prepared, stacked
from training.engine import Engine, PlainEngine, make_engine
from training.errand import Errand
from training.loop import Worker
from training.manifest import Engine as EngineManifest
from training.manifest import Optimizer, StageManifest, load_model
from training.objectives.backbone import BackbonePlayer
from training.speed import counter, matrix_rate
from training.steplog import StepLog
from training.update import Micro, Moment, update
from training.world import World, world_of_process_group

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "training"))  # noqa: TID251 - the corpus of the training tests

from speech import build_corpus  # noqa: E402

WIDTH, LAYERS = 256, 4
OPTIMIZER = Optimizer(lr=1e-4, clip=1.0)
WEIGHTS = {"flow/velocity": 1.0, "stop/bce": 1.0}
EVERY = 900
"""Steps between two checkpoints where `save_every` is 1000, as it is by default (StageManifest.checkpoint_every)."""
Clocks = tuple[float, float]


def config() -> ModelConfig:
    """`tiny`, with wider and deeper transformers."""
    tiny = load_model("tiny")
    wide = {"num_layers": LAYERS, "num_heads": 4, "hidden_size": WIDTH, "ffn_hidden_size": 4 * WIDTH}
    table = dict(tiny.config)
    table |= {name: {**table[name], **wide} for name in ("PatchEncoder", "DiT")}
    llm = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH}
    return ModelConfig.from_dicts(table, {**tiny.llm, **llm, "num_attention_heads": 4, "num_key_value_heads": 2})


def micro_of(seconds: Sequence[float], *, of: ModelConfig) -> Micro:
    """A prepared micro-batch of clips of so many seconds: random latents and x-vectors, a text in proportion."""
    generator, tokenizer = torch.Generator().manual_seed(0), byte_tokenizer()
    patches = [max(1, round(one / 0.16)) for one in seconds]
    rows = [training_example(tokenizer, "word " * max(1, round(3 * s)), patches=p, layout="plain")
            for s, p in zip(seconds, patches, strict=True)]  # fmt: skip
    latent_BFD = torch.randn(len(patches), of.patch_size * max(patches), of.latent_dim, generator=generator)
    for row, count in enumerate(patches):
        latent_BFD[row, of.patch_size * count :] = 0
    xvector_BE = torch.randn(len(patches), of.campplus_embedding_size, generator=generator)
    prepared = Prepared(*stacked(rows), latent_BFD, latent_BFD, torch.tensor(patches), xvector_BE)
    return Micro(prepared, Draw(0, 0, [str(row) for row in range(len(patches))]))


def player_of() -> BackbonePlayer:
    """The trained network, the same in every process."""
    torch.manual_seed(0)
    return BackbonePlayer(Backbone(config()), hidden_drop=0.1, speaker_drop=0.1).train()


def clocked(step: Callable[[], object]) -> Clocks:
    """Wall and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turn(sides: Sequence[Callable[[], object]], *, rounds: int) -> list[list[Clocks]]:
    """What each call took, each round in the other order, after two rounds that are not counted."""
    found: list[list[Clocks]] = [[] for _ in sides]
    for number in range(rounds + 2):
        for side in range(len(sides)) if number % 2 else reversed(range(len(sides))):
            clocks = clocked(sides[side])
            if number >= 2:
                found[side].append(clocks)
    return found


def ratio(ours: Sequence[Clocks], others: Sequence[Clocks]) -> str:
    """Medians of ours over the other's, of wall and of processor time, with the least and the most."""
    told = []
    for which, name in enumerate(("wall", "processor")):
        values = sorted(a[which] / b[which] for a, b in zip(ours, others, strict=True))
        told.append(f"{name} {statistics.median(values):.3f} ({values[0]:.2f} .. {values[-1]:.2f})")
    return ", ".join(told)


def typical(clocks: Sequence[Clocks]) -> str:
    """Medians in milliseconds."""
    return " / ".join(f"{1000 * statistics.median(one[which] for one in clocks):.0f}" for which in (0, 1)) + " ms"


class Bare:
    """A loop as one writes it by hand: forward, weighted sum, backward, clipping, AdamW."""

    def __init__(self, player: torch.nn.Module) -> None:
        self.player = player
        self.parameters = [p for p in player.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=OPTIMIZER.lr, betas=OPTIMIZER.betas)

    def step(self, micro: Micro, *, weights: Mapping[str, float] = WEIGHTS) -> float:
        """One update."""
        terms = self.player(micro.prepared, micro.draw)
        loss = torch.stack([weight * terms[name].total / terms[name].count for name, weight in weights.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return float(loss.detach())


def stepped(engine: Engine, micro: Micro, *, world: World) -> None:
    """One update by ours."""
    at = Moment(stage="benchmark", step=0, player="backbone")
    update(engine, [micro], weights=WEIGHTS, lr=OPTIMIZER.lr, world=world, at=at)


def worker_in(folder: Path) -> Worker:
    """A worker of the second backbone stage, with stored nothing, on synthetic speech."""
    bundle = new_bundle(config(), seed=0)
    bundle.latent_mean_D, bundle.latent_var_D = (
        torch.zeros(bundle.config.latent_dim),
        torch.ones(bundle.config.latent_dim),
    )
    save_bundle(bundle, folder / "bundle")
    corpus = build_corpus(folder / "corpus", samples=24, untexted=0, longest=20)
    manifest = {
        "stage": "benchmark",
        "objective": {"name": "backbone"},
        "data": {"seconds_per_step": 10, "held_out": 0},
        "optimizer": {"lr": OPTIMIZER.lr, "clip": 1.0},
        "engine": {"name": "plain"},
        "launcher": "in_process",
        "steps": 1000,
    }
    (folder / "attempt").write_text("a")
    stage = parse(StageManifest, manifest, where="benchmark")
    words = {"work": str(folder), "out": str(folder / "out"), "token": "a"}
    return Worker(Errand(stage, {"data": str(corpus)}, str(folder / "bundle"), **words), World(), print)


def loop(rounds: int) -> None:
    """Our loop over a bare one, and what saving costs it."""
    with tempfile.TemporaryDirectory() as place:
        worker = worker_in(Path(place))
        _, micros, _, audio = next(worker.batches(0))
        bare = Bare(copy.deepcopy(worker.engines["backbone"].player))
        log = StepLog(Path(place) / "losses.jsonl", journal=str(Path(place) / "journal"), first=0, every=1)

        def ours() -> None:
            report = worker.step(1, micros)
            log.write(report, seconds=1.0, waited=0.0, audio_seconds=audio)
            worker.asked_to_stop()

        mine, other = in_turn([ours, lambda: bare.step(micros[0])], rounds=rounds)
        print(f"our loop over a bare one      {ratio(mine, other)}; {typical(mine)} a step of {audio:.0f} s of audio")
        saves, behind = [], []
        for number in range(4):
            saves.append(clocked(lambda number=number: worker.save(number + 1))[0])
            behind.append(clocked(ours)[0])
            worker.background.finish()
        each = statistics.median(one[0] for one in mine)
        stall = statistics.median(saves) + max(0.0, statistics.median(behind) - each)
        size = sum(path.stat().st_size for path in (Path(place) / "checkpoints").rglob("*") if path.is_file()) / 2
        print(
            f"saving {size / 1e6:.0f} MB stalls {1000 * statistics.median(saves):.0f} ms ({1000 * min(saves):.0f} .. "
            f"{1000 * max(saves):.0f}), and with the slower step beside it {stall / each / EVERY:.3%} of the step time "
            f"at every {EVERY} steps"
        )
        log.close()


def growth(rounds: int) -> None:
    """A step of one clip of 2 to 30 s, by the second of audio; MFU."""
    player, of = player_of(), config()
    engine = PlainEngine(player, manifest=EngineManifest(name="plain"), optimizer=OPTIMIZER, world=World())
    rate = matrix_rate(torch.device("cpu"), torch.float32)
    lengths = (2.0, 4.0, 8.0, 16.0, 30.0)
    micros = [micro_of([seconds], of=of) for seconds in lengths]
    clocks = in_turn([lambda m=m: stepped(engine, m, world=World()) for m in micros], rounds=max(3, rounds // 2))
    for seconds, micro, found in zip(lengths, micros, clocks, strict=True):
        counting = counter()
        with counting:
            stepped(engine, micro, world=World())
        cpu = statistics.median(one[1] for one in found)
        flops = counting.get_total_flops()
        each = f"{1000 * cpu / seconds:6.1f} ms of processor a second of audio"
        share = f"{flops / 1e9 / seconds:.2f} GFLOP a second of audio, MFU {flops / cpu / rate:.0%}"
        print(f"one clip of {seconds:4.0f} s            {typical(found):>16}, {each}, {share}")


def rank(number: int, size: int, place: str, rounds: int, clip: float) -> None:
    """A worker of `ranks`: DDP and ZeRO-1 in turn on the same halves of a step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}/store-{size}", rank=number, world_size=size)
    world, of = world_of_process_group(), config()
    micro = micro_of([clip] * (4 // size), of=of)
    ddp = torch.nn.parallel.DistributedDataParallel(player_of(), find_unused_parameters=False)
    bare = Bare(ddp)
    zero = make_engine(
        player_of(), manifest=EngineManifest(name="deepspeed", zero_stage=1), optimizer=OPTIMIZER, world=world
    )
    plain = PlainEngine(player_of(), manifest=EngineManifest(name="plain"), optimizer=OPTIMIZER, world=world)

    def together(step: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            dist.barrier()
            step()

        return run

    sides = [
        together(lambda: stepped(zero, micro, world=world)),
        together(lambda: stepped(plain, micro, world=world)),
        together(lambda: bare.step(micro)),
    ]
    zeros, plains, ddps = in_turn(sides, rounds=rounds)
    if number == 0:
        head = f"{size} worker(s), {4 * clip:.0f} s of audio"
        print(f"{head:30}ZeRO-1 over DDP {ratio(zeros, ddps)}; {typical(zeros)}", flush=True)
        print(f"{'':30}plain over DDP  {ratio(plains, ddps)}; {typical(plains)}", flush=True)
    dist.destroy_process_group()


def ranks(rounds: int) -> None:
    """The same audio on one worker and on two: 16 s, where optimizer and sums weigh most, and 64 s."""
    for clip, size in ((4.0, 1), (4.0, 2), (16.0, 1), (16.0, 2)):
        with tempfile.TemporaryDirectory() as place:
            spawn(rank, (size, place, max(4, rounds // 2), clip), nprocs=size)  # type: ignore[no-untyped-call]


PARTS: dict[str, Callable[[int], None]] = {"loop": loop, "growth": growth, "ranks": ranks}


def main() -> None:
    """Print the parts."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=12)
    words.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    args = words.parse_args()
    torch.set_num_threads(1)
    for name in args.only:
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        PARTS[name](args.rounds)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
