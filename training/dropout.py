"""No network that is trained drops activations: which ones fell would depend on how a step is split over workers.

Dropout of modules draws from torch's global generator, one number after the other, so a sample's mask would depend on
the company it travels in. No release of dots.tts uses it (DiT.dropout and attention_dropout are 0.0). What the
objectives do drop (conditions, time ranges) is drawn by (seed, step, sample) through `training.data.draw`.
"""

from collections.abc import Iterator, Mapping

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from infra.manifest import ManifestError


def refuse_dropout(players: Mapping[str, nn.Module], *, stage: str) -> None:
    """Raises: ManifestError where a player has a module that drops."""
    wrong = [
        f"{player}.{name} drops {rate:g} of what it computes; dropout is not reproducible over workers: set it to 0 "
        "in the model's config"
        for player, network in players.items()
        for name, rate in dropping(network)
    ]
    if wrong:
        raise ManifestError(f"stage {stage}", wrong[:5])


def dropping(network: nn.Module) -> Iterator[tuple[str, float]]:
    """Modules with a rate of dropout above 0: torch's own, and those that hand a rate on to attention."""
    for name, module in network.named_modules():
        rates = [module.p] if isinstance(module, _DropoutNd) else []
        rates += [getattr(module, key, 0.0) for key in ("dropout", "attention_dropout")]
        yield from ((name, rate) for rate in rates if isinstance(rate, float) and rate > 0)
