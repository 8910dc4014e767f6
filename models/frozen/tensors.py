"""Tensors of a checkpoint file, read without running anything in it, and put into a network of ours by name."""

from pathlib import Path

from torch import Tensor, nn

from models.frozen import WeightsError

LEVELS = ("state_dict", "model_state_dict", "model", "embedding_model")
"""Keys under which trainers store the tensors of the network."""


def read_tensors(path: Path, *, fix: str) -> dict[str, Tensor]:
    """Name -> tensor of a .safetensors file, or of a torch file (weights only), without its outer levels and `module.`.

    Raises: WeightsError for what is no such file.
    """
    import pickle

    import safetensors
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{path} holds no tensors that can be read ({why}); {fix}") from None
    while isinstance(stored, dict):
        inner = next((stored[key] for key in LEVELS if isinstance(stored.get(key), dict)), None)
        if inner is None:
            break
        stored = inner
    named = stored.items() if isinstance(stored, dict) else ()
    found = {name: value for name, value in named if isinstance(value, Tensor)}
    if not found:
        raise WeightsError(f"{path} holds no tensors under names; {fix}")
    return {name.removeprefix("module."): value for name, value in found.items()}


def fill(network: nn.Module, tensors: dict[str, Tensor], *, path: Path, fix: str) -> None:
    """Copy the tensors into the network and put it into evaluation mode.

    Counts of batches, which only training needs, may be missing.
    Raises: WeightsError, which names every tensor that is missing, unknown or of another shape.
    """
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    problems = [f"lacks {name}" for name in sorted(wanted.keys() - given.keys())]
    problems += [f"has the unknown {name}" for name in sorted(given.keys() - wanted.keys())]
    problems += [
        f"has {name} of shape {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & given.keys())
        if given[name].shape != wanted[name].shape
    ]
    if problems:
        raise WeightsError(f"{path} does not fit the network: it {', '.join(problems)}; {fix}")
    network.load_state_dict(given, strict=False)
    network.eval().requires_grad_(False)
