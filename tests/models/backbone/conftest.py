"""What the tests of the backbone share: small networks that move, and the recorded tensors of the official package."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.runtime import files
from tests.small import CONFIG, LLM

Tensors = dict[str, Tensor]


def lively(backbone: Backbone, *, seed: int = 0, std: float = 0.15) -> Backbone:
    """The backbone with every matrix random, so that nothing is hidden by zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return backbone.eval()


@pytest.fixture(scope="session")
def make() -> Callable[..., Backbone]:
    """A small lively backbone; keywords change config.json."""

    def build(*, dtype: torch.dtype = torch.float32, **changes: object) -> Backbone:
        dit = {**CONFIG["DiT"], "num_layers": 2, "qk_norm": True}
        table = {**CONFIG, "DiT": dit, **changes}
        return lively(Backbone(ModelConfig.from_dicts(table, {**LLM, "vocab_size": 20}))).to(dtype)

    return build


@pytest.fixture(scope="session")
def fixture(shared: Path) -> Callable[[str], Tensors]:
    """Recorded tensors by name of their file."""
    return lambda name: load_file(shared / "parity" / "fixtures" / f"{name}.safetensors")


@pytest.fixture(scope="session")
def official(shared: Path) -> Callable[[str], Backbone]:
    """The backbone of a checkpoint that the official package wrote."""

    def load(name: str) -> Backbone:
        folder = shared / "parity" / name
        config = files.read_json(folder / "config.json")
        llm = files.read_json(shared / "parity" / "tiny_ckpt" / "llm_config.json")
        backbone = Backbone(ModelConfig.from_dicts(config, llm))
        backbone.load_state_dict(load_file(folder / "model.safetensors"))
        return backbone.eval()

    return load


@pytest.fixture(scope="session")
def close() -> Callable[[Tensor, Tensor], None]:
    """Two tensors agree to 1e-4 of the maximum."""

    def check(found: Tensor, expected: Tensor) -> None:
        assert found.shape == expected.shape
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4

    return check
