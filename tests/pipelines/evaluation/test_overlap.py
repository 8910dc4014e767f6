"""What a bundle was trained on and is evaluated on is told; what nobody knows is told, too."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from infra.workflow.node import Job, Made
from pipelines.evaluation.overlap import Overlap, overlap


def test_corpora_and_recordings_above_bundle_and_data_are_told(tmp_path: Path) -> None:
    def made(kind: str, name: str, **inputs: Made) -> Made:
        slot = tmp_path / "store" / name / "0123456789abcdef"
        (slot / "out").mkdir(parents=True)
        own = {"kind": kind, "name": name, "digest": name * 8, "run": f"{name}-run", "fingerprint": "f" * 64}
        known = {role: {"out": str(one.out), "run": one.run, "name": one.name, "kind": one.kind, "digest": one.digest}
                 for role, one in inputs.items()}  # fmt: skip
        for file in ("state.json", "COMMIT.json"):
            (slot / file).write_text(json.dumps({**own, "status": "committed", "inputs": known}))
        return Made(**own, out=slot / "out")

    sounds, others = made("recordings", "sounds"), made("recordings", "others")
    heard, again = (made("corpus", name, recordings=sounds) for name in ("heard", "again"))
    unheard = made("corpus", "unheard", recordings=others)
    student = made("train", "student", start_from=made("train", "teacher", data=heard), data=made("corpus", "more"))

    def told(data: Made, *, bundle: Made = student) -> Overlap:
        return overlap(cast(Job, SimpleNamespace(inputs={"bundle": bundle, "data": data})))

    assert told(heard) == Overlap(["corpus heard@heardhea", "recordings sounds@soundsso"], [])
    assert told(again) == Overlap(["recordings sounds@soundsso"], [])
    assert told(unheard) == Overlap([], [])
    copied = replace(heard, out=tmp_path / "copied", run="")
    whence = "heard@heardhea is not in the store, so that nothing says which recordings it is made of"
    assert told(copied) == Overlap(["corpus heard@heardhea"], [whence])
    released = Made(kind="train", name="r", out=tmp_path / "r", digest="released", fingerprint="f", run="")
    what = "r@released is not in the store, so that nothing says what it was trained on"
    assert told(heard, bundle=released) == Overlap([], [what])
    assert told(copied, bundle=released) == Overlap([], [what, whence])
    assert overlap(cast(Job, SimpleNamespace(inputs={"bundle": student}))).unseen


def test_card_of_a_bundle_from_elsewhere_tells_what_it_was_trained_on(tmp_path: Path) -> None:
    parents = {
        role: {"name": name, "digest": name * 9, "run": ""} for role, name in (("data", "c"), ("start_from", "t"))
    }
    (tmp_path / "b" / "bundle").mkdir(parents=True)
    (tmp_path / "b" / "bundle" / "stipple.json").write_text(json.dumps({"parents": parents}))
    bundle = Made(kind="train", name="b", out=tmp_path / "b", digest="b" * 9, fingerprint="f", run="")
    data = Made(kind="corpus", name="renamed", out=tmp_path / "c", digest="c" * 9, fingerprint="f", run="")
    found = overlap(cast(Job, SimpleNamespace(inputs={"bundle": bundle, "data": data})))
    assert found.found == ["corpus renamed@cccccccc"]
    assert found.unseen[1].startswith("t@tttttttt is not in the store")


def test_card_that_does_not_say_which_its_parents_are_leaves_it_unknown(tmp_path: Path) -> None:
    (tmp_path / "b" / "bundle").mkdir(parents=True)
    bundle = Made(kind="train", name="b", out=tmp_path / "b", digest="b" * 9, fingerprint="f", run="")
    data = Made(kind="corpus", name="c", out=tmp_path / "c", digest="c" * 9, fingerprint="f", run="")
    for parents in ({"data": {"name": "c"}}, {"data": "c"}, ["c"]):
        (tmp_path / "b" / "bundle" / "stipple.json").write_text(json.dumps({"parents": parents}))
        found = overlap(cast(Job, SimpleNamespace(inputs={"bundle": bundle, "data": data})))
        assert found.found == []
        assert found.unseen[0] == "b@bbbbbbbb is not in the store, so that nothing says what it was trained on"
