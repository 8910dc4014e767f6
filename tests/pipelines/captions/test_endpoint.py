"""An endpoint that listens: both styles, what can go wrong, the cap on what it costs, and no question twice."""

import base64
import io
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from infra.manifest import ManifestError, parse
from models.frozen import WeightsError
from pipelines.captions.answer import Answer
from pipelines.captions.calls import seconds_of
from pipelines.captions.endpoint import Asker, EndpointError
from pipelines.captions.memory import Caps, Memory, Spent
from pipelines.captions.settings import Endpoint
from pipelines.clip import Clip
from pipelines.manifest import CorpusManifest
from pipelines.transforms.caption import Config, Transform
from tests.pipelines.captions.listener import ANSWER, Server, Told, clip_of, good
from tests.processes import exit_code

Make = Callable[..., Endpoint]


def ask(cfg: Endpoint, *clips: Clip) -> tuple[list[Answer | str], list[float]]:
    """Answers, and the waits between requests."""
    waits: list[float] = []
    return Asker(cfg, sleep=waits.append)(clips), waits


def test_openai_style_is_asked_with_sound_and_schema_and_the_answer_is_the_caption(
    server: Server, endpoint: Make, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("sesame\n")
    clip = clip_of(1, seconds=1.5)
    done = Transform(Config(endpoint=endpoint(key_file=tmp_path / "key")))([clip])[0]
    assert isinstance(done, Clip)
    assert (done.segment.caption, done.segment.caption_by) == (ANSWER["long"], "listener-1")
    assert done.segment.caption_tags is not None
    assert {"pitch:low", "voice:male", "emotion:calm", "language:en"} <= set(done.segment.caption_tags)
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sesame"
    assert headers["host"] == server.url.split("/")[2]
    sent = body["messages"][1]["content"][1]["input_audio"]
    wave, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sent["data"])))
    assert (sent["format"], rate_hz, len(wave)) == ("wav", 16000, 24000)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"]) == list(ANSWER)
    assert "low" in schema["properties"]["pitch"]["enum"]


def test_gemini_style_is_asked_with_sound_and_schema_and_the_key_is_not_in_the_address(
    server: Server, endpoint: Make, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("sesame")
    found, _ = ask(endpoint(style="gemini", key_file=tmp_path / "key"), clip_of(1))
    assert found == [Answer(**ANSWER)]
    ((path, headers, body),) = server.asked
    assert path == "/v1/models/listener-1:generateContent"
    assert headers["x-goog-api-key"] == "sesame"
    sent = body["contents"][0]["parts"][1]["inlineData"]
    assert sent["mimeType"] == "audio/flac"
    assert base64.b64decode(sent["data"]).startswith(b"fLaC")
    assert body["generationConfig"]["responseMimeType"] == "application/json"
    assert "additionalProperties" not in body["generationConfig"]["responseSchema"]


def test_a_contradiction_between_caption_and_measures_is_in_the_row(endpoint: Make) -> None:
    clip = clip_of(1, snr_db=3.0, language="de")
    done = Transform(Config(endpoint=endpoint()))([clip])[0]
    assert isinstance(done, Clip)
    assert done.segment.caption_conflicts is not None
    assert [sentence.split(":")[0] for sentence in done.segment.caption_conflicts] == ["background", "language"]


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(server: Server, endpoint: Make) -> None:
    server.script = [Told(429, "busy", {"retry-after": "7"}), Told(503), Told(500)]
    found, waits = ask(endpoint(), clip_of())
    assert found == [Answer(**ANSWER)]
    assert waits == [7.0, 0.02, 0.04]
    assert len(server.asked) == 4


def test_a_server_that_asks_for_too_long_a_wait_is_given_up_for_this_sound(server: Server, endpoint: Make) -> None:
    server.script = [Told(429, "come back tomorrow", {"retry-after": "86400"})]
    found, waits = ask(endpoint(), clip_of(0), clip_of(1))
    assert found[0] == "endpoint: status 429: come back tomorrow; it asks to wait for 86400 s"
    assert found[1] == Answer(**ANSWER)
    assert waits == []


def test_retry_after_is_seconds_or_a_date() -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 900))
    assert seconds_of("12") == 12
    assert seconds_of(later) == pytest.approx(900, abs=60)
    assert seconds_of("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert (seconds_of("soon"), seconds_of("nan"), seconds_of(None)) == (None, None, None)


BAD = {
    "no JSON": "<html>",
    "not its form": {"choices": []},
    "answer is no JSON": good("/", {}).replace("{}", "I think"),
    "another word": good("/", {**ANSWER, "pitch": "booming"}),
    "a key too many": good("/", {**ANSWER, "name": "Ida"}),
    "a key too few": good("/", {k: v for k, v in ANSWER.items() if k != "rate"}),
    "too long": good("/", {**ANSWER, "long": "so " * 400}),
    "refusal": {"choices": [{"message": {"content": None, "refusal": "I may not"}}]},
    "too deep": "[" * 200_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_an_answer_in_another_form_is_asked_for_again_then_never_more(
    server: Server, endpoint: Make, body: Any
) -> None:
    server.script = [Told(), *[Told(body=body)] * 3]
    cfg = endpoint(attempts=3)
    found, _ = ask(cfg, clip_of(0), clip_of(1))
    assert found[0] == Answer(**ANSWER)
    assert isinstance(found[1], str)
    assert found[1].startswith("endpoint: it")
    assert len(server.asked) == 4
    assert ask(cfg, clip_of(1))[0] == [found[1]]
    assert len(server.asked) == 4, "what was refused for good is remembered, too"


@pytest.mark.parametrize("slow", [Told(wait_seconds=1.0), Told(dribble=True)], ids=["silent", "dribbling"])
def test_a_slow_answer_is_cut_off_also_if_it_dribbles(server: Server, endpoint: Make, slow: Told) -> None:
    server.script = [slow]
    found, _ = ask(endpoint(timeout_seconds=0.3, attempts=1), clip_of())
    assert isinstance(found[0], str)
    assert found[0].endswith("gave no whole reply within 0.3 s")


def test_a_sound_that_is_refused_is_asked_about_once(server: Server, endpoint: Make) -> None:
    server.script = [Told(), Told(400, {"error": "this is no sound"})]
    cfg = endpoint()
    found, _ = ask(cfg, clip_of(0), clip_of(1))
    assert found[1] == 'endpoint: status 400: {"error": "this is no sound"}'
    ask(cfg, clip_of(1), clip_of(0))
    assert len(server.asked) == 2


def test_a_wrong_key_stops_the_job_and_is_not_printed(server: Server, endpoint: Make, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame")
    server.then = Told(401, "no such key: sesame")
    with pytest.raises(EndpointError) as caught:
        ask(endpoint(key_file=tmp_path / "key"), clip_of())
    assert "status 401: no such key: (key)" in str(caught.value)
    assert isinstance(caught.value, WeightsError), "a corpus job stops with its sentence"
    assert len(server.asked) == 1


@pytest.mark.parametrize("key", [b"sesame\nopen", "sesam\u00e9".encode(), b"\xff\xfes\0e\0", b" \n"])
def test_what_cannot_be_a_key_is_told_before_anybody_is_asked_and_not_shown(
    server: Server, endpoint: Make, tmp_path: Path, key: bytes
) -> None:
    (tmp_path / "key").write_bytes(key)
    with pytest.raises(WeightsError, match="holds no key") as caught:
        ask(endpoint(key_file=tmp_path / "key"), clip_of())
    assert "sesam" not in str(caught.value)
    assert not server.asked


def test_a_caption_is_one_line_of_signs_that_are_seen(server: Server, endpoint: Make) -> None:
    server.then = Told(body=good("/", {**ANSWER, "long": "A calm\n\nvoice\u0000 in \u202ea\u2028room. "}))
    (found,), _ = ask(endpoint(), clip_of())
    assert isinstance(found, Answer)
    assert found.long == "A calm voice in a room."


@pytest.mark.parametrize("tokens", ["null", "1e999", "-100000000", '"many"'])
def test_counts_that_are_none_lose_no_answer_and_win_no_money(server: Server, endpoint: Make, tokens: str) -> None:
    server.then = Told(body=good("/", ANSWER).replace("1000", tokens))
    asker = Asker(endpoint(price={"per_million_tokens_in": 1.0}, budget={"money": 1.0}))
    assert asker([clip_of()]) == [Answer(**ANSWER)]
    assert asker.memory.spent.money >= 0


def test_a_redirect_is_not_followed(server: Server, endpoint: Make) -> None:
    server.then = Told(307, "", {"location": "http://169.254.169.254/latest/meta-data"})
    with pytest.raises(EndpointError, match=r"redirects are not followed"):
        ask(endpoint(), clip_of())
    assert len(server.asked) == 1


def test_an_endpoint_that_answers_nobody_stops_the_job(server: Server, endpoint: Make) -> None:
    server.then = Told(503, "down")
    with pytest.raises(EndpointError, match="3 clips in a row got no caption"):
        ask(endpoint(attempts=2), *[clip_of(n) for n in range(9)])
    assert len(server.asked) == 6


def test_the_same_sound_is_never_asked_about_twice(server: Server, endpoint: Make) -> None:
    cfg = endpoint(parallel=4)
    first, _ = ask(cfg, clip_of(1), clip_of(1), clip_of(2), clip_of(1))
    assert len(server.asked) == 2
    server.then = Told(body=good("/", {**ANSWER, "pitch": "high"}))
    assert ask(cfg, clip_of(2), clip_of(1))[0] == [first[2], first[0]]
    assert len(server.asked) == 2
    ask(endpoint(model="listener-2"), clip_of(1))
    assert len(server.asked) == 3, "another model is another question"


def test_nothing_is_asked_once_the_budget_is_spent_and_the_row_says_so(server: Server, endpoint: Make) -> None:
    clips = [clip_of(n) for n in range(5)]
    done = Transform(Config(endpoint=endpoint(budget={"requests": 3})))(clips)
    assert len(server.asked) == 3
    told = [clip.segment.caption_by for clip in done if isinstance(clip, Clip)]
    assert told == ["listener-1"] * 3 + ["rules (not asked: budget of 3 requests is spent)"] * 2
    again = Transform(Config(endpoint=endpoint(budget={"requests": 4})))(clips)
    assert len(server.asked) == 4, "what was answered is free, and a larger budget goes on from there"
    assert [clip.segment.caption_by for clip in again if isinstance(clip, Clip)][3] == "listener-1"


def test_audio_and_money_are_capped_and_a_reply_says_what_it_cost(server: Server, endpoint: Make) -> None:
    ask(endpoint(budget={"audio_hours": 2.5 / 3600}), *[clip_of(n) for n in range(4)])
    assert len(server.asked) == 2
    price = {"per_million_tokens_in": 1.0, "per_million_tokens_out": 10.0}
    cfg = endpoint(budget={"money": 0.0155}, price=price, model="dear", folder=endpoint().folder / "dear")
    asker = Asker(cfg)
    told = asker([clip_of(n) for n in range(9)])
    assert sum(isinstance(one, Answer) for one in told) == 5, "0.002 each by the reply; 0.00575 is held before it"
    assert asker.memory.spent.money == pytest.approx(5 * 0.002)
    assert told[-1] == "not asked: budget of 0.0155 in money is spent"


def test_clips_that_filters_will_hardly_keep_are_not_paid_for(server: Server, endpoint: Make) -> None:
    cfg = endpoint(min_mos=3.0, min_snr_db=10.0, max_seconds=2.0)
    clips = clip_of(0, mos_overall=2.0), clip_of(1, snr_db=None), clip_of(2, seconds=2.1), clip_of(3)
    found, _ = ask(cfg, *clips)
    assert found[:3] == ["not asked: mos_overall is under 3", "not asked: snr_db is under 10", "not asked: over 2 s"]
    assert len(server.asked) == 1


def work(cfg: dict[str, Any], seeds: list[int], done: Any) -> None:
    """A worker: asks about its clips."""
    told = Asker(Endpoint.model_validate(cfg))([clip_of(seed) for seed in seeds])
    done.put(sum(isinstance(one, Answer) for one in told))


def test_two_workers_at_once_share_answers_and_budget(server: Server, endpoint: Make) -> None:
    server.then = Told(wait_seconds=0.02)
    cfg = endpoint(parallel=3, budget={"requests": 14}).model_dump(mode="json")
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    orders = [list(range(20)), list(range(19, -1, -1))]
    workers = [context.Process(target=work, args=(cfg, order, done)) for order in orders]
    for worker in workers:
        worker.start()
    assert [exit_code(worker) for worker in workers] == [0, 0]
    assert len(server.asked) == 14
    sounds = {body["messages"][1]["content"][1]["input_audio"]["data"] for _, _, body in server.asked}
    assert len(sounds) == 14, "no sound was asked about twice"
    assert max(done.get(), done.get()) <= 14


def test_a_torn_line_is_passed_over_and_the_file_goes_on(tmp_path: Path) -> None:
    one = Memory(tmp_path, Caps())
    one.put("aa" * 32, {"refused": "x"})
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(b'{"key": "bb')
    other = Memory(tmp_path, Caps())
    assert other.get("aa" * 32) == {"key": "aa" * 32, "refused": "x"}
    other.put("cc" * 32, {"refused": "y"}, settle=Spent(1, 2.0, 3.0))
    assert one.get("cc" * 32) == {"key": "cc" * 32, "refused": "y"}
    assert one.spent == Spent(1, 2.0, 3.0)
    assert one.put("cc" * 32, {"refused": "z"})["refused"] == "y", "the first to answer stands"


def test_mistakes_of_a_manifest_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no key of m at /.*/key; write the key, and nothing else"):
        Asker(Endpoint.model_validate({**KNOWN, "folder": str(tmp_path), "key_file": str(tmp_path / "key")}))
    for change, told in (
        ({"url": "file:///etc/passwd"}, "begin with https://"),
        ({"url": "gopher://host/"}, "begin with https://"),
        ({"url": "https://me:pw@host/v1"}, "a key belongs in key_file"),
        ({"url": "http://host/v1", "key_file": "/key"}, "a key is sent over https only"),
        ({"folder": "captions"}, "give an absolute path"),
        ({"budget": {}}, "never asked without a limit"),
        ({"budget": {"money": 3}}, "say what a request costs"),
        ({"model": "a/../b?x"}, "should match pattern"),
    ):
        chain = ["probe", "segment", {"name": "caption", "endpoint": {**KNOWN, **change}}]
        with pytest.raises(ManifestError) as caught:
            parse(CorpusManifest, {"name": "c", "transforms": chain}, where="c.yaml")
        assert told in str(caught.value)


KNOWN: dict[str, Any] = {"url": "https://host/v1", "model": "m", "folder": "/captions", "budget": {"requests": 1}}


def test_the_file_of_answers_holds_no_key(endpoint: Make, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame")
    cfg = endpoint(key_file=tmp_path / "key")
    transform = Transform(Config(endpoint=cfg))
    transform([clip_of()])
    text = (cfg.folder / "answers.jsonl").read_text()
    assert "sesame" not in text + transform.fingerprint + cfg.model_dump_json()
    assert [list(json.loads(line)) for line in text.splitlines()] == [["spent"], ["spent"], ["key", "answer"]]


def test_answers_that_a_full_disk_does_not_take_are_named(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as told:
        Memory(tmp_path, Caps()).settle(Spent(1))
    assert told.value.filename == str(tmp_path / "answers.jsonl")
