"""The backbone's objective: the official training step, its gradients' ways, what padding and dropping do."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from infra.manifest import ManifestError, parse
from models.runtime.bundle import Bundle, BundleError, load_bundle
from models.runtime.session import Session
from models.text.tokens import INTERLEAVED, encode, prefix
from tests.small import small_bundle
from training.data.draw import Draw
from training.data.prepared import Frontend, Prepared
from training.losses.flow import over_patches, patch_error
from training.losses.stop import stop_loss, stop_weights
from training.objectives import Batch, Term
from training.objectives.backbone import (
    BackbonePlayer,
    Config,
    Noise,
    Objective,
    new_backbone,
)

Value = Callable[[Term], Tensor]
Make = Callable[..., Prepared]
MakeNoise = Callable[[Prepared], Noise]


def moved(network: torch.nn.Module) -> set[str]:
    """Parameters with a gradient that is not zero."""
    return {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


def player_of(bundle: Bundle) -> BackbonePlayer:
    assert bundle.backbone is not None
    return BackbonePlayer(bundle.backbone, hidden_drop=0.0, speaker_drop=0.0)


# ---- parity ----


@pytest.mark.shared
def test_a_training_step_is_the_official_one_with_all_its_gradients(shared: Path, value: Value) -> None:
    bundle = load_bundle(shared / "parity" / "tiny_ckpt")
    recorded = load_file(shared / "parity" / "fixtures" / "train_step.safetensors")
    assert bundle.backbone is not None
    assert bundle.latent_mean_D is not None
    assert bundle.latent_var_D is not None
    bundle.backbone.requires_grad_(True)
    raw = recorded["prep.latents"].transpose(1, 2)
    latent = raw[..., :16] + recorded["rng.000.randn_like"].transpose(1, 2) * raw[..., 16:].exp()
    assert torch.allclose(latent, recorded["prep.latents_sampled"], atol=1e-5)
    prepared = Prepared(
        ids_BL=recorded["batch.input_ids"],
        audio_BL=recorded["batch.input_span_mask"],
        speaks_BL=recorded["batch.output_span_mask"],
        latent_BFD=latent,
        clean_BFD=(latent - bundle.latent_mean_D) / bundle.latent_var_D.sqrt(),
        patches_B=recorded["batch.num_audio_tokens"],
        xvector_BE=recorded["prep.xvector"],
    )
    noise = Noise(
        noise_BFD=recorded["rng.003.randn_like"],
        time_B=recorded["rng.004.rand"],
        keep_hidden_B=recorded["rng.002.uniform_"] >= bundle.config.cfg_droprate,
        keep_speaker_B=recorded["rng.001.uniform_"] >= bundle.config.xvec_drop_rate,
    )
    terms = player_of(bundle).terms(prepared, noise)
    assert float(value(terms["flow/velocity"]).detach()) == pytest.approx(float(recorded["loss.fm_loss"]), rel=1e-5)
    assert float(value(terms["stop/bce"]).detach()) == pytest.approx(float(recorded["loss.eos_loss"]), rel=1e-5)
    (value(terms["flow/velocity"]) + value(terms["stop/bce"])).backward()
    gradients = {name: parameter.grad for name, parameter in bundle.backbone.named_parameters()}
    assert {f"grad.{name}" for name in gradients} == {name for name in recorded if name.startswith("grad.")}
    for name, found in gradients.items():
        expected = recorded[f"grad.{name}"]
        assert found is not None
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4, name
    norm = torch.nn.utils.clip_grad_norm_(bundle.backbone.parameters(), 1.0)
    assert float(norm) == pytest.approx(float(recorded["grad_norm"]), rel=1e-5)
    torch.optim.AdamW(bundle.backbone.parameters(), lr=1e-3, weight_decay=0.01).step()
    for name in [name for name in recorded if name.startswith("after_adamw.")]:
        weight = bundle.backbone.get_parameter(name.removeprefix("after_adamw."))
        assert torch.allclose(weight, recorded[name], atol=2e-5), name


# ---- losses ----


def test_the_stop_loss_of_a_head_that_knows_nothing_is_ln_2(value: Value) -> None:
    for patches in ([1], [2], [7], [1, 2, 7]):
        logits = torch.zeros(len(patches), max(patches), 2)
        assert float(value(stop_loss(logits, torch.tensor(patches)))) == pytest.approx(math.log(2))


def test_half_of_the_stop_weight_lies_on_the_last_patch() -> None:
    weights = stop_weights(torch.tensor([4, 1, 2]), 4)
    expected = [[1 / 6, 1 / 6, 1 / 6, 0.5], [1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    assert torch.allclose(weights, torch.tensor(expected))


def test_the_stop_loss_is_equation_4(value: Value) -> None:
    logits = torch.randn(1, 3, 2)
    stop = logits.softmax(-1)[0, :, 1]
    expected = -0.5 * stop[2].log() - ((1 - stop[0]).log() + (1 - stop[1]).log()) / 4
    assert float(value(stop_loss(logits, torch.tensor([3])))) == pytest.approx(float(expected))


def test_padding_never_reaches_a_loss(value: Value) -> None:
    said, wanted = torch.randn(1, 8, 3), torch.randn(1, 8, 3)
    said[:, 4:] = math.nan
    error = patch_error(said, wanted, frames=4)
    term = over_patches(error, torch.tensor([[True, False]]))
    assert float(value(term)) == pytest.approx(float((said - wanted)[:, :4].square().mean()))
    assert float(term.count) == 1


def test_a_new_backbone_starts_at_the_loss_of_silence(
    bundle: Bundle, prepared: Make, noise: MakeNoise, value: Value
) -> None:
    """The head of a new backbone says zero: the loss is E (x1 - x0)^2 = 2 for normalized latents, and ln 2."""
    fresh = replace(bundle, backbone=new_backbone(bundle, seed=0))
    batch = prepared(bundle, patches=(12,) * 12)
    batch = replace(batch, clean_BFD=batch.latent_BFD)  # standard normal
    terms = player_of(fresh).terms(batch, noise(batch))
    assert float(value(terms["flow/velocity"]).detach()) == pytest.approx(2.0, abs=0.1)
    assert float(value(terms["stop/bce"]).detach()) == pytest.approx(math.log(2), abs=0.1)


# ---- gradients ----


def test_each_loss_moves_its_own_parameters(bundle: Bundle, prepared: Make, noise: MakeNoise) -> None:
    assert bundle.backbone is not None
    player, batch = player_of(bundle), prepared(bundle)
    every = {name for name, _ in bundle.backbone.named_parameters()}
    stop_head = {name for name in every if name.startswith("eos_proj")}
    player.terms(batch, noise(batch))["stop/bce"].total.backward()
    assert moved(bundle.backbone) == stop_head
    bundle.backbone.zero_grad()
    player.terms(batch, noise(batch))["flow/velocity"].total.backward()
    # a bias on every key of a softmax changes nothing, so its gradient is zero but for rounding
    keys = {name for name in every if name.endswith("self_attn.k_proj.bias")}
    assert moved(bundle.backbone) - keys == every - stop_head - keys


def test_stage_1_leaves_the_llm_alone_and_trains_through_it(bundle: Bundle, prepared: Make, noise: MakeNoise) -> None:
    objective = Objective(Config(freeze=("llm",)), bundle, seed=0)
    player, batch = objective.players["backbone"], prepared(bundle)
    assert isinstance(player, BackbonePlayer)
    terms = player.terms(batch, noise(batch))
    (terms["flow/velocity"].total + terms["stop/bce"].total).backward()
    every = {name for name, _ in player.named_parameters()}
    assert moved(player) == {name for name in every if ".llm." not in name}
    assert not any(p.requires_grad for p in objective.frontend.parameters())


# ---- independence of the batch ----


def test_a_batch_is_the_sum_of_its_utterances(
    bundle: Bundle, batch: Batch, draw: Draw, alone: Callable[[Batch, int], Batch]
) -> None:
    """Same numbers for a sample in whatever batch it travels: latents, x-vectors, ids, noise, losses."""
    objective = Objective(Config(layouts={"plain": 0.5, "interleaved": 0.5}), bundle, seed=0)
    player = objective.players["backbone"]
    together = player(objective.prepare(batch, draw), draw)
    apart = []
    for row, key in enumerate(batch.keys):
        own = replace(draw, keys=[key])
        apart.append(player(objective.prepare(alone(batch, row), own), own))
    for name, term in together.items():
        assert float(term.count) == pytest.approx(sum(float(terms[name].count) for terms in apart))
        total = sum(float(terms[name].total.detach()) for terms in apart)
        assert float(term.total.detach()) == pytest.approx(total, rel=1e-4)


def test_accumulated_gradients_equal_those_of_one_batch(bundle: Bundle, prepared: Make, noise: MakeNoise) -> None:
    assert bundle.backbone is not None
    player, batch = player_of(bundle), prepared(bundle, patches=(4, 4, 4, 4))
    every = noise(batch)
    terms = player.terms(batch, every)
    count = terms["flow/velocity"].count
    (terms["flow/velocity"].total / count).backward()
    whole = {name: p.grad.clone() for name, p in bundle.backbone.named_parameters() if p.grad is not None}
    bundle.backbone.zero_grad()
    for row in range(4):
        one = replace(batch, **{name: getattr(batch, name)[row : row + 1] for name in batch.__dataclass_fields__})
        part = replace(every, **{name: getattr(every, name)[row : row + 1] for name in every.__dataclass_fields__})
        (player.terms(one, part)["flow/velocity"].total / count).backward()
    for name, parameter in bundle.backbone.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, whole[name], rtol=1e-4, atol=1e-6), name


# ---- draws ----


def test_conditions_are_dropped_at_their_rates_and_independently(bundle: Bundle, prepared: Make) -> None:
    count = 4000
    one = prepared(bundle, patches=(1,))
    like = replace(one, patches_B=torch.ones(count, dtype=torch.long))
    found = Noise.drawn(Draw(1, 2, [str(n) for n in range(count)]), like, hidden_drop=0.3, speaker_drop=0.5)
    hidden, speaker = ~found.keep_hidden_B, ~found.keep_speaker_B
    for dropped, rate in ((hidden, 0.3), (speaker, 0.5), (hidden & speaker, 0.15)):
        assert float(dropped.float().mean()) == pytest.approx(rate, abs=3 * math.sqrt(rate * (1 - rate) / count))
    assert float(found.time_B.mean()) == pytest.approx(0.5, abs=0.02)


def test_a_dropped_condition_is_the_unconditional_branch(bundle: Bundle, prepared: Make, noise: MakeNoise) -> None:
    assert bundle.backbone is not None
    batch = prepared(bundle)
    nothing = torch.zeros(2, dtype=torch.bool)
    every = noise(batch)
    dropped = replace(every, keep_hidden_B=nothing, keep_speaker_B=nothing)
    other = replace(batch, xvector_BE=batch.xvector_BE + 1, ids_BL=torch.where(batch.audio_BL, batch.ids_BL, 7))
    found = [float(player_of(bundle).terms(b, dropped)["flow/velocity"].total.detach()) for b in (batch, other)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    kept = [float(player_of(bundle).terms(b, every)["flow/velocity"].total.detach()) for b in (batch, other)]
    assert kept[0] != pytest.approx(kept[1], rel=1e-4)


def test_layouts_are_mixed_by_their_shares(bundle: Bundle, batch: Batch) -> None:
    frontend = Frontend(bundle)
    shares = {"plain": 1.0, "interleaved": 3.0}
    kinds = []
    for step in range(100):
        draw = Draw(0, step, batch.keys)
        examples = frontend.examples(batch, draw, layouts=shares, language_tag=0.0)
        kinds += [261 in example.ids and 260 not in example.ids for example in examples]
    assert sum(kinds) / len(kinds) == pytest.approx(0.75, abs=0.08)


def test_text_and_patches_alternate_as_the_bundle_will_be_asked_to_speak(batch: Batch, draw: Draw) -> None:
    found = {}
    for mode in ("one_to_one", "buffered_ratio"):
        bundle = small_bundle(streaming={"interleave_mode": mode})
        text = Session(bundle, seed=0).cadence
        assert text.interleave_mode == mode
        examples = Frontend(bundle).examples(batch, draw, layouts={"interleaved": 1.0}, language_tag=0.0)
        start = len(encode(bundle.tokenizer, INTERLEAVED))
        found[mode] = [example.audio[start:].index(True) for example in examples]
    assert found == {"one_to_one": [1, 1, 1], "buffered_ratio": [3, 3, 3]}


def test_a_caption_comes_whole_before_the_first_patch_and_without_a_tag(
    bundle: Bundle, batch: Batch, draw: Draw
) -> None:
    batch = replace(batch, templates=["tts", "text_to_audio", "tts"])
    examples = Frontend(bundle).examples(batch, draw, layouts={"interleaved": 1.0}, language_tag=1.0)
    wanted = prefix(bundle.tokenizer, "two words", template="text_to_audio")
    assert examples[1].ids[: len(wanted)] == wanted
    assert not any(examples[1].audio[: len(wanted)])
    texts = [bundle.tokenizer.decode(example.ids) for example in examples]
    assert [INTERLEAVED in text for text in texts] == [True, False, True]


def test_texts_carry_their_language_as_often_as_asked(bundle: Bundle, batch: Batch, draw: Draw) -> None:
    frontend = Frontend(bundle)
    for share, expected in ((0.0, [False] * 3), (1.0, [True, True, False])):
        examples = frontend.examples(batch, draw, layouts={"plain": 1.0}, language_tag=share)
        texts = [bundle.tokenizer.decode(example.ids) for example in examples]
        assert [("[EN]" in text or "[ZH]" in text) for text in texts] == expected


# ---- bundles ----


def test_a_language_that_no_tag_stands_for_is_trained_without_one(bundle: Bundle, batch: Batch, draw: Draw) -> None:
    frontend = Frontend(bundle)
    plain = frontend.examples(batch, draw, layouts={"plain": 1.0}, language_tag=0.0)
    batch.languages = ["und", "tok pisin", None]
    assert frontend.examples(batch, draw, layouts={"plain": 1.0}, language_tag=1.0) == plain
    batch.languages = ["en", "tok pisin", None]
    assert frontend.examples(batch, draw, layouts={"plain": 1.0}, language_tag=1.0)[0] != plain[0]


def test_a_new_backbone_takes_the_trained_semantic_encoder(bundle: Bundle) -> None:
    trained = {name: torch.randn_like(t) for name, t in new_backbone(bundle, seed=1).patch_encoder.state_dict().items()}
    made = new_backbone(replace(bundle, training={"semantic_encoder": trained}), seed=2)
    assert all(torch.equal(made.patch_encoder.state_dict()[name], trained[name]) for name in trained)
    name = "in_proj.weight"
    with pytest.raises(BundleError, match=name):
        new_backbone(replace(bundle, training={"semantic_encoder": {**trained, name: torch.ones(3)}}), seed=2)


def test_a_new_backbone_starts_from_a_local_qwen2(bundle: Bundle, tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    table = {key: value for key, value in bundle.config.llm.items() if key != "model_type"}
    torch.manual_seed(5)
    given = Qwen2ForCausalLM(Qwen2Config(**{**table, "vocab_size": 250}))
    given.save_pretrained(str(tmp_path))
    made = new_backbone(bundle, seed=0, llm_init=tmp_path).llm
    assert torch.equal(made.model.layers[0].mlp.up_proj.weight, given.model.layers[0].mlp.up_proj.weight)
    assert torch.equal(made.model.embed_tokens.weight[:250], given.model.embed_tokens.weight)
    assert made.model.embed_tokens.weight.shape[0] == len(bundle.tokenizer)
    with pytest.raises(ValueError, match="holds no .safetensors file"):
        new_backbone(bundle, seed=0, llm_init=tmp_path / "absent")


def test_weights_are_a_function_of_the_seed(bundle: Bundle) -> None:
    one, same, other = (new_backbone(bundle, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["hidden_proj.weight"], other["hidden_proj.weight"])


def test_finish_gives_a_bundle_that_can_be_trained_again(bundle: Bundle) -> None:
    objective = Objective(Config(freeze=("llm",), hidden_drop=0.5, speaker_drop=0.25), bundle, seed=0)
    made = objective.finish([])
    assert made.backbone is not None
    assert all(parameter.requires_grad for parameter in made.backbone.parameters())
    assert (made.config.cfg_droprate, made.config.xvec_drop_rate) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"meanflow": {"enabled": True}}, "MeanFlow distilled this bundle"),
        ({"sampling": {"solver": "flow_matching", "num_steps": 1}}, r"of 1 fixed step\(s\) \(flow_matching\)"),
    ],
)
def test_a_distilled_bundle_is_not_trained_on_as_if_it_were_a_velocity(config: dict[str, object], told: str) -> None:
    with pytest.raises(BundleError, match=told):
        Objective(Config(), small_bundle(**config), seed=0)


def test_a_bundle_without_statistics_is_refused_in_words() -> None:
    with pytest.raises(BundleError, match="no latent statistics"):
        Objective(Config(), small_bundle(backbone=False), seed=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layouts": {"plain": 0}}, "not all 0"),
        ({"layouts": {"sideways": 1}}, "sideways"),
        ({"hidden_drop": 1.5}, "hidden_drop"),
        ({"weights": {"flow/speed": 1}}, "flow/speed"),
    ],
)
def test_mistakes_in_settings_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        parse(Config, settings, where="objective")
