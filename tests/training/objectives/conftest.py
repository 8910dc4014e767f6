"""What the tests of the backbone's objectives share: a small bundle, batches of sound, and batches made by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.backbone.backbone import Backbone
from models.runtime.bundle import Bundle
from tests.small import small_bundle
from training.data.draw import Draw
from training.data.prepared import Prepared, stacked
from training.objectives import Batch, Term
from training.objectives.backbone import Noise

PATCH = 7680


def lively(backbone: Backbone, *, seed: int = 0) -> Backbone:
    """Every matrix random, so that no gradient is hidden by a zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    return backbone


@pytest.fixture
def bundle() -> Bundle:
    """A small whole bundle whose backbone moves."""
    made = small_bundle()
    assert made.backbone is not None
    lively(made.backbone)
    return made


@pytest.fixture
def batch() -> Batch:
    """Three utterances of 3, 2 and 5 patches."""
    lengths = torch.tensor([3, 2, 5]) * PATCH
    generator = torch.Generator().manual_seed(7)
    wave_BS = 0.1 * torch.randn(3, int(lengths.max()), generator=generator)
    for row, length in enumerate(lengths):
        wave_BS[row, length:] = 0
    return Batch(
        keys=["a", "b", "c"],
        wave_BS=wave_BS,
        length_B=lengths,
        texts=["one", "two words", "three"],
        languages=["en", "zh", None],
        speakers=[None, None, None],
    )


@pytest.fixture
def draw() -> Draw:
    return Draw(seed=3, step=5, keys=["a", "b", "c"])


@pytest.fixture
def alone() -> Callable[[Batch, int], Batch]:
    """One utterance of a batch, without its padding."""

    def pick(batch: Batch, row: int) -> Batch:
        length = int(batch.length_B[row])
        return Batch(
            keys=[batch.keys[row]],
            wave_BS=batch.wave_BS[row : row + 1, :length],
            length_B=batch.length_B[row : row + 1],
            texts=[batch.texts[row]],
            languages=[batch.languages[row]],
            speakers=[batch.speakers[row]],
        )

    return pick


@pytest.fixture
def prepared() -> Callable[..., Prepared]:
    """A prepared batch of random latents, in any precision: the entry that needs no audio."""

    def make(bundle: Bundle, *, patches: tuple[int, ...] = (3, 2), dtype: torch.dtype = torch.float32) -> Prepared:
        from models.text.tokens import training_example

        generator = torch.Generator().manual_seed(11)
        layouts = ("plain", "interleaved")
        rows = [
            training_example(bundle.tokenizer, "abc", patches=count, layout=layouts[row % 2])
            for row, count in enumerate(patches)
        ]
        shape = (len(patches), 4 * max(patches), bundle.config.latent_dim)
        latent = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for row, count in enumerate(patches):
            latent[row, 4 * count :] = 0
        xvector = torch.randn(len(patches), 512, generator=generator, dtype=torch.float64).to(dtype)
        return Prepared(*stacked(rows), latent, 1.5 * latent + 0.1, torch.tensor(patches), xvector)

    return make


@pytest.fixture
def noise() -> Callable[..., Noise]:
    """Draws of the flow loss for a prepared batch, nothing dropped."""

    def make(like: Prepared) -> Noise:
        generator = torch.Generator().manual_seed(13)
        clean = like.clean_BFD
        B = len(clean)
        return Noise(
            torch.randn(clean.shape, generator=generator, dtype=torch.float64).to(clean.dtype),
            torch.rand(B, generator=generator, dtype=torch.float64).to(clean.dtype),
            torch.ones(B, dtype=torch.bool),
            torch.ones(B, dtype=torch.bool),
        )

    return make


@pytest.fixture
def value() -> Callable[[Term], Tensor]:
    """What a term comes to."""
    return lambda term: term.total / term.count
