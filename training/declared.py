"""What the file of an objective declares of itself, for those who have its name alone."""

from typing import Any

from infra.manifest import resolve


def players_of(objective: str) -> tuple[str, ...]:
    """Players that the file of an objective declares (`PLAYERS`), in update order; empty where it does not say."""
    return tuple(getattr(resolve("training.objectives", objective), "PLAYERS", ()))


def zero_limit(objective: str) -> int:
    """The highest ZeRO stage that is right for an objective.

    ZeRO-3 gave a silently wrong gradient where one player looks at another's raw module, so it is never right for two
    players; of the others, the file of the objective has to say `ZERO_LIMIT = 3`.
    """
    declared = int(getattr(resolve("training.objectives", objective), "ZERO_LIMIT", 2))
    return min(declared, 2) if len(players_of(objective)) > 1 else declared


def needs_text(objective: str) -> bool:
    """Does the objective learn from text (`NEEDS_TEXT`)? Then samples without one are left out."""
    return bool(getattr(resolve("training.objectives", objective), "NEEDS_TEXT", False))


def least_seconds(objective: Any) -> float:
    """What a clip takes of a step at least (`least_seconds` of the objective's file, of its settings): of an objective
    that takes crops of one length, so much, the silence behind a short one included."""
    found = getattr(resolve("training.objectives", objective.name), "least_seconds", None)
    return 0.0 if found is None else float(found(objective.settings))
