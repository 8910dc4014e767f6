"""Metrics on examples that can be checked by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from infra.manifest import Entry
from models.frozen import Heard, WeightsError
from models.frozen.dnsmos import Dnsmos
from pipelines.evaluation.metrics import Column, Utterance, dnsmos, mel, speaker, stoi, stops, utmos, wer
from pipelines.evaluation.scores import Summary, interval, measure, summarize
from pipelines.row import Wave
from tests.utmos_checkpoint import speechmos
from tests.wavlm_sv_checkpoint import release


def tone(*, seconds: float = 1.0, hertz: float = 300.0, rate_hz: int = 16000) -> Wave:
    """Syllables of a harmonic tone: enough like speech for STOI and the speaker network."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = sum(np.sin(2 * np.pi * hertz * number * time) / number for number in range(1, 9))
    return (0.1 * wave * np.maximum(0, np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def noisy(wave_S: Wave, level: float) -> Wave:
    return wave_S + level * np.random.default_rng(0).standard_normal(len(wave_S)).astype(np.float32)


def pair(made_S: Wave, input_S: Wave) -> Utterance:
    return Utterance(key="k", wave_S=made_S, rate_hz=16000, against_S=input_S, against_rate_hz=16000, aligned=True)


class Ears:
    """A recognizer that hears by the first sample: a number that stands for a key."""

    RATE_HZ = 16000
    fingerprint = "ears/1"

    def __init__(self, heard: dict[str, str]) -> None:
        self.heard = heard
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[Heard]:
        keys = [str(int(wave_S[0])) for wave_S in waves]
        self.asked += zip(keys, languages, strict=True)
        return [Heard(self.heard[key]) for key in keys]


ROUTES = {"en": "ears"}


def summary_of(column: Column, utterances: Sequence[Utterance]) -> Summary:
    missing = sum(utterance.wave_S is None for utterance in utterances)
    return summarize(column, voices=[u.voice for u in utterances], missing=missing, resamples=100, seed=0)


def said(number: int, text: str, language: str = "en") -> Utterance:
    return Utterance(
        key=str(number), text=text, language=language, wave_S=np.full(9, number, np.float32), rate_hz=16000
    )


def test_word_error_rate_is_the_mean_over_utterances_not_the_pooled_rate() -> None:
    utterances = [said(0, "a b"), said(1, "x")]
    column = wer.column({"ears": Ears({"0": "a c", "1": ""})}, ROUTES, utterances)
    assert column.scores == [0.5, 1.0]
    assert column.notes == ["a c", ""]
    assert summary_of(column, utterances).mean == pytest.approx(0.75), "pooled would be 2/3"


def test_missing_and_unknown_are_counted_with_their_reason_and_leave_the_mean_alone() -> None:
    utterances = [said(0, "a b"), Utterance(key="1", text="x", language="en", problem="its prompt is missing")]
    utterances += [
        said(2, "mot", "fr"),
        said(3, "?!"),
        Utterance(key="4", wave_S=np.zeros(9, np.float32), rate_hz=16000),
    ]
    column = wer.column({"ears": Ears({"0": "a b", "3": "anything"})}, ROUTES, utterances)
    summary = summary_of(column, utterances)
    assert (summary.mean, summary.total, summary.scored, summary.missing) == (0.0, 5, 1, 1)
    assert summary.unscored == {
        "its prompt is missing": 1,
        "nobody hears fr": 1,
        "nothing but punctuation to say": 1,
        "text unknown": 1,
    }
    assert summary.low is None, "one value has no interval"


def test_every_language_is_heard_by_its_route_and_told_to_it() -> None:
    one, other = Ears({"0": "a"}), Ears({"1": "\u570b", "2": "x"})
    utterances = [said(0, "a", "en-US"), said(1, "\u56fd", "zh-CN"), said(2, "x", "FR"), said(3, "y", "")]
    routes = {"en": "one", "other": "other"}
    column = wer.column({"one": one, "other": other}, routes, utterances)
    assert column.scores == [0.0, 0.0, 0.0, "nobody hears an unknown language"], (
        "traditional characters count as simple"
    )
    assert one.asked == [("0", "en")]
    assert other.asked == [("1", "zh"), ("2", "fr")]


def test_metrics_name_backends_that_are_there() -> None:
    for metric, settings, told in (
        (wer, {"routes": {"en": "wisper"}}, "no 'wisper' in models/frozen"),
        (wer, {"routes": {"en": "dnsmos"}}, "recognizes no speech"),
        (wer, {"routes": {"zh": "moonshine"}}, "hears English only"),
        (wer, {"routes": {"zh-CN": "paraformer"}}, "did you mean 'zh'"),
        (speaker, {"backend": "dnsmos"}, "compares no voices"),
    ):
        with pytest.raises(ValidationError, match=told):
            metric.Config.model_validate(settings)  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match="whisper needs checkpoints.whisper"):
        wer.measure([], wer.Config(routes={"other": "whisper"}))
    with pytest.raises(WeightsError, match="wavlm_sv needs checkpoint"):
        speaker.measure([], speaker.Config(backend="wavlm_sv"))
    with pytest.raises(WeightsError, match="utmos needs checkpoint"):
        utmos.measure([], utmos.Config())


def test_checkpoints_of_ones_own_are_used(tmp_path: Path) -> None:
    torch.save(release(), tmp_path / "sv.pth")
    torch.save(speechmos(), tmp_path / "utmos.pt")
    wave = tone()
    cosine = speaker.measure([pair(wave, wave)], speaker.Config(backend="wavlm_sv", checkpoint=tmp_path / "sv.pth"))
    assert cosine[0].scores == [pytest.approx(1.0, abs=1e-5)]
    assert "wavlm_sv/" in cosine[0].how
    short = Utterance(key="s", wave_S=wave[:300], rate_hz=16000)
    found = utmos.measure([pair(wave, wave), short], utmos.Config(checkpoint=tmp_path / "utmos.pt"))[0].scores
    assert isinstance(found[0], float)
    assert found[1] == "shorter than one frame (25 ms)"


@pytest.mark.parametrize(
    ("text", "language", "normal"),
    [
        ("Don't stop,  now!", "en", "don't stop now"),
        ("(Well) -- so.", "en", "well so"),
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002", "zh", "\u4f60 \u597d \u4e16 \u754c"),
        ("Gr\u00fc\u00df Gott!", "de", "gr\u00fc\u00df gott"),
        ("\u00bfQu\u00e9? \u00a1S\u00ed!", "es", "qu\u00e9 s\u00ed"),
        ("L\u2019ami \u00abdit\u00bb", "fr", "l'ami dit"),
        ("\u0643\u064a\u0641\u061f", "ar", "\u0643\u064a\u0641"),
        ("\u0939\u0948\u0964", "hi", "\u0939\u0948"),
        ("\u0e44\u0e1b\u0e44\u0e2b\u0e19", "th", "\u0e44 \u0e1b \u0e44 \u0e2b \u0e19"),
        ("\u1000\u104b", "my", "\u1000"),
        ("cafe\u0301 \u20ac", "fr", "caf\u00e9 "),
        ("\uff11\u6708", "ja", "1 \u6708"),
        ("\uff11\u6708", "zh", "\uff11 \u6708"),
    ],
)
def test_text_is_normalized_as_seed_tts_eval_does(text: str, language: str, normal: str) -> None:
    assert wer.normalized(text, language=language) == normal


def test_insertions_can_make_a_rate_above_one() -> None:
    assert wer.error_rate("a b c d", "a", language="en") == 3.0


def test_chinese_is_scored_by_character() -> None:
    assert wer.error_rate("\u4f60\u597d", "\u4f60\u597d\u4e16\u754c", language="zh") == 0.5


@pytest.mark.parametrize("language", ["zh", "yue"])
@pytest.mark.parametrize("text", ["\u570b\u8a9e", "\u56fd\u8bed"])
def test_script_of_chinese_is_no_mistake_on_either_side(text: str, language: str) -> None:
    assert wer.error_rate("\u56fd\u8bed", text, language=language) == 0.0
    assert wer.error_rate("\u570b\u8a9e", text, language=language) == 0.0


def test_metric_by_two_judges_has_two_columns() -> None:
    entries = [Entry(name="speaker", settings=speaker.Config(backend=name)) for name in ("resemblyzer", "campplus")]
    entries += [Entry(name="mel", settings=mel.Config(rate_hz=rate_hz)) for rate_hz in (16000, 8000)]
    columns = measure(entries, [pair(noisy(tone(), 0.1), tone())])
    assert [column.name for column in columns] == [
        "speaker_cosine",
        "speaker_cosine_campplus",
        "mel_distance",
        "mel_distance_2",
    ]
    assert columns[0].scores != columns[1].scores
    assert "campplus" in columns[1].how


def test_score_that_is_no_number_does_not_spoil_the_mean() -> None:
    spoiled = tone()
    spoiled[5] = np.nan
    columns = measure([Entry(name="mel", settings=mel.Config())], [pair(tone(), tone()), pair(spoiled, tone())])
    assert columns[0].scores == [0.0, "no number came out"]


def test_reconstruction_metrics_of_identity_and_of_more_and_more_noise() -> None:
    clean = tone(seconds=2)
    utterances = [pair(clean if level == 0 else noisy(clean, level), clean) for level in (0.0, 0.01, 0.1)]
    distances = mel.measure(utterances, mel.Config())[0].scores
    intelligibility = stoi.measure(utterances, stoi.Config())[0].scores
    assert distances[0] == 0.0
    assert distances[0] < distances[1] < distances[2]  # type: ignore[operator]
    assert intelligibility[0] == pytest.approx(1.0, abs=1e-6)
    assert intelligibility[0] > intelligibility[1] > intelligibility[2]  # type: ignore[operator]


def test_mel_distance_of_a_gain_is_its_logarithm() -> None:
    loud = noisy(tone(), 0.05)
    assert mel.mel_distance(loud * 0.1, loud, rate_hz=16000) == pytest.approx(1.0, abs=1e-3)


def test_what_is_not_aligned_or_too_short_has_no_distance_but_a_reason() -> None:
    wave = tone()
    speech = Utterance(key="k", wave_S=wave, rate_hz=16000, against_S=wave, against_rate_hz=16000)
    short = pair(wave[:100], wave[:100])
    assert mel.measure([speech, short], mel.Config())[0].scores == [
        "nothing to compare it with, sample by sample",
        "shorter than one window",
    ]
    for samples in (0, 1, 100, 3000):
        pairs = [pair(wave[:samples], wave[:samples])]
        assert "too little speech" in str(stoi.measure(pairs, stoi.Config())[0].scores[0])


def test_stops_tell_how_speech_ended() -> None:
    wave = np.zeros(16000, np.float32)
    utterances = [
        Utterance(key="a", text="ab cd", wave_S=wave, rate_hz=8000, finish="stop"),
        Utterance(key="b", wave_S=wave, rate_hz=8000, finish="length"),
        Utterance(key="c", problem="it broke"),
    ]
    stopped, seconds, rate = stops.measure(utterances, stops.Config())
    assert stopped.scores == [1.0, 0.0, "it broke"]
    assert seconds.scores == [2.0, 2.0, "it broke"]
    assert rate.scores == [2.0, "text unknown", "it broke"]


def test_same_sound_has_the_same_voice_whatever_its_level() -> None:
    wave, other = tone(hertz=120), noisy(tone(hertz=400), 0.05)
    column = speaker.measure([pair(wave, wave), pair(0.3 * wave, wave), pair(other, wave)], speaker.Config())[0]
    same, quieter, different = column.scores
    assert same == pytest.approx(1.0, abs=1e-5)
    assert quieter == pytest.approx(1.0, abs=1e-3)
    assert different < 0.98  # type: ignore[operator]


def test_dnsmos_prefers_clean_to_noise() -> None:
    clean = tone(seconds=2)
    columns = {
        c.name: c.scores for c in dnsmos.measure([pair(clean, clean), pair(noisy(clean, 0.3), clean)], dnsmos.Config())
    }
    assert set(columns) == {"dnsmos_overall", "dnsmos_signal", "dnsmos_background"}
    assert columns["dnsmos_background"][0] > columns["dnsmos_background"][1]  # type: ignore[operator]
    assert columns["dnsmos_overall"][0] == Dnsmos(published=True).score(clean).overall, "as tables have it"


def test_bootstrap_interval_holds_the_mean_and_narrows_with_more_voices_only() -> None:
    def width(voices: int, *, each: int) -> float:
        """Of utterances that are as their voice is: 0 or 1."""
        values = np.repeat(np.arange(voices) % 2.0, each)
        low, high = interval(values, np.repeat(np.arange(voices), each), resamples=1000, seed=0)
        assert low is not None
        assert high is not None
        assert low < 0.5 < high
        return high - low

    assert width(400, each=1) < width(10, each=1) / 3
    assert width(10, each=40) == width(10, each=1), "what a voice says again tells nothing new"


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    random, truth, covered = np.random.default_rng(0), 0.0, 0
    groups = np.repeat(np.arange(40), 5)
    for seed in range(200):
        values = truth + random.standard_normal(40)[groups] + 0.3 * random.standard_normal(200)
        low, high = interval(values, groups, resamples=200, seed=seed)
        assert low is not None
        assert high is not None
        covered += low < truth < high
    assert 0.85 * 200 < covered < 0.99 * 200, "utterance by utterance it would be 60 %"


def test_one_voice_has_no_interval_and_what_is_in_nobodys_voice_stands_for_itself() -> None:
    def said_by(*voices: str | None) -> Summary:
        column = Column("m", [float(number) for number in range(len(voices))], "lower", "how")
        return summarize(column, voices=voices, missing=0, resamples=100, seed=0)

    alone, nobody = said_by("a", "a", "a"), said_by(None, None, "a", "a")
    assert (alone.mean, alone.low, alone.voices) == (1.0, None, 1)
    assert (nobody.scored, nobody.voices) == (4, 3)
    assert nobody.low is not None


def test_all_scores_missing_is_no_number() -> None:
    column = Column("m", ["why"], "lower", "how")
    assert summary_of(column, [Utterance(key="a")]).mean is None
