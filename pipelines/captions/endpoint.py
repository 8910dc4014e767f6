"""Captions by an endpoint that listens: asked once a sound, within a budget, and believed only in the right form."""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.frozen import WeightsError, local_file
from pipelines.captions.answer import Answer, prompt_digest
from pipelines.captions.calls import Caller, ForbiddenAddressError, UnreachableError
from pipelines.captions.memory import Caps, Memory, Spent
from pipelines.captions.settings import Endpoint
from pipelines.captions.styles import BadAnswerError, Request, Usage, answer, request
from pipelines.clip import Clip, whole_samples

RATE_HZ = 16000
AUDIO_TOKENS_A_SECOND, PROMPT_TOKENS = 32, 600
"""For the price of a request before its reply says what it used."""
KEY = re.compile(rb"[!-~]+")
"""What a header can carry; an error about anything else would show it."""
TRANSIENT = (408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
REFUSED = (400, 413, 415, 422)
"""This sound is refused; any other status that is no success refuses all of us."""
IN_A_ROW = 3
"""Sounds without an answer, times `parallel`, after which the endpoint is taken for broken and the job stops."""


class EndpointError(WeightsError):
    """The endpoint answers nobody: a wrong key or address, or it is down. Stops the job with its sentence."""


@dataclass(frozen=True)
class Again:
    """No answer, but another attempt may bring one."""

    why: str
    wait_seconds: float | None = None
    """What the server asks for."""
    bad: bool = False
    """There was an answer, in a form that was not asked for."""


@dataclass(frozen=True)
class Never:
    """No answer for this sound."""

    why: str


@dataclass
class Asker:
    """Asks about clips, some at a time; answers are remembered on disk, and no sound is asked about twice."""

    cfg: Endpoint
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Raises: WeightsError where there is no key file, or no key in it."""
        cfg = self.cfg
        self.secret()
        budget = cfg.budget
        seconds = None if budget.audio_hours is None else budget.audio_hours * 3600
        self.memory = Memory(cfg.folder, Caps(budget.requests, seconds, budget.money))
        self.caller = Caller(cfg.timeout_seconds, private=cfg.private, ca_file=cfg.ca_file)
        self.question = f"{cfg.style}/{cfg.model}/{prompt_digest()}"
        self.unanswered = self.answered = 0
        self.broken = ""
        self.lock = threading.Lock()

    def __call__(self, clips: Sequence[Clip]) -> list[Answer | str]:
        """For each clip, in order: the answer, or in a few words why there is none.

        Raises: EndpointError
        """
        with ThreadPoolExecutor(self.cfg.parallel) as pool:
            return list(pool.map(self.one, clips))

    def one(self, clip: Clip) -> Answer | str:
        """What is remembered, else what is answered now."""
        if why := self.not_worth(clip):
            return why
        key = key_of(clip, self.question)
        known = self.memory.get(key)
        if known is None:
            with self.memory.alone(key):
                known = self.memory.get(key)  # another worker may have asked while this one waited
                if known is None:
                    return self.ask(key, clip)
        return Answer.model_validate(known["answer"]) if "answer" in known else f"endpoint: {known['refused']}"

    def not_worth(self, clip: Clip) -> str | None:
        """Why a clip is not asked about."""
        cfg, segment = self.cfg, clip.segment
        if segment.seconds > cfg.max_seconds:
            return f"not asked: over {cfg.max_seconds:g} s"
        for name, value, limit in (
            ("mos_overall", segment.mos_overall, cfg.min_mos),
            ("snr_db", segment.snr_db, cfg.min_snr_db),
        ):
            if limit is not None and (value is None or value < limit):
                return f"not asked: {name} is under {limit:g}"
        return None

    def ask(self, key: str, clip: Clip) -> Answer | str:
        """Up to `attempts` requests, each within the budget.

        Raises: EndpointError, for this clip and for all that wait behind it.
        """
        if self.broken:
            raise EndpointError(self.broken)
        cfg, seconds = self.cfg, clip.segment.seconds
        tokens_in = round(AUDIO_TOKENS_A_SECOND * seconds) + PROMPT_TOKENS
        money = cfg.price.of(seconds=seconds, tokens_in=tokens_in, tokens_out=cfg.max_tokens)
        asked = request(cfg, key=self.secret(), wave_S=clip.at(RATE_HZ), rate_hz=RATE_HZ)
        cost, outcome = Spent(1, seconds, money), Again("")
        for attempt in range(cfg.attempts):
            if over := self.memory.reserve(cost):
                return f"not asked: {over}"
            found = self.once(asked, cost)
            if isinstance(found, Never):
                return self.refuse(key, found.why)
            if not isinstance(found, Again):
                return self.remember(key, found[0], clip, usage=found[1], reserved=cost)
            outcome = found
            wait = cfg.backoff_seconds * 2**attempt if found.wait_seconds is None else found.wait_seconds
            if found.wait_seconds is not None and wait > cfg.max_wait_seconds:
                return self.give_up(f"{found.why}; it asks to wait for {wait:.0f} s")
            if attempt + 1 < cfg.attempts:
                self.sleep(min(wait, cfg.max_wait_seconds))
        return self.refuse(key, outcome.why) if outcome.bad else self.give_up(outcome.why)

    def once(self, asked: Request, cost: Spent) -> tuple[Answer, Usage] | Again | Never:
        """One request. What surely is not on the bill is given back to the budget.

        Raises: EndpointError where the endpoint refuses all of us.
        """
        free = Spent(0, -cost.audio_seconds, -cost.money)
        try:
            reply = self.caller.post(asked.url, headers=asked.headers, body=asked.body)
        except ForbiddenAddressError as error:
            self.memory.settle(free)
            self.broken = f"{self.cfg.url}: {error}"
            raise EndpointError(self.broken) from None
        except UnreachableError as error:
            return Again(str(error))
        if reply.status == 200:
            try:
                return answer(self.cfg.style, reply.body)
            except BadAnswerError as error:
                return Again(str(error), bad=True)
        self.memory.settle(free)
        why = f"status {reply.status}: {said(reply.body, self.secret())}"
        if reply.status in REFUSED:
            return Never(why)
        if reply.status in TRANSIENT:
            return Again(why, wait_seconds=reply.retry_after_seconds)
        moved = f" (to {reply.location}; redirects are not followed)" if reply.location else ""
        self.broken = f"{self.cfg.url} refuses to answer: {why}{moved}; mend the manifest, or the key"
        raise EndpointError(self.broken)

    def remember(self, key: str, found: Answer, clip: Clip, *, usage: Usage, reserved: Spent) -> Answer:
        """Store an answer with what it cost; the first to be stored stands."""
        seconds, settle = clip.segment.seconds, Spent()
        if usage.tokens_in or usage.tokens_out:
            money = self.cfg.price.of(seconds=seconds, tokens_in=usage.tokens_in, tokens_out=usage.tokens_out)
            settle = Spent(0, 0.0, money - reserved.money)
        with self.lock:
            self.answered += 1
            self.unanswered = 0
        stands = self.memory.put(key, {"answer": found.model_dump()}, settle=settle)
        return Answer.model_validate(stands["answer"]) if "answer" in stands else found

    def refuse(self, key: str, why: str) -> str:
        """A sound that gets no answer, now or later; believed of an endpoint that has answered others."""
        if self.answered:
            self.memory.put(key, {"refused": why})
            return f"endpoint: {why}"
        return self.give_up(why)

    def give_up(self, why: str) -> str:
        """A sound that gets no answer now. Several in a row are the endpoint's fault.

        Raises: EndpointError
        """
        with self.lock:
            self.unanswered += 1
            if self.unanswered >= IN_A_ROW * self.cfg.parallel:
                told = f"{self.cfg.url}: {self.unanswered} clips in a row got no caption ({why})"
                self.broken = f"{told}; run again to go on from here, or leave `endpoint` out"
                raise EndpointError(self.broken)
        return f"endpoint: {why}"

    def secret(self) -> str | None:
        """The key, read when it is needed, kept nowhere.

        Raises: WeightsError where the file is not there, or what it holds cannot be a key; it is not shown.
        """
        if self.cfg.key_file is None:
            return None
        fix = "write the key, and nothing else, into this file"
        path = local_file(self.cfg.key_file, what=f"key of {self.cfg.model}", fix=fix)
        key = path.read_bytes().strip()
        if not KEY.fullmatch(key):
            raise WeightsError(f"{path} holds no key (one word of ASCII, and it has {len(key)} bytes); {fix}")
        return key.decode()


def key_of(clip: Clip, question: str) -> str:
    """Of the sound as 16-bit samples, its rate, and the question: what the answer depends on."""
    state = hashlib.sha256(whole_samples(clip.wave_S).astype("<i2").tobytes())
    state.update(f"{clip.segment.rate_hz}/{question}".encode())
    return state.hexdigest()


def said(body: bytes, secret: str | None) -> str:
    """The beginning of an error's body, on one line, without the key."""
    text = " ".join(body.decode("utf-8", "replace").split())
    if secret:
        text = text.replace(secret, "(key)")
    return text[:160] or "(nothing)"
