"""Readers: every sound file of a folder is found once, with what the tables say of it; mistakes are sentences."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from infra.manifest import resolve
from infra.workflow.node import Refused
from pipelines.readers import folder, jsonl
from pipelines.row import Recording


def read(root: Path, **settings: bool) -> dict[str, Recording]:
    return {r.name: r for r in folder.recordings(folder.Config(**settings), root)}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"....")


def test_every_sound_file_is_found_once_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.FLAC", "b/1.wav", "a.mp4", "notes.pdf", ".hidden/x.wav", "b/.x.wav")
    found = list(folder.recordings(folder.Config(), tmp_path))
    assert [r.name for r in found] == ["a.mp4", "b/1.wav", "b/2.FLAC"]
    assert [r.bytes for r in found] == [4, 4, 4]
    assert Path(found[1].uri) == tmp_path / "b/1.wav"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("t.tsv", 'file\tTranscript\tlang\tspeaker\tlicence_clip\tkind\na.wav\tHe said "Hi\ten\tbob\tCC0\tclean\n'),
        ("t.csv", 'path,sentence,locale,speaker_id,license,kind\na.wav,"He said ""Hi",en,bob,CC0,clean\n'),
        ("t.csv", 'path|text|language|spk|licence|kind\na|"He said ""Hi"|en|bob|CC0|clean\n'),
        (
            "t.jsonl",
            json.dumps(
                {"audio_filepath": "a.wav", "text": 'He said "Hi', "lang": "en", "speaker": "bob", "license": "CC0"}
                | {"kind": "clean"}
            )
            + "\n",
        ),
    ],
)
def test_tables_of_many_dialects_say_the_same(tmp_path: Path, file: str, text: str) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / file).write_text(text)
    found = read(tmp_path)
    told = found["a.wav"]
    assert (told.text, told.language, told.speaker, told.license) == ('He said "Hi', "en", "bob", "CC0")
    assert told.extra == {"kind": "clean"}
    assert found["b.wav"].text is None


def test_an_emotion_is_taken_from_its_column_in_lower_case(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "t.tsv").write_text("file\ttext\tEmotion\na.wav\tone\tSad\nb.wav\ttwo\tunknown\n")
    found = read(tmp_path)
    assert (found["a.wav"].emotion, found["b.wav"].emotion) == ("sad", None)
    assert found["a.wav"].extra == {}


def test_license_that_is_not_stated_is_unknown(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "t.tsv").write_text("file\tlicence_repo\tlicence_clip\na.wav\tMIT\tnot stated\n")
    assert read(tmp_path)["a.wav"].license == "unknown"


def test_file_that_a_table_names_but_that_is_gone_is_not_forgotten(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "t.tsv").write_text("file\ttext\na.wav\tone\ngone.wav\ttwo\n../../etc/passwd.wav\tthree\n")
    found = read(tmp_path)
    assert sorted(found) == ["a.wav", "gone.wav"]
    assert found["gone.wav"].bytes == 0


WRITTEN = {
    "absolute": "{root}/clips/b.wav", "by a link": "{link}/clips/b.wav", "back slashes": "clips\\b.wav",
    "capitals": "CLIPS/B.WAV", "bare": "b.wav", "bare capitals": "B.WAV", "bare without ending": "b",
    "dotted": "./clips/b.wav",
}  # fmt: skip


@pytest.mark.parametrize("how", WRITTEN)
def test_table_means_the_only_file_that_its_name_can_mean(tmp_path: Path, how: str) -> None:
    root = tmp_path / "mine"
    touch(root, "a.wav", "clips/b.wav", "clips/c.wav")
    (tmp_path / "link").symlink_to(root)
    name = WRITTEN[how].format(root=root, link=tmp_path / "link")
    (root / "t.tsv").write_text(f"file\ttext\n{name}\tits words\n")
    found = read(tmp_path / "link")
    assert {name: item.text for name, item in found.items()} == {
        "a.wav": None, "clips/b.wav": "its words", "clips/c.wav": None,
    }  # fmt: skip


def test_table_in_another_form_of_unicode_means_the_same_file(tmp_path: Path) -> None:
    for file, name in (("na\u0308he.wav", "n\u00e4he.wav"), ("gr\u00fcn.wav", "gru\u0308n.wav")):
        touch(tmp_path, file)
        (tmp_path / "t.tsv").write_text(f"file\ttext\n{name}\tits words\n")
        assert read(tmp_path)[file].text == "its words"


def test_name_that_can_mean_several_files_means_none_of_them_and_exact_names_come_first(tmp_path: Path) -> None:
    touch(tmp_path, "x/b.wav", "y/b.wav", "c.wav", "z/d.wav")
    rows = "b.wav\twhose\nC.WAV\tloose\nc.wav\texact\nz/gone.wav\tlost\nD.wav\tonly\n"
    (tmp_path / "t.tsv").write_text(f"file\ttext\n{rows}")
    found = read(tmp_path)
    assert {name: item.text for name, item in found.items()} == {
        "b.wav": "whose", "c.wav": "exact", "x/b.wav": None, "y/b.wav": None, "z/d.wav": "only", "z/gone.wav": "lost",
    }  # fmt: skip
    faults = {name for name, item in found.items() if item.fault}
    assert faults == {"b.wav", "z/gone.wav"}
    assert found["b.wav"].fault == "failed:missing: a table names it, but there is no such file"


def test_text_file_beside_is_the_transcript(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "a.txt").write_text("  one\ntwo ")
    assert read(tmp_path)["a.wav"].text == "one two"
    assert read(tmp_path, text_beside=False)["a.wav"].text is None


def test_folder_without_sound_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(Refused, match=r"no sound file in it \(it is empty\)"):
        read(tmp_path)
    touch(tmp_path, "a.txt", "b.pdf")
    with pytest.raises(Refused, match="it holds 2 other files"):
        read(tmp_path)


def test_table_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "t.tsv").write_bytes(b"file\ttext\na.wav\t\xff\xfe\n")
    with pytest.raises(Refused, match=r"t\.tsv: cannot be read as a table"):
        read(tmp_path)


def test_catalog_gives_back_what_was_written(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    written = list(folder.recordings(folder.Config(), tmp_path))
    (tmp_path / "recordings.jsonl").write_text("\n".join(json.dumps(asdict(r)) for r in written))
    assert list(jsonl.recordings(jsonl.Config(), tmp_path)) == written


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "a recording is a table"),
        ('{"uri": "a", "name": "a"}', "bytes is missing"),
        ('{"uri": "a", "name": "a", "bytes": 1, "lisense": "x"}', "did you mean 'license'"),
    ],
)
def test_mistake_in_a_catalog_is_a_sentence(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "recordings.jsonl").write_text(line)
    with pytest.raises(Refused, match=complaint):
        list(jsonl.recordings(jsonl.Config(), tmp_path))


@pytest.mark.shared
def test_the_shared_recordings_are_understood(shared: Path) -> None:
    found = read(shared / "audio")
    assert len(found) == 147
    jfk = found["en/jfk.flac"]
    assert jfk.text is not None
    assert jfk.text.startswith("And so my fellow Americans")
    assert (jfk.language, jfk.speaker, jfk.license) == ("en", "jfk", "public domain (US federal)")
    assert found["noise/sb_noise1.flac"].extra["kind"] == "noise"


def test_catalog_leads_out_of_its_folder_only_where_that_is_allowed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.wav", "catalog/in.wav", "secret.wav")
    (tmp_path / "catalog" / "link.wav").symlink_to(tmp_path / "secret.wav")
    uris = [
        "in.wav",
        "../secret.wav",
        "link.wav",
        str(tmp_path / "elsewhere/a.wav"),
        "pipe:cat x",
        "../x.tar!/a.wav@0+9",
    ]
    rows = [{"uri": uri, "name": uri, "bytes": 1} for uri in uris]
    (tmp_path / "catalog" / "recordings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults = [item.fault for item in jsonl.recordings(jsonl.Config(), tmp_path / "catalog")]
    assert faults[0] is None
    assert all((fault or "").startswith("failed:outside: ") for fault in faults[1:]), faults
    config = jsonl.Config(roots=[tmp_path / "elsewhere"])
    faults = [item.fault for item in jsonl.recordings(config, tmp_path / "catalog")]
    assert [fault is None for fault in faults] == [True, False, False, True, False, False]


def test_catalog_of_the_store_leads_to_the_folder_that_its_commit_names(tmp_path: Path) -> None:
    touch(tmp_path, "mine/a.wav", "other/b.wav")
    slot = tmp_path / "store" / "node" / "0123"
    slot.joinpath("out").mkdir(parents=True)
    rows = [{"uri": str(tmp_path / name), "name": name, "bytes": 1} for name in ("mine/a.wav", "other/b.wav")]
    (slot / "out" / "recordings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (slot / "COMMIT.json").write_text(json.dumps({"summary": {"roots": [str(tmp_path / "mine")]}}))
    first, second = jsonl.recordings(jsonl.Config(), slot / "out")
    assert first.fault is None
    assert (second.fault or "").startswith("failed:outside")


def test_sound_file_in_place_of_a_catalog_is_a_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "x.FLAC")
    with pytest.raises(Refused, match=r"x\.FLAC: it is a sound file; give the folder that it lies in, or a catalog"):
        list(jsonl.recordings(jsonl.Config(), tmp_path / "x.FLAC"))


def test_links_out_of_a_folder_are_failed_rows_unless_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.wav", "mine/in.wav")
    (tmp_path / "elsewhere" / "a.txt").write_text("not mine")
    (tmp_path / "mine" / "out.wav").symlink_to(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "mine" / "out.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    (tmp_path / "mine" / "again.wav").symlink_to(tmp_path / "mine" / "in.wav")
    found = read(tmp_path / "mine")
    assert (found["out.wav"].fault or "").startswith("failed:outside")
    assert found["out.wav"].text is None
    assert found["again.wav"].fault is None
    assert read(tmp_path / "mine", links=True)["out.wav"].fault is None


def too_deep(root: Path) -> None:
    """A folder at a path that is longer than any call takes: nobody can list it by its name, whoever asks."""
    at = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("n" * 250, dir_fd=at)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


@pytest.mark.parametrize("layout", ["folder", "webdataset", "parquet", "kaldi"])
def test_folder_that_cannot_be_listed_is_a_sentence_and_never_passed_over(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, "a.wav", "a.tar", "a.parquet", "wav.scp")
    too_deep(tmp_path)
    reader = resolve("pipelines.readers", layout)
    with pytest.raises(Refused, match=r"nnn.*: the folder cannot be listed \(File name too long\)"):
        list(reader.recordings(reader.Config(), tmp_path))


def test_linked_folders_are_followed_where_that_is_asked_for_and_else_told(tmp_path: Path) -> None:
    touch(tmp_path, "mine/a.wav", "elsewhere/b.wav", "elsewhere/deep/c.wav")
    for name, target in (("out", "elsewhere"), ("again", "elsewhere"), ("loop", "mine"), ("up", ".")):
        (tmp_path / "mine" / name).symlink_to(tmp_path / target)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    config = folder.Config()
    assert sorted(read(tmp_path / "mine")) == ["a.wav"]
    assert folder.left_alone(config, tmp_path / "mine") == "left alone: links to folders 4"
    found = read(tmp_path / "mine", links=True)
    assert sorted(found) == ["a.wav", "again/b.wav", "again/deep/c.wav"]
    assert not any(item.fault for item in found.values())


def test_what_is_no_recording_is_counted_and_what_is_called_like_one_is_a_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b/b.ts", "b/b.lab", "b/c.lab", "LICENSE", ".hidden")
    (tmp_path / "a.txt").write_text("its transcript")
    (tmp_path / "t.tsv").write_text("file\ttext\n")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert list(read(tmp_path)) == ["a.wav", "gone.wav", "pipe.wav"]
    assert folder.left_alone(folder.Config(), tmp_path) == "left alone: .lab 2, no ending 1, .ts 1"
    (tmp_path / "metadata.csv").write_text("LJ001-0001|Printing, in the only sense|Printing\nLJ001-0002|in|in\n")
    (tmp_path / "good.tsv").write_text("file\ttext\na.wav\tyes\n")
    told = folder.left_alone(folder.Config(), tmp_path)
    assert told.startswith("left alone: .lab 2, no ending 1, .ts 1; no column of metadata.csv names sound files")


TEXTS = {
    "empty": ("", None), "blank": (" \n\t ", None), "controls": ("a\x00b\x1b[31m\x07c", "a b [31m c"),
    "emoji": ("hi 👩\u200d🚀", "hi 👩\u200d🚀"), "rtl": ("שלום עולם", "שלום עולם"),
    "bidi": ("a\u202egpj\u2066", "agpj"),
    "joiners": ("می\u200cروم", "می\u200cروم"), "lines": ("one\r\ntwo\u2028three", "one two three"),
    "half": ("a\ud800b", "ab"), "bom": ("\ufeffhello", "hello"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_transcript_becomes_one_line_that_can_be_written_anywhere(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "a.wav")
    given, expected = TEXTS[kind]
    (tmp_path / "t.jsonl").write_text(json.dumps({"file": "a.wav", "text": given}) + "\n")
    text = read(tmp_path)["a.wav"].text
    assert text == expected
    json.dumps(text, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"caf\xe9", "not UTF-8"), (b"x" * 500_000, "500000 characters"), (b"\xff\xfeh\0i\0", "not UTF-8")],
)
def test_transcript_that_cannot_be_one_is_left_out_and_told(tmp_path: Path, data: bytes, why: str) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "a.txt").write_bytes(data)
    item = read(tmp_path)["a.wav"]
    assert item.text is None
    assert why in item.extra["text_fault"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"uri": "a", "name": "a", "bytes": "1"}', "bytes is to be int"),
        ('{"uri": "a", "name": "a", "bytes": true}', "bytes is to be int"),
        ('{"uri": "a", "name": "a", "bytes": 1, "start_seconds": "x"}', "start_seconds is to be float"),
        ('{"uri": "a", "name": "a", "bytes": 1, "fault": "bad"}', "fault begins with"),
    ],
)
def test_catalog_with_a_value_of_the_wrong_kind_is_a_sentence(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "recordings.jsonl").write_text(line)
    with pytest.raises(Refused, match=complaint):
        list(jsonl.recordings(jsonl.Config(), tmp_path))
