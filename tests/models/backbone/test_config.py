"""The configuration of an official directory is read whole, and written without loss."""

from pathlib import Path

import pytest

from models.backbone.config import ModelConfig
from models.runtime.files import read_json
from tests.small import CONFIG, LLM


@pytest.mark.shared
@pytest.mark.parametrize("name", ["tiny_ckpt", "tiny_mf"])
def test_an_official_config_survives_reading_and_writing(shared: Path, name: str) -> None:
    given = read_json(shared / "parity" / name / "config.json")
    given_llm = read_json(shared / "parity" / "tiny_ckpt" / "llm_config.json")
    written, written_llm = ModelConfig.from_dicts(given, given_llm).to_dicts()
    lookahead = {"num_encoder_lookahead": 2, "num_decoder_lookahead": 2}
    assert written == {**given, "vocoder": {**given["vocoder"], **lookahead}}
    assert written_llm == given_llm


def test_unknown_keys_are_kept_at_every_level() -> None:
    table = {
        **CONFIG,
        "later": 1,
        "DiT": {**CONFIG["DiT"], "alibi_bias": True},
        "vocoder": {**CONFIG["vocoder"], "x": 2},
    }
    written, _ = ModelConfig.from_dicts(table, LLM).to_dicts()
    assert written["later"] == 1
    assert written["DiT"]["alibi_bias"] is True
    assert written["vocoder"]["x"] == 2


def test_missing_keys_take_the_official_defaults() -> None:
    config = ModelConfig.from_dicts({"latent_dim": 128, "patch_size": 4}, {"hidden_size": 1536})
    assert (config.semantic_encoder.num_layers, config.semantic_encoder.norm_layer) == (6, "LayerNorm")
    assert (config.dit.num_layers, config.dit.qk_norm) == (18, False)
    assert (config.cfg_droprate, config.unit, config.patch_samples, config.patches_per_second) == (0.2, 5, 7680, 6.25)
    assert not config.mean_velocity


def test_a_rotary_base_of_null_is_what_the_official_layer_takes_then() -> None:
    given = {**CONFIG, "DiT": {**CONFIG["DiT"], "rotary_theta": None}}
    assert ModelConfig.from_dicts(given, LLM).dit.rotary_theta == 50000.0
    assert ModelConfig.from_dicts(CONFIG, LLM).dit.rotary_theta == 10000.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch_size": 3}, "patch_size must be even"),
        ({"latent_dim": None}, "config.json lacks latent_dim"),
        ({"latent_dim": 9}, "vocoder.latent_dim"),
        ({"DiT": {"hidden_size": 30, "num_heads": 4}}, "not a multiple of num_heads"),
        ({"DiT": {"modulation": False}}, "modulation must be true"),
        ({"DiT": {"norm_layer": "BatchNorm"}}, "BatchNorm"),
        ({"PatchEncoder": {"causal": False}}, "causal must be true"),
        ({"sampling": {"solver": "scm", "num_steps": 3}}, "num_steps 2"),
        ({"sampling": {"solver": "euler", "num_steps": 1}}, "must be 'flow_matching' or 'scm'"),
        ({"sampling": {"solver": "scm", "tau_mid": 1.6}}, "tau_mid is 1.6"),
        ({"sampling": {"solver": "scm", "ode_method": "rk4"}}, "must be 'euler'"),
        ({"fm_sigma": 1.0}, "fm_sigma is 1.0"),
        ({"streaming": {"cadence": 1}}, "unknown keys: cadence"),
        ({"streaming": {"interleave_mode": "two_to_one"}}, "interleave_mode is 'two_to_one'"),
        ({"streaming": {"interleave_mode": "buffered_ratio", "ta_per_tta": 0}}, "must be positive"),
    ],
)
def test_a_config_that_no_release_has_is_refused_in_words(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelConfig.from_dicts({**CONFIG, **change}, LLM)
