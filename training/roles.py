"""Do the inputs of a stage fit its manifest? Asked before a workflow runs, whose stages may begin weeks later."""

from collections.abc import Mapping

from infra.manifest import Manifest, did_you_mean
from training.manifest import StageManifest


def misfits(manifest: Manifest, inputs: Mapping[str, Manifest | None]) -> list[str]:
    """What is wrong: a corpus that no part of the mixture reads, a part without its corpus or of a tier that its corpus
    does not have, a stage that starts from nothing. `inputs`: role -> the manifest that it is made by, where known."""
    assert isinstance(manifest, StageManifest)
    given = sorted(role for role in inputs if role == "data" or role.startswith("data_"))
    parts = manifest.data.mixture
    wrong = [
        f"inputs.{role}: nothing reads it: data.mixture has no part of that role; add one, like {{role: {role}}}"
        for role in given
        if all(part.role != role for part in parts)
    ]
    for part in parts:
        if part.role not in given:
            hint = did_you_mean(part.role, given)
            wrong.append(f"data.mixture: no input has the role {part.role!r}{hint}; there are: {', '.join(given)}")
        known = getattr(inputs.get(part.role), "tiers", None)
        wrong += [
            f"data.mixture: the corpus of {part.role!r} has no tier {tier!r}{did_you_mean(tier, known)}; "
            f"there are: {', '.join(known) or 'none'}"
            for tier in part.tiers or ()
            if known is not None and tier not in known
        ]
    if "start_from" not in inputs and manifest.model is None:
        wrong.append(
            "inputs.start_from: give it a bundle (`stipple train run` takes --from), or set `model` to a name in "
            "manifests/models"
        )
    return wrong
