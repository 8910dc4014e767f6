"""Latents that are encoded ahead of training are those that training would encode, and lie beside the sound."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.manifest import ManifestError, parse
from models.frozen import WeightsError
from models.runtime.bundle import Bundle, load_bundle, save_bundle
from models.runtime.latents import encoder_digest
from pipelines.clip import Clip, Rejected
from pipelines.manifest import CorpusManifest
from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.members import flac_of, npy_of
from pipelines.packing.verify import verify
from pipelines.packing.writer import write_shard
from pipelines.row import as_row
from pipelines.shards import open_corpus
from pipelines.transforms import latents
from tests.pipelines.packable import Item, segment
from tests.small import small_bundle
from training.data.collate import Utterance, collate
from training.data.draw import Draw
from training.data.prepared import Frontend
from training.data.stream import open_sources
from training.manifest import Data

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "small"
    save_bundle(small_bundle(), path)
    return path


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    made = []
    for number, count in enumerate((30_000, 7_000)):
        noise_S = np.random.default_rng(number).uniform(-0.4, 0.4, count).astype(np.float32)
        wave_S = np.round(noise_S * 32768).astype(np.float32) / 32768
        made.append(Clip(segment(number, samples=count, rate_hz=RATE_HZ), wave_S))
    return made


def encoded(bundle: Path, clips: list[Clip], **settings: object) -> list[Clip]:
    done = latents.Transform(latents.Config(bundle=bundle, **settings))(clips)  # type: ignore[arg-type]
    assert not any(isinstance(clip, Rejected) for clip in done)
    return done  # type: ignore[return-value]


def packed(root: Path, clips: list[Clip]) -> None:
    """A corpus of the clips, with the arrays behind the sound in one file, as the chain keeps them."""
    root.mkdir()
    items = []
    for clip in clips:
        flac, npy = flac_of(clip.wave_S, rate_hz=clip.segment.rate_hz), npy_of(clip.arrays["latent"])
        file = root.parent / f"{clip.segment.key}.flac"
        file.write_bytes(flac + npy)
        places = {"latent": (len(flac), len(npy))}
        items.append(Item(as_row(clip.segment), "all", file, 0, len(flac), arrays=places))
    members = ("latent", "spk")
    shards = [write_shard(root, n, part, members=members) for n, part in enumerate(plan(items, soft_bytes=10**6))]
    finish(root, name="toy", shards=shards, facts={})


def test_latents_of_a_shard_are_those_that_training_encodes(bundle: Path, clips: list[Clip], tmp_path: Path) -> None:
    packed(tmp_path / "toy", encoded(bundle, clips))
    assert verify(tmp_path / "toy") == []
    corpus = open_corpus(tmp_path / "toy")
    frontend = Frontend(load_bundle(bundle))
    for number in range(2):
        sample = corpus.sample(number)
        one = Utterance(sample.key, sample.wave_S, sample.rate_hz, "", None, None)
        draw = Draw(0, 0, [sample.key])
        batch = collate([one], max_clip_seconds=30.0, draw=draw)
        with torch.no_grad():  # as in `prepare`
            drawn_BFD = frontend.latents(batch, draw)
        (found,) = frontend.posteriors.values()
        frontend.posteriors.clear()
        assert sample.latent_FD is not None
        assert sample.latent_log_std_FD is not None
        assert np.array_equal(sample.latent_FD, found.mean_BFD[0].numpy())
        assert np.array_equal(sample.latent_log_std_FD, found.log_std_BFD[0].numpy())
        assert sample.record["latents_by"] == encoder_digest(frontend.audiovae)
        assert sample.record["latent_frames"] == len(sample.latent_FD) == drawn_BFD.shape[1]
        assert sample.xvector_E is not None
        assert sample.xvector_E.tolist() == corpus.rows[number]["xvector"]
        assert len(corpus.sample(number, wave=False).wave_S) == 0


def test_training_reads_latents_by_its_own_encoder_and_encodes_where_they_are_anothers(
    bundle: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(tmp_path / "toy", encoded(bundle, clips))
    data = Data(seconds_per_step=9, held_out=0, min_clip_seconds=0.1)
    (source,) = open_sources(data, folders={"data": tmp_path / "toy"}, needs_text=False)
    read = [source.read(number) for number in range(2)]
    draw = Draw(0, 0, [one.key for one in read])
    batch = collate(read, max_clip_seconds=30.0, draw=draw)
    encoders = [Frontend(load_bundle(bundle)), Frontend(small_bundle(seed=2))]
    encodings = [0, 0]
    for number, frontend in enumerate(encoders):
        encode = frontend.audiovae.encode

        def counting(*words: object, number: int = number, encode: Any = encode) -> Any:
            encodings[number] += 1
            return encode(*words)

        monkeypatch.setattr(frontend.audiovae, "encode", counting)
    with torch.no_grad():
        stored_BFD, other_BFD = (frontend.latents(batch, draw) for frontend in encoders)
        again = Frontend(load_bundle(bundle))
        bare = collate([replace(one, stored=None) for one in read], max_clip_seconds=30.0, draw=draw)
        assert stored_BFD.equal(again.latents(bare, draw))
    assert encodings == [0, 2]
    assert not stored_BFD.equal(other_BFD)
    assert collate(read, max_clip_seconds=0.2, draw=draw).stored == [read[0].stored, None]


def test_members_are_left_out_where_nobody_asks_for_them(bundle: Path, clips: list[Clip], tmp_path: Path) -> None:
    packed(tmp_path / "with", encoded(bundle, clips))
    corpus = open_corpus(tmp_path / "with")
    assert list(corpus.members(0)[1]) == ["flac", "json", "latent.npy", "spk.npy"]
    file = tmp_path / f"{clips[0].segment.key}.flac"
    item = Item(as_row(clips[0].segment), "all", file, 0, 100, arrays={"latent": (0, 10)})
    finish(tmp_path / "without", name="toy", shards=[write_shard(tmp_path / "without", 0, [item])], facts={})
    assert list(open_corpus(tmp_path / "without").members(0)[1]) == ["flac", "json"]


def test_half_precision_is_near_and_half_as_large(bundle: Path, clips: list[Clip]) -> None:
    (whole, *_), (half, *_) = encoded(bundle, clips), encoded(bundle, clips, dtype="float16")
    assert half.arrays["latent"].nbytes * 2 == whole.arrays["latent"].nbytes
    assert np.allclose(half.arrays["latent"], whole.arrays["latent"], rtol=1e-3, atol=1e-3)


def test_fingerprint_follows_the_encoder_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    def print_of(change: Bundle | None, **settings: object) -> str:
        path = bundle if change is None else tmp_path / f"{len(list(tmp_path.iterdir()))}"
        if change is not None:
            save_bundle(change, path)
        return latents.Transform(latents.Config(bundle=path, **settings)).fingerprint  # type: ignore[arg-type]

    first = print_of(None)
    assert print_of(load_bundle(bundle)) == first, "another place"
    tuned = load_bundle(bundle)
    with torch.no_grad():
        next(tuned.audiovae.decoder.parameters()).add_(1.0)
    assert print_of(tuned) == first, "the decoder makes no latents"
    assert print_of(small_bundle(seed=2)) != first
    assert print_of(None, dtype="float16") == first, "settings count beside it"


def test_array_goes_when_the_waveform_changes(bundle: Path, clips: list[Clip]) -> None:
    (clip, *_) = encoded(bundle, clips)
    assert set(clip.with_(text="x").arrays) == {"latent"}
    assert clip.with_(clip.wave_S * 0.5).arrays == {}
    assert replace(clip.segment, latents_by=None).latents_by is None


def test_missing_bundle_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="add `bundle: FOLDER`"):
        latents.Transform(latents.Config())
    with pytest.raises(WeightsError, match="there is no bundle at"):
        latents.Transform(latents.Config(bundle=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("transforms", "members", "told"),
    [
        (["probe", "segment", "latents"], [], "add latent to shards.members"),
        (["probe", "segment"], ["latent"], "latent is what the transform latents makes; add it"),
        (["probe", "segment"], ["spk"], "spk is what the transform speaker makes; add it"),
        (["probe", "segment", "latents", "enhance"], ["latent"], "put latents after it"),
    ],
)
def test_manifest_that_forgets_one_half_is_refused(transforms: list[str], members: list[str], told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        parse(CorpusManifest, {"name": "x", "transforms": transforms, "shards": {"members": members}}, where="x")
