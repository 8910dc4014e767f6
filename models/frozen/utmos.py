"""UTMOS22 strong: the naturalness that listeners would hear, from either of its released checkpoints on this machine.

The network of Saeki et al. 2022 (arXiv 2204.02152) without its phoneme encoder, on the wav2vec 2.0 of transformers:
frames with an embedding of the listening test and one of the listener go through a bidirectional LSTM and two layers;
the score is the mean over the frames, times 2, plus 3.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.frozen import Wave, WeightsError, fingerprint_of, local_file
from models.frozen.fairseq import TO_TRANSFORMERS, replaced, shape_of

FIX = (
    "put utmos22_strong_step7459_v1.pt (github.com/tarepan/SpeechMOS, release v1.0.0) or epoch=3-step=7459.ckpt "
    "(huggingface.co/spaces/sarulab-speech/UTMOS-demo) there"
)
SHORTEST = 400
"""Samples of one frame."""
HEAD_WIDTH = 64
DOMAIN, JUDGE = 0, 288
"""Rows of the embeddings that the demo of the authors uses: the main listening test, and the mean listener."""
EMBEDDINGS = {
    "domain_emb": ("feature_extractors.1.embedding.weight", DOMAIN),
    "judge_emb": ("output_layers.0.judge_embedding.weight", JUDGE),
}
LIGHTNING = {
    r"^feature_extractors\.0\.ssl_model\.": "wav2vec2.",
    r"^output_layers\.0\.decoder_rnn\.": "blstm.",
    r"^output_layers\.1\.net\.0\.": "projection.0.",
    r"^output_layers\.1\.net\.3\.": "projection.2.",
}
"""Names of the Lightning checkpoint to those of SpeechMOS."""
TRANSFORMERS = {r"^wav2vec2\.layer_norm\.": "wav2vec2.feature_projection.layer_norm.", **TO_TRANSFORMERS}
"""Names of fairseq, which SpeechMOS keeps, to those of transformers."""
UNUSED = re.compile(r"^wav2vec2\.(mask_emb$|quantizer\.|project_q\.|project_inp\.|final_proj\.)")
"""Left over from pretraining."""


class Utmos:
    """One score a waveform, 1 to 5, about the English of the listening tests; other languages are shifted.

    Waveforms go through one at a time, for padding changes the score. Threads may share an object.
    """

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no checkpoint."""
        self.path, self.device = local_file(checkpoint, what="UTMOS checkpoint", fix=FIX), device

    @property
    def fingerprint(self) -> str:
        """Version of the network's library, and weights."""
        return fingerprint_of("utmos22", package="transformers", weights=[self.path], domain=DOMAIN, judge=JUDGE)

    def __call__(self, waves: Sequence[Wave]) -> list[float | None]:
        """One score a waveform (16 kHz), in order; None for one shorter than 25 ms."""
        return [self.score(wave_S) if len(wave_S) >= SHORTEST else None for wave_S in waves]

    def score(self, wave_S: Wave) -> float:
        """Of one waveform, as it is: the level is not changed."""
        with torch.inference_mode():
            wave_BS = torch.from_numpy(wave_S).float()[None].to(self.device)
            return float(self._network(wave_BS)[0])

    @cached_property
    def _network(self) -> "Utmos22Strong":
        return loaded(self.path).to(self.device)


class Utmos22Strong(nn.Module):
    """The published arithmetic."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Widths and depth are those of the tensors (in SpeechMOS' names). Raises: KeyError, IndexError for others."""
        super().__init__()
        from transformers import Wav2Vec2Model

        self.wav2vec2 = Wav2Vec2Model(config_of(state))
        self.domain_emb = nn.Parameter(torch.empty_like(state["domain_emb"]))
        self.judge_emb = nn.Parameter(torch.empty_like(state["judge_emb"]))
        width, hidden = state["blstm.weight_ih_l0"].shape[1], state["blstm.weight_hh_l0"].shape[1]
        self.blstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.projection = nn.Sequential(
            nn.Linear(2 * hidden, state["projection.0.weight"].shape[0]),
            nn.ReLU(),
            nn.Linear(state["projection.0.weight"].shape[0], 1),
        )

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Shapes: (B, S) -> (B,)."""
        frames_BFH = self.wav2vec2(wave_BS).last_hidden_state
        batch, frames, _ = frames_BFH.shape
        around = [item[:, None].expand(batch, frames, -1) for item in (self.domain_emb, self.judge_emb)]
        hidden_BFH, _ = self.blstm(torch.cat([frames_BFH, *around], dim=2))
        score_B: Tensor = self.projection(hidden_BFH).mean(dim=1).squeeze(1) * 2 + 3
        return score_B


def config_of(state: Mapping[str, Tensor]) -> Any:
    """The wav2vec 2.0 that the tensors (in SpeechMOS' names) are of: post-norm layers, group norm, no dropout."""
    from transformers import Wav2Vec2Config

    shape = shape_of(state, "wav2vec2")
    heads = max(1, shape["hidden_size"] // HEAD_WIDTH)
    return Wav2Vec2Config(**shape, num_attention_heads=heads, feat_extract_norm="group", do_stable_layer_norm=False)


def loaded(path: Path) -> Utmos22Strong:
    """The network with the weights of a checkpoint in either layout, every tensor checked.

    Raises: WeightsError, which names what is missing, too much, or of another shape.
    """
    state = renamed(stored(path), path)
    try:
        network = Utmos22Strong(state)
    except (KeyError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path} is no UTMOS22 checkpoint (it lacks {error}); {FIX}") from None
    theirs = {name: value for name, value in state.items() if not UNUSED.match(name)}
    ours = {replaced(name, TRANSFORMERS): name for name in theirs}
    wanted = network.state_dict()
    wrong = [f"no {name}" for name in sorted(wanted.keys() - ours.keys())]
    wrong += [f"an unknown {ours[name]}" for name in sorted(ours.keys() - wanted.keys())]
    wrong += [
        f"{ours[name]} of shape {tuple(theirs[ours[name]].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in ours and theirs[ours[name]].shape != value.shape
    ]
    if wrong:
        raise WeightsError(f"{path} is no whole UTMOS22 checkpoint: it has {'; '.join(wrong)}; {FIX}")
    network.load_state_dict({name: theirs[original] for name, original in ours.items()})
    return network.eval().requires_grad_(False)


def renamed(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state in SpeechMOS' names; of the Lightning layout, the rows of both embeddings that the demo uses.

    Raises: WeightsError where an embedding has no such row.
    """
    if not any(name.startswith("feature_extractors.") for name in state):
        return dict(state)
    found = {}
    tables = {name: (ours, row) for ours, (name, row) in EMBEDDINGS.items()}
    for name, value in state.items():
        if name not in tables:
            found[replaced(name, LIGHTNING)] = value
            continue
        ours, row = tables[name]
        if row >= len(value):
            raise WeightsError(f"{path} has {len(value)} rows in {name}, and the demo uses number {row}; {FIX}")
        found[ours] = value[row : row + 1]
    return found


class Inert:
    """Stands for any class that a checkpoint's settings are made of: it does nothing, whatever it is given."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def stored(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file; nothing in it is run: a Lightning checkpoint's settings are read as inert objects.

    Raises: WeightsError
    """
    from pickle import UnpicklingError

    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        names = get_unsafe_globals_in_checkpoint(str(path))
        with safe_globals([(Inert, name) for name in names]):
            found = torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("state_dict", found)
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    except (RuntimeError, UnpicklingError, EOFError, OSError, AttributeError, ValueError, TypeError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        raise WeightsError(f"{path} cannot be read as a checkpoint ({why}); {FIX}") from None
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; {FIX}")
    return tensors


def judge(checkpoint: Path | None, *, device: str) -> Utmos:
    """The network with the weights at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"utmos needs checkpoint: the path of its weights; {FIX}; without it, use mos (DNSMOS)")
    return Utmos(checkpoint, device=device)
