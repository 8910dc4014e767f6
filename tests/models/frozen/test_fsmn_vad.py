"""FSMN-VAD loads FunASR's layout from a path, refuses a wrong one, and lets a recording be diarized."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from models.frozen import WeightsError
from models.frozen.fsmn_vad import FsmnVad, detector
from pipelines.clip import Decoded
from pipelines.transforms.diarize import Config, Transform
from tests.pipelines.joined_voices import decoded

SIZE = 16
CONFIG: dict[str, Any] = {
    "model": "FsmnVADStreaming",
    "model_conf": {
        "sample_rate": 16000, "detect_mode": 1, "snr_mode": 0, "max_end_silence_time": 800,
        "max_start_silence_time": 3000, "do_start_point_detection": True, "do_end_point_detection": True,
        "window_size_ms": 200, "sil_to_speech_time_thres": 150, "speech_to_sil_time_thres": 150,
        "speech_2_noise_ratio": 1.0, "do_extend": 1, "lookback_time_start_point": 200,
        "lookahead_time_end_point": 100, "max_single_segment_time": 60000, "snr_thres": -100.0,
        "noise_frame_num_used_for_snr": 100, "decibel_thres": -100.0, "speech_noise_thres": 0.6,
        "fe_prior_thres": 0.0001, "silence_pdf_num": 1, "sil_pdf_ids": [0], "speech_noise_thresh_low": -0.1,
        "speech_noise_thresh_high": 0.3, "output_frame_probs": False, "frame_in_ms": 10, "frame_length_ms": 25,
    },
    "encoder": "FSMN",
    "encoder_conf": {
        "input_dim": 400, "input_affine_dim": SIZE, "fsmn_layers": 2, "linear_dim": SIZE, "proj_dim": SIZE,
        "lorder": 20, "rorder": 0, "lstride": 1, "rstride": 0, "output_affine_dim": SIZE, "output_dim": 8,
    },
    "frontend": "WavFrontendOnline",
    "frontend_conf": {
        "fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10, "dither": 0.0,
        "lfr_m": 5, "lfr_n": 1,
    },
}  # fmt: skip
STATISTICS = (
    "<Nnet>\n<Splice> 400 400\n[ 0 ]\n<AddShift> 400 400\n<LearnRateCoef> 0 [ {} ]\n"
    "<Rescale> 400 400\n<LearnRateCoef> 0 [ {} ]\n</Nnet>\n"
)
NOISE = np.random.default_rng(0).normal(0, 0.1, size=80000).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as FunASR lays it out, its silence so improbable that all is speech."""
    from models.frozen.funasr import quiet

    folder = tmp_path_factory.mktemp("fsmn")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "am.mvn").write_text(STATISTICS.format(" ".join(["0"] * 400), " ".join(["1"] * 400)))
    with quiet():
        from funasr.models.fsmn_vad_streaming.model import FsmnVADStreaming

        torch.manual_seed(0)
        network = FsmnVADStreaming(encoder="FSMN", encoder_conf=CONFIG["encoder_conf"], **CONFIG["model_conf"])
    stored = network.state_dict()
    stored["encoder.out_linear2.linear.bias"][0] = -20.0
    torch.save(stored, folder / "model.pt")
    return folder


def test_each_waveform_has_its_intervals_whatever_came_before(tiny: Path) -> None:
    model = FsmnVad(tiny)
    there, back = model([NOISE, NOISE[:100], NOISE[:48000]]), model([NOISE[:48000], NOISE])
    assert there == [back[1], [], back[0]]
    for found, seconds in ((there[0], 5.0), (there[2], 3.0)):
        assert found, "with these weights all is speech"
        assert all(0 <= start < end <= seconds for start, end in found)


def test_fsmn_vad_refuses_weights_that_lack_a_tensor_and_a_folder_that_is_none(tiny: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "am.mvn"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    stored = torch.load(tiny / "model.pt", weights_only=True)
    del stored["encoder.in_linear1.linear.bias"]
    torch.save(stored, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"lacks 1 tensors \(encoder\.in_linear1\.linear\.bias\)"):
        FsmnVad(tmp_path)([NOISE])
    with pytest.raises(WeightsError, match="no FSMN-VAD model folder at"):
        detector(tmp_path / "none")
    with pytest.raises(WeightsError, match="needs vad: the path"):
        Transform(Config(backend="fsmn"))


def test_a_recording_is_diarized_by_it(tiny: Path) -> None:
    found = Transform(Config(backend="fsmn", vad=tiny))(decoded(NOISE))
    assert isinstance(found, Decoded)
    assert found.turns
    assert {turn.voice for turn in found.turns} == {"0"}
