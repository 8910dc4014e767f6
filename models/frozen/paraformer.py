"""Paraformer: Mandarin speech to text, from a FunASR model folder on this machine, checked tensor by tensor."""

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Heard, Wave, WeightsError, fingerprint_of, local_file

FIX = "put a FunASR model folder there (config.yaml, model.pt, tokens.json, am.mvn), or route its languages elsewhere"
SHORTEST = 3200
"""Samples (0.2 s) below which the front end has no frame to look at."""
HAN = r"[\u3400-\u9fff]"
SPACES = re.compile(rf"(?<={HAN})\s+(?={HAN})")
"""Recognized characters come apart by spaces."""


class Paraformer:
    """One waveform at a time, as FunASR does it on a CPU anyway. Loading sets torch's seed and number of threads."""

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path) -> None:
        """Raises: WeightsError where there is no model folder."""
        self.path = local_file(checkpoint, what="Paraformer model folder", fix=FIX)
        if not (self.path / "config.yaml").is_file() and not (self.path / "configuration.json").is_file():
            raise WeightsError(f"{self.path} holds neither config.yaml nor configuration.json; {FIX}")

    @property
    def fingerprint(self) -> str:
        """Version and all files of the folder."""
        return fingerprint_of("paraformer", package="funasr", weights=[self.path])

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None] = ()) -> list[Heard]:
        """One text a waveform (16 kHz)."""
        return [self.transcribe(wave_S) for wave_S in waves]

    def transcribe(self, wave_S: Wave) -> Heard:
        """The text, without the spaces between its characters; empty for less than 0.2 s."""
        if len(wave_S) < SHORTEST:
            return Heard(text="", language="zh")
        with quiet():
            found = self._model.generate(input=[wave_S.astype(np.float32)], key=["clip"])
        text = str(found[0].get("text", "")) if found else ""
        return Heard(text=SPACES.sub("", text).strip(), language="zh")

    @cached_property
    def _model(self) -> Any:
        with quiet():
            from funasr import AutoModel

            try:
                model = AutoModel(
                    model=str(self.path),
                    device="cpu",
                    ncpu=1,
                    disable_update=True,
                    disable_pbar=True,
                    ignore_init_mismatch=False,
                )
            except (RuntimeError, AssertionError, KeyError, OSError, EOFError, AttributeError, TypeError) as error:
                why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                raise WeightsError(f"{self.path} is no whole FunASR model ({why}); {FIX}") from None
        self._check_keys(model)
        if model.kwargs.get("frontend") is not None:
            model.kwargs["frontend"].dither = 0.0
        return model

    def _check_keys(self, model: Any) -> None:
        """FunASR loads whatever it finds; a tensor that it did not find would stay random."""
        import torch

        stored = torch.load(model.kwargs["init_param"], map_location="cpu", weights_only=True)
        for level in ("state_dict", "model_state_dict", "model"):
            stored = stored.get(level, stored)
        names = {name.removeprefix("module.") for name in stored}
        missing = sorted(set(model.model.state_dict()) - names)
        if missing:
            shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            raise WeightsError(f"{model.kwargs['init_param']} lacks {len(missing)} tensors ({shown}); {FIX}")


@contextlib.contextmanager
def quiet() -> Any:
    """Without FunASR's prints on stdout and the warnings of what it imports."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def recognizer(checkpoint: Path | None) -> Paraformer:
    """The recognizer with the model folder at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"paraformer needs checkpoints.paraformer: the path of its folder; {FIX}")
    return Paraformer(checkpoint)
