"""A broken checkpoint is a sentence that names the file, whatever is broken in it."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.bundle import Bundle, BundleError, load_bundle, save_bundle
from models.runtime.files import read_stats
from models.runtime.generate import Options, generate
from models.runtime.latents import LatentEncoder
from tests.small import small_bundle

TWO_PATCHES: Options = {"max_patches": 2, "num_steps": 1, "stop_threshold": 1.0}


@pytest.fixture(scope="module")
def whole(small: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved bundle."""
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    save_bundle(small, folder)
    return folder


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def change(folder: Path, name: str, path: str, value: Any) -> None:
    """Set a key (`a.b`) of a JSON file."""
    table = json.loads((folder / name).read_text())
    *outer, key = path.split(".")
    inner = table
    for one in outer:
        inner = inner[one]
    inner[key] = value
    (folder / name).write_text(json.dumps(table))


CONFIGS: dict[str, tuple[str, Any, str]] = {
    "table that is a number": ("DiT", 5, "DiT should be a table, but is 5"),
    "table that is a flag": ("meanflow", True, "meanflow should be a table"),
    "table that is a list": ("PatchEncoder", [], "PatchEncoder should be a table"),
    "table that is a word": ("vocoder", "x", "vocoder should be a table"),
    "count in quotes": ("DiT.num_layers", "2", "DiT.num_layers is '2', which is not of its type"),
    "count with a fraction": ("latent_dim", 16.0, "latent_dim is 16.0, which is not of its type"),
    "rates in quotes": ("vocoder.upsample_rates", ["2"], "vocoder.upsample_rates is .* not of its type"),
    "flag that is a number": ("vocoder.causal", 1, "vocoder.causal is 1, which is not of its type"),
    "infinite rate": ("cfg_droprate", float("inf"), "cfg_droprate is inf, which is not of its type"),
    "no heads": ("DiT.num_heads", 0, "DiT.num_heads is 0, but must be positive"),
    "no rate": ("vocoder.sample_rate", 0, "vocoder.sample_rate is 0, but must be positive"),
    "negative patch": ("patch_size", -2, "patch_size is -2, but must be positive"),
    "no recurrent layers": ("vocoder.mi_num_layers", 0, "vocoder.mi_num_layers is 0, but must be positive"),
    "no rotary base": ("DiT.rotary_theta", 0, "DiT.rotary_theta is 0, but must be positive"),
    "solver": ("sampling", {"solver": 3}, "sampling.solver is 3, which is not of its type"),
}

LLM_CONFIGS: dict[str, tuple[str, Any, str]] = {
    "activation": ("hidden_act", "no_such", "no_such"),
    "rope": ("rope_scaling", {"rope_type": "no_such", "factor": 2.0}, ""),
    "yarn": ("rope_scaling", {"rope_type": "yarn", "factor": 2.0}, "rope_type is 'yarn'"),
    "windows": ("use_sliding_window", True, "use_sliding_window is true"),
    "layers with windows": ("layer_types", ["sliding_attention"], "layer_types has sliding_attention"),
    "too few layers": ("layer_types", [], ""),
    "width in quotes": ("hidden_size", "32", "hidden_size"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_wrong_value_in_config_json_is_named(broken: Path, name: str) -> None:
    key, value, words = CONFIGS[name]
    change(broken, "config.json", key, value)
    with pytest.raises(BundleError, match=f"bundle: config.json or .* cannot be used: .*{words}"):
        load_bundle(broken)
    with pytest.raises(BundleError, match=f"cannot be used: .*{words}"):
        LatentEncoder(broken)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fm_sigma", 0),
        ("cfg_droprate", 0),
        ("xvec_drop_rate", 0),
        ("xvec_max_audio_seconds", 0),
        ("xvec_max_audio_seconds", -1),
        ("DiT.dropout", 0),
        ("sampling", {"solver": "flow_matching", "num_steps": 1, "guidance_scale": 0}),
        ("streaming", {"interleave_mode": "one_to_one", "initial_lookahead": 0, "ta_per_tta": 0, "warmup_ta": 0}),
    ],
)
def test_zero_that_the_official_package_takes_is_taken(broken: Path, key: str, value: Any) -> None:
    """JSON has one kind of number, and some writers leave out a fraction that is zero."""
    change(broken, "config.json", key, value)
    assert generate(load_bundle(broken), "hello", max_patches=1).patches == 1


@pytest.mark.parametrize("name", LLM_CONFIGS)
def test_wrong_value_in_llm_config_json_is_a_sentence(broken: Path, name: str) -> None:
    key, value, words = LLM_CONFIGS[name]
    change(broken, "llm_config.json", key, value)
    with pytest.raises(BundleError, match=f"llm_config.json cannot be used: .*{words}"):
        load_bundle(broken)


def test_encoder_alone_takes_the_official_rate_where_config_json_lacks_one(broken: Path) -> None:
    table = json.loads((broken / "config.json").read_text())
    del table["vocoder"]["sample_rate"]
    (broken / "config.json").write_text(json.dumps(table))
    assert LatentEncoder(broken).rate_hz == 24000


def test_llm_without_a_width_is_a_sentence(broken: Path) -> None:
    table = json.loads((broken / "llm_config.json").read_text())
    del table["hidden_size"]
    (broken / "llm_config.json").write_text(json.dumps(table))
    with pytest.raises(BundleError, match=r"llm_config.json cannot be used: KeyError 'hidden_size'"):
        load_bundle(broken)


def test_how_transformers_hands_results_over_does_not_matter(broken: Path) -> None:
    change(broken, "llm_config.json", "return_dict", False)
    assert generate(load_bundle(broken), "hello", max_patches=1, num_steps=1).patches == 1


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_that_llm_config_json_names_does_not_matter(tmp_path: Path, key: str) -> None:
    bundle = small_bundle(llm={"initializer_range": 0.5, "num_hidden_layers": 2})
    save_bundle(bundle, tmp_path / "bundle")
    plain = generate(bundle, "hello", **TWO_PATCHES)
    for how in ("eager", "flash_attention_2"):
        change(tmp_path / "bundle", "llm_config.json", key, how)
        made = generate(load_bundle(tmp_path / "bundle"), "hello", **TWO_PATCHES)
        torch.testing.assert_close(made.latent_FD, plain.latent_FD)


def test_statistics_in_arrays_of_numpy_or_lists_are_read_as_tensors_are(broken: Path) -> None:
    right = torch.load(broken / "latent_stats.pt", weights_only=True)
    for given in (
        {name: value.numpy() for name, value in right.items()},
        {name: value.numpy().astype(np.float64) for name, value in right.items()},
        {name: value.tolist() for name, value in right.items()},
    ):
        torch.save(given, broken / "latent_stats.pt")
        bundle = load_bundle(broken)
        assert bundle.latent_mean_D is not None
        assert bundle.latent_var_D is not None
        assert torch.equal(bundle.latent_mean_D, right["mean"])
        assert torch.equal(bundle.latent_var_D, right["var"])


def test_statistics_with_a_flipped_bit_or_cut_short_load_or_are_a_sentence(broken: Path) -> None:
    path = broken / "latent_stats.pt"
    right, draw = path.read_bytes(), random.Random(0)
    refused = []
    for number in range(300):
        wrong = bytearray(right)
        wrong[draw.randrange(len(wrong))] ^= 1 << draw.randrange(8)
        path.write_bytes(wrong if number else b"")
        try:
            read_stats(path, width=8)
        except BundleError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(sentence.startswith(str(path)) for sentence in refused)


@pytest.mark.parametrize(
    "mean", [["a"] * 8, torch.zeros(8, dtype=torch.complex64), torch.zeros(8).to_sparse(), 3, torch.zeros(8).float()]
)
def test_statistics_that_are_no_numbers_are_a_sentence(broken: Path, mean: Any) -> None:
    torch.save({"mean": mean, "var": torch.zeros(8)}, broken / "latent_stats.pt")
    with pytest.raises(BundleError, match=r"latent_stats.pt"):
        load_bundle(broken)


def write(name: str, text: str) -> Callable[[Path], None]:
    """Put a text into a file."""
    return lambda folder: (folder / name).write_text(text) and None


def float8(folder: Path) -> None:
    """A core in a type of 8 bits."""
    core = load_file(folder / "model.safetensors")
    core["hidden_proj.bias"] = core["hidden_proj.bias"].to(torch.float8_e4m3fn)
    save_file(core, folder / "model.safetensors")


def strange_header(folder: Path) -> None:
    """A header that is JSON, and no header."""
    header = b'{"a":5}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"0" * 9)


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "tokenizer's configuration": (write("tokenizer_config.json", "[1]"), "the tokenizer in .* cannot be read"),
    "tokenizer": (write("tokenizer.json", '{"model": 5}'), "the tokenizer in .* cannot be read"),
    "deep tokenizer": (write("tokenizer.json", "[" * 100000), "the tokenizer in .* cannot be read"),
    "checksums": (write("checksums.json", '{"model.safetensors": 5}'), "checksums.json: what it says of model.safet"),
    "deep configuration": (write("config.json", "[" * 100000), "config.json cannot be read as JSON"),
    "deep card": (write("stipple.json", "[" * 100000), "stipple.json cannot be read as JSON"),
    "types of tensors": (float8, "model.safetensors has tensors of types that are not read here: torch.float8_e4m3fn"),
    "header of tensors": (strange_header, "model.safetensors cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_broken_file_is_named(broken: Path, name: str) -> None:
    how, words = FILES[name]
    how(broken)
    with pytest.raises(BundleError, match=words):
        load_bundle(broken)


def test_tokenizer_without_the_special_tokens_is_refused_when_it_is_loaded(broken: Path) -> None:
    text = (broken / "tokenizer.json").read_text()
    (broken / "tokenizer.json").write_text(text.replace("<|audio_gen_span|>", "<|audio_gen_spam|>"))
    config = (broken / "tokenizer_config.json").read_text()
    (broken / "tokenizer_config.json").write_text(config.replace("<|audio_gen_span|>", "<|audio_gen_spam|>"))
    with pytest.raises(BundleError, match=r"the tokenizer lacks <\|audio_gen_span\|>"):
        load_bundle(broken)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool])
def test_weights_of_whole_numbers_are_refused(broken: Path, kind: torch.dtype) -> None:
    weights = load_file(broken / "model.safetensors")
    weights["eos_proj.0.bias"] = weights["eos_proj.0.bias"].to(kind)
    save_file(weights, broken / "model.safetensors")
    (broken / "checksums.json").unlink()
    with pytest.raises(BundleError, match=r"1 of whole numbers instead of numbers with a fraction: eos_proj\.0\.bias"):
        load_bundle(broken)


@pytest.mark.parametrize("name", ["model.safetensors", "latent_stats.pt", "tokenizer.json"])
def test_pointers_of_a_clone_without_its_large_files_are_called_so(broken: Path, name: str) -> None:
    (broken / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4400000000\n")
    with pytest.raises(BundleError, match=rf"pointers of Git LFS in the place of {name}: run `git lfs pull`"):
        load_bundle(broken)
