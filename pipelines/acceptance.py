"""Acceptance sampling: how many of a random sample may be bad before a corpus is refused; exact binomial, no tables.

To show with 95 % confidence that fewer than 5 % of the clips are bad, listen to 153 and allow 3 bad ones; a corpus with
1 % bad clips passes 93 times of 100. The audit page shows the sample and computes the verdict while one listens.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.shards import CorpusError

FORMAT = "stipple-verdicts/1"
SAMPLE = 153
LIMIT = 0.05
"""Share of bad clips that must not be reached."""
CONFIDENCE = 0.95

Word = Literal["good", "bad"]


@dataclass(frozen=True)
class AcceptanceResult:
    """What the clips that were heard say of the corpus."""

    sample: int
    """Clips drawn."""
    allowed: int
    """Bad clips with which the corpus still passes; -1 where no outcome could show it."""
    judged: int
    bad: int
    bound: float
    """Upper bound of the share of bad clips, at CONFIDENCE, from those that were judged."""
    whole: bool
    """The sample is the whole corpus."""

    @property
    def status(self) -> Literal["accepted", "refused", "open"]:
        """Refused as soon as there are too many bad ones; accepted when all were heard."""
        if self.bad > self.allowed:
            return "refused" if self.allowed >= 0 else "open"
        return "accepted" if self.judged == self.sample else "open"

    @property
    def sentence(self) -> str:
        """For people."""
        heard = f"{self.judged} of {self.sample} clips judged, {self.bad} bad ({max(self.allowed, 0)} allowed)"
        if not self.judged:
            return f"open: {heard}"
        sure = f"{self.bound:.1%} at most are bad" + ("" if self.whole else f", with {CONFIDENCE:.0%} confidence")
        return f"{self.status}: {heard}; {sure}"


def allowed_bad(sample: int) -> int:
    """The most bad clips in a sample that still show, with CONFIDENCE, a share under LIMIT; -1 where none do."""
    from scipy.stats import binom

    counts = np.arange(sample + 1)
    return int(np.sum(binom.cdf(counts, sample, LIMIT) <= 1 - CONFIDENCE)) - 1


def result_of(*, sample: int, of: int, judged: int, bad: int) -> AcceptanceResult:
    """Of `bad` clips among `judged`, out of a sample of a corpus of `of` clips."""
    from scipy.stats import beta

    whole = sample >= of
    if whole:
        allowed = int(np.ceil(LIMIT * of)) - 1
        bound = (bad + sample - judged) / max(sample, 1)
    else:
        allowed = allowed_bad(sample)
        bound = float(beta.ppf(CONFIDENCE, bad + 1, judged - bad)) if judged > bad else 1.0
    return AcceptanceResult(sample, allowed, judged, bad, bound, whole)


def drawn(keys: Any, *, digest: str, sample: int = SAMPLE) -> list[int]:
    """Numbers of a random sample of the kept clips, the same for the same corpus: keys in order, drawn by its digest.

    `keys`: texts, as pyarrow has them; besides them it takes 16 bytes a key.
    """
    from pyarrow import compute

    random = np.random.default_rng(int(digest[:16], 16))
    places = random.permutation(len(keys))[:sample]
    return [int(number) for number in compute.sort_indices(keys).to_numpy()[places]]


def read_verdicts(path: Path) -> dict[str, Any]:
    """The file that the audit page exports.

    Raises: CorpusError
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from None
    words = found.get("verdicts") if isinstance(found, dict) else None
    if not isinstance(words, dict) or found.get("format") != FORMAT:
        raise CorpusError(f"{path}: is no file of verdicts that an audit page exports ({FORMAT})")
    wrong = {str(word) for word in words.values()} - {"good", "bad"}
    if wrong:
        raise CorpusError(f"{path}: a clip is good or bad, but one is {sorted(wrong)[0]!r}")
    return dict(found)


def judge(verdicts: Mapping[str, Word], *, keys: Any, digest: str, sample: int = SAMPLE) -> AcceptanceResult:
    """The verdict, from clips of the sample alone; `keys` as in `drawn`.

    Raises: CorpusError where somebody judged clips that were not drawn: a chosen sample shows nothing.
    """
    chosen = {str(keys[number]) for number in drawn(keys, digest=digest, sample=sample)}
    foreign = sorted(set(verdicts) - chosen)
    if foreign:
        raise CorpusError(
            f"{len(foreign)} of the judged clips are not in the sample of this corpus (such as {foreign[0]}): "
            "only clips that were drawn at random show something; judge those on the audit page of this version"
        )
    bad = sum(word == "bad" for word in verdicts.values())
    return result_of(sample=len(chosen), of=len(keys), judged=len(verdicts), bad=bad)
