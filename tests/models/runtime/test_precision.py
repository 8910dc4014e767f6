"""A bundle on a device, at a precision: what is cast, what is not, and what cannot be had."""

import dataclasses

import pytest
import torch

from models.runtime.bundle import Bundle, BundleError
from models.runtime.generate import generate
from models.runtime.precision import Precision, place
from models.runtime.session import Session
from tests.models.runtime.voices import voice
from tests.small import small_bundle


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0.0), ("bfloat16", 0.3)])
def test_placed_bundle_speaks_at_its_precision(precision: Precision, tolerance: float) -> None:
    options = {"max_patches": 2, "num_steps": 2, "stop_threshold": 1.0, "prompt_audio": voice(), "prompt_text": "h"}
    expected = generate(small_bundle(), "hello", **options)  # type: ignore[arg-type]
    bundle = place(small_bundle(), precision=precision)
    assert bundle.backbone is not None
    assert bundle.backbone.dtype == getattr(torch, precision)
    assert next(bundle.audiovae.parameters()).dtype == next(bundle.speaker.model.parameters()).dtype == torch.float32
    found = generate(bundle, "hello", **options)  # type: ignore[arg-type]
    assert float((found.latent_FD - expected.latent_FD).abs().max()) <= tolerance
    session = Session(bundle, num_steps=2, max_patches=3, stop_threshold=1.0)
    assert [*session.push("hi you"), *session.finish()][-1].finish_reason == "length"


def test_rotary_frequencies_are_rounded_with_bfloat16_in_released_checkpoints_or_on_demand() -> None:
    def frequencies(card: dict[str, str], precision: Precision, round_rotary: bool | None) -> torch.Tensor:
        bundle = dataclasses.replace(small_bundle(), card=card)
        placed = place(bundle, precision=precision, round_rotary=round_rotary)
        assert placed.backbone is not None
        return placed.backbone.llm.model.rotary_emb.inv_freq.clone()

    ours = {"stage": "backbone"}
    exact = frequencies(ours, "float32", None)
    rounded = exact.bfloat16().float()
    assert not torch.equal(exact, rounded)
    for card, precision, how, expected in (
        ({}, "bfloat16", None, rounded),
        ({}, "bfloat16", False, exact),
        ({}, "float32", None, exact),
        (ours, "bfloat16", None, exact),
        (ours, "bfloat16", True, rounded),
    ):
        assert torch.equal(frequencies(card, precision, how), expected)  # type: ignore[arg-type]


def test_unknown_precision_or_device_is_a_sentence(small: Bundle) -> None:
    with pytest.raises(BundleError, match="unknown precision 'int3'; there are: float32, bfloat16"):
        place(small, precision="int3")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="device tpu:7 cannot be used here"):
        place(small, device="tpu:7")
