"""FunASR's way to load a model folder on this machine, made strict: silent, offline, every tensor found and fitting."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.frozen import WeightsError, local_file

SHORTEST = 3200
"""Samples (0.2 s at 16 kHz) below which its front ends have no frame to look at."""
BETWEEN_HAN = re.compile(r"(?<=[\u3400-\u9fff])\s+(?=[\u3400-\u9fff])")
"""Its recognizers set spaces between characters."""


def folder_of(checkpoint: Path, *, what: str, fix: str) -> Path:
    """The model folder, if it looks like one.

    Raises: WeightsError
    """
    path = local_file(checkpoint, what=f"{what} model folder", fix=fix)
    if not (path / "config.yaml").is_file() and not (path / "configuration.json").is_file():
        raise WeightsError(f"{path} holds neither config.yaml nor configuration.json; {fix}")
    return path


def load(path: Path, *, device: str, fix: str) -> Any:
    """FunASR's AutoModel of a folder. Loading sets torch's seed and number of threads.

    Raises: WeightsError where a tensor is missing, has another shape, or the folder is no FunASR model.
    """
    with quiet():
        from funasr import AutoModel

        try:
            model = AutoModel(
                model=str(path),
                device=device,
                ncpu=1,
                disable_update=True,
                disable_pbar=True,
                ignore_init_mismatch=False,
            )
        except (RuntimeError, AssertionError, KeyError, OSError, EOFError, AttributeError, TypeError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise WeightsError(f"{path} is no whole FunASR model ({why}); {fix}") from None
    check_keys(model, fix=fix)
    if model.kwargs.get("frontend") is not None:
        model.kwargs["frontend"].dither = 0.0
    return model


def check_keys(model: Any, *, fix: str) -> None:
    """FunASR loads whatever it finds; a tensor that it did not find would stay random.

    Raises: WeightsError
    """
    import torch

    stored = torch.load(model.kwargs["init_param"], map_location="cpu", weights_only=True)
    for level in ("state_dict", "model_state_dict", "model"):
        stored = stored.get(level, stored)
    names = {name.removeprefix("module.") for name in stored}
    missing = sorted(set(model.model.state_dict()) - names)
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise WeightsError(f"{model.kwargs['init_param']} lacks {len(missing)} tensors ({shown}); {fix}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without FunASR's prints on stdout and the warnings of what it imports."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
