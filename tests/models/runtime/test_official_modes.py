"""Every mode says what the official package said: on its small checkpoint, variants of it, and other dimensions."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.runtime.bundle import Bundle, load_bundle
from models.runtime.generate import Draws, generate
from models.runtime.prompt import prompt_wave
from models.runtime.session import Session
from models.runtime.stream import Chunk, generate_stream
from models.text import tokens
from tests.models.runtime.modes import CASES, EVERY, TEXT, TRANSCRIPT, Recorded, folder_of, prompt_of

pytestmark = pytest.mark.shared

RECORDINGS = Path(__file__).resolve().parents[2] / "golden" / "official"
TOLERANCE = 1e-4
"""5e-6 was measured; the rest is for other machines."""


def request_of(case: Recorded, bundle: Bundle, *, parity: Path, work: Path) -> dict[str, Any]:
    """Our request for a recording. Ours counts new patches, the official maximum those of the prompt too."""
    request: dict[str, Any] = {**case.options, "max_patches": case.most, "stop_guard": False}
    prompt = prompt_of(case, parity=parity, at=work / "long.wav")
    if prompt is not None:
        request["prompt_audio"] = prompt
    if prompt is not None and case.prompt.endswith("pair"):
        request["prompt_text"] = TRANSCRIPT
        config = bundle.config
        wave_S = prompt_wave(prompt, to_hz=config.audiovae.sample_rate, patch_samples=config.patch_samples)
        request["max_patches"] -= len(wave_S) // config.patch_samples
    return request


def heard(case: Recorded, bundle: Bundle, request: dict[str, Any]) -> list[Chunk]:
    """The chunks of a stream or session."""
    if case.how == "stream":
        return list(generate_stream(bundle, TEXT, **request))
    session = Session(bundle, **request)
    ids = tokens.encode(bundle.tokenizer, TEXT)
    return [chunk for token in ids for chunk in session.push_ids([token])] + list(session.finish())


@pytest.mark.parametrize("name", CASES)
def test_speech_equals_the_recorded_speech(shared: Path, tmp_path: Path, name: str) -> None:
    case, recorded = CASES[name], load_file(RECORDINGS / f"{name}.safetensors")
    bundle = load_bundle(folder_of(case, parity=shared / "parity", at=tmp_path / "checkpoint"))
    request = request_of(case, bundle, parity=shared / "parity", work=tmp_path)
    draws = [recorded[key] for key in sorted(recorded) if key.startswith("draw.")]
    if case.how == "offline":
        speech = generate(bundle, TEXT, draws=Draws(recorded=draws), **request)
        torch.testing.assert_close(speech.latent_FD, recorded["latents"], atol=TOLERANCE, rtol=0)
        wave_S = speech.wave_S
        assert [len(wave_S)] == recorded["samples"].tolist()
    else:
        chunks = heard(case, bundle, {**request, "draws": Draws(recorded=draws)})
        assert [len(chunk.wave_S) for chunk in chunks] == recorded["samples"].tolist()
        wave_S = torch.cat([chunk.wave_S for chunk in chunks])
    torch.testing.assert_close(wave_S[::EVERY], recorded["audio"], atol=TOLERANCE, rtol=0)
