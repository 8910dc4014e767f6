"""Whisper and Paraformer load their true layouts from a path, refuse wrong ones, and give a text each."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from models.frozen import WeightsError
from models.frozen.paraformer import Paraformer
from models.frozen.paraformer import recognizer as paraformer
from models.frozen.whisper import Whisper
from models.frozen.whisper import recognizer as whisper

NOISE = [np.random.default_rng(seed).normal(0, 0.1, size=n).astype(np.float32) for seed, n in ((0, 16000), (1, 40000))]


@pytest.fixture(scope="module")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as OpenAI writes it: multilingual, one layer, random."""
    from whisper.model import ModelDimensions
    from whisper.model import Whisper as Network

    torch.manual_seed(0)
    dims = ModelDimensions(80, 1500, 16, 2, 1, 51865, 448, 16, 2, 1)
    network = Network(dims)
    path = tmp_path_factory.mktemp("whisper") / "tiny.pt"
    torch.save({"dims": asdict(dims), "model_state_dict": network.state_dict()}, path)
    return path


def test_whisper_hears_one_text_a_waveform_and_names_the_language_where_none_is_given(tiny_whisper: Path) -> None:
    heard = Whisper(tiny_whisper)(NOISE, ["de", None])
    assert len(heard) == 2
    assert heard[0].language == "de"
    assert heard[1].language
    assert all(item.log_probability is not None and item.log_probability < 0 for item in heard)
    assert Whisper(tiny_whisper)(NOISE[::-1], [None, "de"])[::-1] == heard, "a text depends on the clips before it"


def test_whisper_fingerprint_follows_the_weights(tiny_whisper: Path, tmp_path: Path) -> None:
    stored = torch.load(tiny_whisper, weights_only=True)
    stored["model_state_dict"]["decoder.ln.bias"][0] += 1
    torch.save(stored, tmp_path / "other.pt")
    assert Whisper(tiny_whisper).fingerprint != Whisper(tmp_path / "other.pt").fingerprint


def test_a_missing_or_wrong_whisper_checkpoint_is_a_sentence(tiny_whisper: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Whisper checkpoint at .*large-v3\.pt; put an official checkpoint"):
        whisper(tmp_path / "large-v3.pt")
    with pytest.raises(WeightsError, match=r"checkpoints\.whisper"):
        whisper(None)
    stored = torch.load(tiny_whisper, weights_only=True)
    del stored["model_state_dict"]["decoder.ln.bias"]
    torch.save(stored, tmp_path / "half.pt")
    with pytest.raises(WeightsError, match="is no official Whisper checkpoint"):
        whisper(tmp_path / "half.pt")(NOISE[:1], ["en"])


TINY: dict[str, Any] = {
    "model": "Paraformer",
    "model_conf": {"ctc_weight": 0.0, "predictor_weight": 1.0, "predictor_bias": 1, "sampling_ratio": 0.75},
    "encoder": "SANMEncoder",
    "encoder_conf": {
        "output_size": 32, "attention_heads": 2, "linear_units": 32, "num_blocks": 2, "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder", "kernel_size": 11, "sanm_shfit": 0,
        "selfattention_layer_type": "sanm",
    },
    "decoder": "ParaformerSANMDecoder",
    "decoder_conf": {
        "attention_heads": 2, "linear_units": 32, "num_blocks": 1, "att_layer_num": 1, "kernel_size": 11,
        "sanm_shfit": 0,
    },
    "predictor": "CifPredictorV2",
    "predictor_conf": {"idim": 32, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    "frontend": "WavFrontend",
    "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10,
                      "lfr_m": 7, "lfr_n": 6, "dither": 0.0},
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    "input_size": 560,
}  # fmt: skip
TOKENS = ["<blank>", "<s>", "</s>", "今", "天", "好", "<unk>"]
CMVN = (
    "<Nnet>\n<Splice> 560 560\n[ 0 ]\n<AddShift> 560 560\n<LearnRateCoef> 0 [ {} ]\n"
    "<Rescale> 560 560\n<LearnRateCoef> 0 [ {} ]\n</Nnet>\n"
)


@pytest.fixture(scope="module")
def tiny_paraformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as FunASR lays it out, with random weights of the network that its config.yaml describes."""
    import json

    from models.frozen.paraformer import quiet

    folder = tmp_path_factory.mktemp("paraformer")
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "tokens.json").write_text(json.dumps(TOKENS))
    (folder / "am.mvn").write_text(CMVN.format(" ".join(["0"] * 560), " ".join(["1"] * 560)))
    with quiet():
        from funasr.models.paraformer.model import Paraformer as Network

        torch.manual_seed(0)
        parts = {key: value for key, value in TINY.items() if not key.startswith(("model", "frontend", "tokenizer"))}
        network = Network(**parts, **TINY["model_conf"], vocab_size=len(TOKENS))
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def test_paraformer_hears_one_text_a_waveform_whatever_came_before(tiny_paraformer: Path) -> None:
    model = Paraformer(tiny_paraformer)
    heard = model([NOISE[1], NOISE[1][:100]])
    assert [item.language for item in heard] == ["zh", "zh"]
    assert heard[1].text == "", "too short to hear anything"
    assert model([NOISE[0], NOISE[1]])[1] == heard[0]
    assert set(heard[0].text) <= set("今天好"), heard[0].text


def test_paraformer_refuses_weights_that_are_not_those_of_its_config(tiny_paraformer: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "tokens.json", "am.mvn"):
        (tmp_path / name).write_bytes((tiny_paraformer / name).read_bytes())
    stored = torch.load(tiny_paraformer / "model.pt", weights_only=True)
    lacking = {name: value for name, value in stored.items() if "decoder.decoders.0.norm1" not in name}
    torch.save(lacking, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"lacks 2 tensors \(decoder\.decoders\.0\.norm1"):
        paraformer(tmp_path)(NOISE[:1])
    name = "encoder.encoders0.0.feed_forward.w_1.bias"
    torch.save({**stored, name: torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="is no whole FunASR model"):
        paraformer(tmp_path)(NOISE[:1])


def test_a_missing_paraformer_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Paraformer model folder at .*; put a FunASR model folder"):
        paraformer(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"neither config\.yaml"):
        paraformer(tmp_path)
