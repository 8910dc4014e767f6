"""Whole generations equal those that the official package recorded, every random draw injected."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.audiovae import resample
from models.runtime.bundle import Bundle
from models.runtime.generate import Draws, generate
from models.runtime.prompt import prompt_wave, read_sound
from models.runtime.stream import generate_stream

pytestmark = pytest.mark.shared

TEXT, PROMPT_TEXT = (
    "Hello world, this is a tiny oracle.",
    "\u53c2\u8003\u6587\u672c\uff0c\u4e00\u4e8c\u4e09\u56db\u4e94\u3002",
)
TOLERANCE = 1e-4
"""5e-6 was measured; the rest is for other machines."""
CASES: dict[str, dict[str, Any]] = {
    "gen_fm_clone": {"prompt_text": PROMPT_TEXT, "language": "EN", "num_steps": 6, "guidance_scale": 1.2},
    "gen_fm_noprompt": {"method": "midpoint", "num_steps": 3, "guidance_scale": 2.0},
    "gen_mf_clone": {"prompt_text": PROMPT_TEXT, "num_steps": 4, "max_patches": 9},
}
ENDS = {"gen_fm_clone": "stop", "gen_fm_noprompt": "stop", "gen_mf_clone": "length"}


def recorded(shared: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What was recorded, and the request that it answers."""
    folder = shared / "parity" / "fixtures"
    tensors = load_file(folder / f"{name}.safetensors")
    request = dict(CASES[name.replace("_stream", "_clone")])
    if "prompt_text" in request:
        request["prompt_audio"] = folder / "prompt.wav"
    request["draws"] = Draws(recorded=[tensors[key] for key in sorted(tensors) if key.startswith("rng.")])
    return tensors, request


@pytest.mark.parametrize("name", CASES)
def test_latents_audio_and_end_equal_the_recorded_generation(
    shared: Path, official: Bundle, distilled: Bundle, name: str
) -> None:
    tensors, request = recorded(shared, name)
    speech = generate(distilled if "mf" in name else official, TEXT, **request)
    torch.testing.assert_close(speech.latent_FD, tensors["vocoder.latents_in"][0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(speech.wave_S, tensors["audio"][0, 0], atol=TOLERANCE, rtol=0)
    assert speech.finish_reason == ENDS[name]
    probabilities = torch.cat([tensors[key] for key in sorted(tensors) if key.startswith("eos_prob.")])
    torch.testing.assert_close(torch.tensor(speech.stop_probabilities), probabilities, atol=TOLERANCE, rtol=0)


def test_stream_equals_the_recorded_stream(shared: Path, official: Bundle) -> None:
    tensors, request = recorded(shared, "gen_fm_stream")
    chunks = [chunk.wave_S for chunk in generate_stream(official, TEXT, **request)]
    assert [len(chunk) for chunk in chunks] == tensors["chunk_lens"].tolist()
    torch.testing.assert_close(torch.cat(chunks), tensors["audio"][0, 0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["prompt", "ref"])
def test_prompt_front_end_equals_the_recorded_one(shared: Path, name: str) -> None:
    tensors = load_file(shared / "parity" / "fixtures" / "resample_fbank.safetensors")
    path = shared / "parity" / "fixtures" / f"{name}.wav"
    samples, _, _ = read_sound(path)
    assert list(resample.loud_interval(samples)) == tensors[f"{name}.trim_index"][:2].tolist()
    wave_S, expected_S = prompt_wave(path), tensors[f"{name}.48k"][0]
    assert len(wave_S) % 7680 == 0
    torch.testing.assert_close(wave_S[: len(expected_S)], expected_S, atol=1e-5, rtol=0)
    assert not wave_S[len(expected_S) :].any()
