"""Bundles: what is saved is what is loaded, and what is wrong is told by name."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.bundle import Bundle, BundleError, find_bundle, load_bundle, new_bundle, save_bundle
from models.runtime.generate import generate
from tests.small import small_bundle


def tensors(bundle: Bundle) -> dict[str, torch.Tensor]:
    """Every tensor of a bundle under a name."""
    assert bundle.latent_mean_D is not None
    assert bundle.latent_var_D is not None
    found = {"mean": bundle.latent_mean_D, "var": bundle.latent_var_D}
    for name, network in (("vae", bundle.audiovae), ("speaker", bundle.speaker), ("core", bundle.backbone)):
        assert network is not None
        found |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    for part, state in bundle.training.items():
        found |= {f"{part}.{key}": value for key, value in state.items()}
    return found


def assert_same(first: Bundle, second: Bundle) -> None:
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def broken(small: Bundle, tmp_path: Path) -> Path:
    """A saved bundle, to be broken."""
    save_bundle(small, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_saved_bundle_reloads_bit_equal_after_it_spoke(tmp_path: Path) -> None:
    bundle = small_bundle()
    bundle.training["flow"] = {"a.weight": torch.randn(3, 2), "steps": torch.tensor(7)}
    before = {key: value.clone() for key, value in tensors(bundle).items()}
    generate(bundle, "anything", max_patches=2, num_steps=2)
    save_bundle(bundle, tmp_path / "bundle", card={"stage": "test", "run": "r1"})
    again = load_bundle(tmp_path / "bundle")
    assert all(torch.equal(before[key], value) for key, value in tensors(again).items())
    assert_same(bundle, again)
    assert again.card == {"stage": "test", "run": "r1"}
    assert again.config.to_dicts() == bundle.config.to_dicts()
    assert again.tokenizer.encode("na\u00efve") == bundle.tokenizer.encode("na\u00efve")


def test_loading_and_saving_again_gives_the_same_bytes(broken: Path, tmp_path: Path) -> None:
    save_bundle(load_bundle(broken), tmp_path / "again")
    names = sorted(path.name for path in broken.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (broken / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_new_bundles_of_one_seed_are_equal_and_leave_global_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (small_bundle(seed=seed, backbone=False) for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    same, differ = first.audiovae.state_dict(), other.audiovae.state_dict()
    assert all(torch.equal(value, second.audiovae.state_dict()[key]) for key, value in same.items())
    assert not torch.equal(same["pre_proj.weight"], differ["pre_proj.weight"])


def test_partial_bundle_of_an_audiovae_stage_reloads_with_its_training_parts(tmp_path: Path) -> None:
    bundle = small_bundle(backbone=False)
    bundle.training["discriminator"] = {"weight": torch.ones(2)}
    save_bundle(bundle, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "model.safetensors").exists()
    again = load_bundle(tmp_path / "bundle")
    assert again.backbone is None
    assert again.latent_mean_D is None
    assert torch.equal(again.training["discriminator"]["weight"], torch.ones(2))


def test_vocoder_keys_that_a_file_lacks_take_the_official_defaults(broken: Path) -> None:
    """They are not the released values: such a file lacks a bias and asks for a tanh."""
    config = json.loads((broken / "config.json").read_text())
    for key in ("use_bias_at_final", "use_tanh_at_final"):
        del config["vocoder"][key]
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"vocoder.safetensors: 1 missing: decoder.conv_post.bias"):
        load_bundle(broken)
    del config["vocoder"]["causal"]
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="causal and causal_encoder must both be true"):
        load_bundle(broken)


def test_every_missing_file_is_named(broken: Path) -> None:
    for name in ("llm_config.json", "latent_stats.pt", "tokenizer.json"):
        (broken / name).unlink()
    for name in ("vocab.json", "merges.txt"):
        (broken / name).unlink(missing_ok=True)
    with pytest.raises(BundleError, match=r"missing: latent_stats.pt, llm_config.json, tokenizer.json"):
        load_bundle(broken)


def test_every_missing_unexpected_and_misshapen_tensor_is_named(broken: Path) -> None:
    core = load_file(broken / "model.safetensors")
    del core["hidden_proj.bias"]
    core["surprise"] = torch.zeros(1)
    core["eos_proj.2.weight"] = torch.zeros(3, 32)
    save_file(core, broken / "model.safetensors")
    vocoder = load_file(broken / "vocoder.safetensors")
    del vocoder["post_proj.bias"]
    save_file(vocoder, broken / "vocoder.safetensors")
    with pytest.raises(BundleError) as told:
        load_bundle(broken)
    message = str(told.value)
    assert "model.safetensors: 1 missing: hidden_proj.bias" in message
    assert "1 unexpected: surprise" in message
    assert "1 misshapen: eos_proj.2.weight [3, 32] instead of [2, 32]" in message
    assert "vocoder.safetensors: 1 missing: post_proj.bias" in message


def test_truncated_tensors_and_wrong_statistics_are_sentences(broken: Path) -> None:
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"it ends before .*velocity_field_predictor.output_layer.linear.weight"):
        load_bundle(broken)
    (broken / "model.safetensors").write_bytes(whole[:5])
    with pytest.raises(BundleError, match="it may be truncated"):
        load_bundle(broken)
    (broken / "model.safetensors").write_bytes(whole)
    torch.save({"mean": torch.zeros(8), "var": torch.zeros(5)}, broken / "latent_stats.pt")
    with pytest.raises(BundleError, match=r"var has shape \[5\], and latent_dim is 8"):
        load_bundle(broken)


def test_swapped_and_changed_tensors_are_named(broken: Path) -> None:
    """Names and shapes fit, so only checksums can tell."""
    path = broken / "model.safetensors"
    core = load_file(path)
    first, second = (f"velocity_field_predictor.blocks.0.attn.{name}_proj.weight" for name in "qk")
    core[first], core[second] = core[second], core[first]
    core["eos_proj.2.bias"] += 1
    save_file(core, path)
    with pytest.raises(
        BundleError, match=f"safetensors: 3 not those that were written: eos_proj.2.bias, {second}, {first}"
    ):
        load_bundle(broken)


def test_output_layer_stored_beside_the_embedding_it_is_tied_to_is_read_over(broken: Path, small: Bundle) -> None:
    core = load_file(broken / "model.safetensors")
    core["llm.lm_head.weight"] = core["llm.model.embed_tokens.weight"].clone()
    save_file(core, broken / "model.safetensors")
    assert_same(load_bundle(broken), small)
    core["llm.lm_head.weight"] += 1
    save_file(core, broken / "model.safetensors")
    with pytest.raises(BundleError, match="1 unexpected: llm.lm_head.weight"):
        load_bundle(broken)


def test_output_layer_that_a_file_lacks_is_the_embedding(tmp_path: Path) -> None:
    bundle = small_bundle(llm={"tie_word_embeddings": False})
    save_bundle(bundle, tmp_path / "bundle")
    core = load_file(tmp_path / "bundle" / "model.safetensors")
    del core["llm.lm_head.weight"]
    save_file(core, tmp_path / "bundle" / "model.safetensors")
    (tmp_path / "bundle" / "checksums.json").unlink()  # as in an official directory
    backbone = load_bundle(tmp_path / "bundle").backbone
    assert backbone is not None
    assert torch.equal(backbone.llm.lm_head.weight, backbone.llm.model.embed_tokens.weight)


def test_counters_of_batch_norms_may_be_missing(broken: Path, small: Bundle) -> None:
    speaker = load_file(broken / "speaker_encoder.safetensors")
    kept = {name: value for name, value in speaker.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(speaker)
    save_file(kept, broken / "speaker_encoder.safetensors")
    assert_same(load_bundle(broken), small)


def test_changed_latent_statistics_are_named(broken: Path) -> None:
    stats = torch.load(broken / "latent_stats.pt", weights_only=True)
    torch.save({"mean": stats["mean"] + 5, "var": stats["var"].flip(0)}, broken / "latent_stats.pt")
    with pytest.raises(BundleError, match=r"latent_stats.pt: 2 not those that were written: mean, var"):
        load_bundle(broken)


def test_tensors_that_are_not_finite_are_named(broken: Path) -> None:
    core = load_file(broken / "model.safetensors")
    core["hidden_proj.bias"][3] = float("nan")
    save_file(core, broken / "model.safetensors")
    with pytest.raises(BundleError, match="model.safetensors: 1 not finite: hidden_proj.bias"):
        load_bundle(broken)


def test_hub_models_are_found_in_the_local_cache_and_nowhere_else_unless_asked(broken: Path, tmp_path: Path) -> None:
    cache, commit = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    home = cache / "models--someone--some-model"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    broken.rename(home / "snapshots" / commit)
    assert find_bundle("someone/some-model", cache=cache) == home / "snapshots" / commit
    with pytest.raises(BundleError, match="at revision v2 is neither a folder nor in the hub's local cache.*unless"):
        find_bundle("someone/some-model", revision="v2", cache=cache)
    with pytest.raises(BundleError, match="someone/other is neither a folder"):
        find_bundle("someone/other", cache=cache)
    for path in ("not-there", "/not/there", "a/b/c", "../x/y"):
        with pytest.raises(BundleError, match="there is no bundle at"):
            find_bundle(path, cache=cache)


def test_latent_statistics_that_run_code_are_refused_and_not_run(broken: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"mean": Trap(), "var": Trap()}, broken / "latent_stats.pt")
    with pytest.raises(BundleError, match="holds more than tensors"):
        load_bundle(broken)
    assert not (tmp_path / "ran").exists()


def test_tokenizer_code_in_the_folder_is_refused_without_a_question_and_not_run(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (broken / "own.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nclass Own: pass\n"
    )
    config = json.loads((broken / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (broken / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setattr("builtins.input", lambda *words: "y")
    with pytest.raises(BundleError, match="the tokenizer in .* cannot be read: .*custom code"):
        load_bundle(broken)
    assert not (tmp_path / "ran").exists()


def test_card_cannot_name_files_outside_the_bundle(broken: Path) -> None:
    card = json.loads((broken / "stipple.json").read_text())
    (broken / "stipple.json").write_text(
        json.dumps({**card, "files": [*card["files"], "training/../../x.safetensors"]})
    )
    with pytest.raises(BundleError, match="files that no bundle has"):
        load_bundle(broken)


def test_what_is_no_bundle_is_told_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle at .*nowhere"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="neither it nor bundle/ nor out/bundle/"):
        find_bundle(tmp_path)


def test_bundle_is_found_inside_a_stage_artifact(broken: Path, tmp_path: Path) -> None:
    (tmp_path / "slot" / "out").mkdir(parents=True)
    broken.rename(tmp_path / "slot" / "out" / "bundle")
    expected = tmp_path / "slot" / "out" / "bundle"
    assert [find_bundle(place) for place in (expected, expected.parent, expected.parent.parent)] == [expected] * 3


@pytest.mark.shared
def test_official_directory_survives_a_round_trip(official: Bundle, tmp_path: Path) -> None:
    save_bundle(official, tmp_path / "again")
    assert_same(official, load_bundle(tmp_path / "again"))


@pytest.mark.shared
def test_official_files_hold_the_same_tensor_names_as_ours(
    official: Bundle, official_folder: Path, tmp_path: Path
) -> None:
    save_bundle(official, tmp_path / "again")
    for name in ("model", "vocoder", "speaker_encoder"):
        theirs = load_file(official_folder / f"{name}.safetensors")
        ours = load_file(tmp_path / "again" / f"{name}.safetensors")
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(ours[key], theirs[key].to(ours[key].dtype)) for key in theirs)


@pytest.mark.shared
def test_meanflow_variant_has_a_duration_embedder(distilled: Bundle) -> None:
    assert distilled.config.mean_velocity
    assert distilled.backbone is not None
    assert distilled.backbone.velocity_field_predictor.duration_embedder is not None


@pytest.mark.shared
def test_new_bundle_takes_an_official_tokenizer_and_speaker_encoder(official: Bundle, official_folder: Path) -> None:
    fresh = new_bundle(
        official.config, seed=0, tokenizer=official_folder, speaker=official_folder / "speaker_encoder.safetensors"
    )
    assert fresh.config.llm["vocab_size"] == len(fresh.tokenizer) == 410
    for key, value in official.speaker.state_dict().items():
        assert torch.equal(fresh.speaker.state_dict()[key], value)


@pytest.mark.shared
def test_swapped_files_are_refused_by_name(official_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "swapped"
    shutil.copytree(official_folder, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    shutil.copyfile(official_folder / "vocoder.safetensors", folder / "model.safetensors")
    with pytest.raises(BundleError, match=r"model.safetensors: \d+ missing: .*eos_proj.0.bias"):
        load_bundle(folder)


def test_folder_of_the_hubs_cache_is_told_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "models--owner--model" / "snapshots" / "abc").mkdir(parents=True)
    with pytest.raises(BundleError, match=r"give its hub id \(owner/model\), or .*models--owner--model/snapshots/abc"):
        find_bundle(tmp_path / "models--owner--model")
