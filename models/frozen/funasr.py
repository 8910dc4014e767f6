"""FunASR's way to load a model folder on this machine, made strict: silent, offline, every tensor found and fitting."""

import contextlib
import io
import logging
import pickle
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


def load(path: Path, *, kind: str, device: str, fix: str) -> Any:
    """FunASR's AutoModel of a folder, of a class that has `kind` in its name. Loading sets torch's seed and threads.

    Without dither, whatever the folder says: the same sound gives the same result. Code that a folder brings along is
    not run, and no name is taken for one of a hub.
    Raises: WeightsError where a tensor or the statistics of the front end are missing or have another shape, or the
        folder is no FunASR model, or one for something else.
    """
    import yaml

    with quiet(), without_log():
        from funasr import AutoModel

        try:
            model = AutoModel(
                model=str(path.resolve()),
                device=device,
                ncpu=1,
                disable_update=True,
                disable_pbar=True,
                ignore_init_mismatch=False,
                trust_remote_code=False,
                frontend_conf={"dither": 0.0},
            )
        except (
            RuntimeError, AssertionError, LookupError, OSError, EOFError, AttributeError, TypeError, ValueError,
            pickle.UnpicklingError, yaml.YAMLError,
        ) as error:  # fmt: skip
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise WeightsError(f"{path} is no whole FunASR model ({why}); {fix}") from None
    if kind not in type(model.model).__name__:
        raise WeightsError(f"{path} holds a {type(model.model).__name__}, and no {kind}; {fix}")
    check_keys(model, fix=fix)
    check_statistics(model, fix=fix)
    return model


def check_keys(model: Any, *, fix: str) -> None:
    """FunASR loads whatever it finds; a tensor that it did not find would stay random.

    Raises: WeightsError
    """
    import torch

    if "init_param" not in model.kwargs:
        raise WeightsError(f"{model.model_path} lacks its weights (model.pt), which would stay random; {fix}")
    stored = torch.load(model.kwargs["init_param"], map_location="cpu", weights_only=True)
    for level in ("state_dict", "model_state_dict", "model"):
        stored = stored.get(level, stored)
    names = {name.removeprefix("module.") for name in stored}
    missing = sorted(set(model.model.state_dict()) - names)
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise WeightsError(f"{model.kwargs['init_param']} lacks {len(missing)} tensors ({shown}); {fix}")


def check_statistics(model: Any, *, fix: str) -> None:
    """FunASR leaves a front end without its am.mvn as it is, and hears frames that nobody has normalized.

    Raises: WeightsError
    """
    frontend = model.kwargs.get("frontend")
    if frontend is None:
        return
    wanted = (2, frontend.output_size())
    found = None if frontend.cmvn is None else tuple(frontend.cmvn.shape)
    if found != wanted:
        what = "no am.mvn" if found is None else f"an am.mvn of shape {found}, not {wanted}"
        raise WeightsError(f"{model.model_path} has {what}: means and variances of its features; {fix}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without FunASR's prints on stdout and the warnings of what it imports."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """Without what FunASR logs while it loads, and with the root logger afterwards as it was: it sets one up."""
    root, before = logging.getLogger(), logging.root.manager.disable
    level, handlers = root.level, list(root.handlers)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.setLevel(level)
        root.handlers[:] = handlers
