"""Losses on the held-out samples, by corpus and by language, with the same noise every time; and audible samples."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from infra.storage import write_bytes
from infra.wavs import wav_of
from training.data.batching import Pick, Plan, Share, deal
from training.data.collate import RATE_HZ, seconds_of_patches
from training.data.draw import Draw
from training.data.permutation import Permutation, seed_of
from training.update import Micro, call

if TYPE_CHECKING:
    from training.loop import Worker
    from training.objectives import Term

STEP = -1
"""The step whose randomness validation takes, so that two validations differ by the weights alone."""
LOSS = "loss"
"""Of a group of samples: what the last player minimizes, its terms by their weights."""
UNKNOWN = "unknown"
SAMPLES = "samples"
"""A folder of the stage's work, which outlives a kill; the end of the stage puts it beside the bundle."""


@dataclass(frozen=True)
class Group:
    """Held-out samples of one corpus in one language."""

    corpus: str
    language: str
    picks: list[Pick] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """What the held-out samples came to: term -> value, of all of them and of groups, the largest group first."""

    terms: Mapping[str, float]
    by_corpus: Mapping[str, Mapping[str, float]]
    by_language: Mapping[str, Mapping[str, float]]


def losses(worker: "Worker") -> Held | None:
    """Every term of every player over the held-out samples, shared by the workers; None where nothing is held out."""
    world, manifest, plan = worker.world, worker.manifest, worker.plan
    groups = held_out(plan, seconds=manifest.validation_batches * manifest.data.seconds_per_step)
    if not groups:
        return None
    micro = manifest.data.seconds_per_step / manifest.workers / manifest.engine.accumulation
    shares = [(n, share) for n, group in enumerate(groups) for share in cut(plan, group.picks, seconds=micro)]
    shares += [(0, Share(shares[0][1].picks, idle=True))] * (-len(shares) % world.size)  # as many calls on each worker
    sums: dict[str, Tensor] = {}
    names: dict[str, list[str]] = {}
    for number, share in shares[world.rank :: world.size]:
        prepared, draw = worker.prepare(worker.batch(share, step=STEP), step=STEP)
        for player, engine in worker.engines.items():
            engine.player.eval()
            terms = call(engine, Micro(prepared, draw, idle=share.idle))
            engine.player.train()
            names[player] = list(terms)
            own = sums.setdefault(player, torch.zeros(len(groups), len(terms), 2, dtype=torch.float64))
            own[number] += numbers_of(terms)
    found = {player: world.sum(own_GT2.to(world.device)).cpu() for player, own_GT2 in sums.items()}
    return told(groups, found, names, weights=worker.objective.weights)


def numbers_of(terms: "Mapping[str, Term]") -> Tensor:
    """Total and count of every term: (T, 2)."""
    rows = [[float(part.detach()) for part in term] for term in terms.values()]
    return torch.tensor(rows, dtype=torch.float64)


def held_out(plan: Plan, *, seconds: float) -> list[Group]:
    """Held-out samples by corpus and language, the largest group first: all of them, or where they are more than
    `seconds`, as much of each group as of the others, in a seeded order. The number of workers changes nothing."""
    groups: dict[tuple[str, str], Group] = {}
    for part, source in enumerate(plan.sources):
        order = Permutation(len(source.held_out), seed_of(plan.seed, "held out", part))
        for place in order(torch.arange(len(source.held_out)).numpy()).tolist() if len(source.held_out) else ():
            key = (source.corpus.name, str(source.languages[place]) or UNKNOWN)
            groups.setdefault(key, Group(*key)).picks.append(Pick(part, int(source.held_out[place])))
    taken: dict[tuple[str, str], Group] = {key: Group(*key) for key in groups}
    left = seconds
    for pick, group in in_turn(groups):
        if left <= 0:
            break
        left -= seconds_of_patches(plan.lengths(pick))
        taken[group.corpus, group.language].picks.append(pick)
    return sorted((group for group in taken.values() if group.picks), key=lambda group: -len(group.picks))


def in_turn(groups: Mapping[tuple[str, str], Group]) -> Iterator[tuple[Pick, Group]]:
    """One sample of each group after the other, until none is left."""
    waiting = [(iter(group.picks), group) for _, group in sorted(groups.items())]
    while waiting:
        still = []
        for picks, group in waiting:
            pick = next(picks, None)
            if pick is not None:
                yield pick, group
                still.append((picks, group))
        waiting = still


def cut(plan: Plan, picks: Sequence[Pick], *, seconds: float) -> list[Share]:
    """Micro-batches of at most about so much audio, each of samples of about one length."""
    longest_first = sorted(picks, key=lambda pick: (-plan.lengths(pick), pick))
    audio = seconds_of_patches(sum(map(plan.lengths, picks)))
    pieces = min(len(picks), math.ceil(audio / seconds))
    return deal([longest_first], plan.lengths, groups=max(1, pieces))


def told(
    groups: Sequence[Group],
    sums: Mapping[str, Tensor],
    names: Mapping[str, Sequence[str]],
    *,
    weights: Mapping[str, Mapping[str, float]],
) -> Held:
    """Values out of totals and counts, (G, T, 2) of each player."""

    def values(chosen: Sequence[int]) -> dict[str, float]:
        return {
            name: float(total / count)
            for player, sums_GT2 in sums.items()
            for name, (total, count) in zip(names[player], sums_GT2[list(chosen)].sum(0).tolist(), strict=True)
            if count > 0
        }

    def by(word: str) -> dict[str, dict[str, float]]:
        members: dict[str, list[int]] = {}
        for number, group in enumerate(groups):
            members.setdefault(getattr(group, word), []).append(number)
        found = {}
        for name, chosen in members.items():
            terms = values(chosen)
            weighted = [weight * terms[term] for term, weight in weights[list(sums)[-1]].items() if term in terms]
            found[name] = {LOSS: sum(weighted), **terms}
        return found

    return Held(terms=values(range(len(groups))), by_corpus=by("corpus"), by_language=by("language"))


def write_samples(worker: "Worker", *, step: int) -> None:
    """Wavs that the objective makes of held-out (or else the first) samples, where it has `samples(batch, draw)`."""
    make = getattr(worker.objective, "samples", None)
    if make is None or worker.world.rank != 0:
        return
    plan = worker.plan
    picks = [Pick(part, int(number)) for part, source in enumerate(plan.sources) for number in source.held_out]
    picks = sorted(picks or plan.step(0), key=lambda pick: (plan.lengths(pick), pick))
    batch = worker.batch(Share(picks[1::-1]), step=STEP)
    folder = worker.work / SAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name, wave_S in make(batch, Draw(worker.manifest.seed, STEP, batch.keys)).items():
            path = folder / f"step-{step:08d}-{name}.wav"
            write_bytes(path, wav_of(wave_S.detach().float().cpu().reshape(-1).numpy(), RATE_HZ))
