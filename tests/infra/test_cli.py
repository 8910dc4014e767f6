"""The command line as a person meets it: quick help, frozen words, sentences and exit codes."""

import argparse
import importlib
import itertools
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import cli
from infra.mistakes import MISTAKES, last_line, sentence_of
from infra.workflow.fingerprint import code_of
from infra.workflow.node import Refused
from tests.processes import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "commands.txt"


def stipple(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    command = [sys.executable, "-P", "-m", "infra.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = stipple("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0
    assert all(name in done.stdout for name in cli.COMMANDS)
    assert took < 0.25, f"{took:.2f} s of processor time, where 0.03 are usual"
    code = "import sys, infra.cli; print(sorted({'torch', 'ray', 'mlflow', 'pydantic', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def flags(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    """Every command with its arguments, one a line."""
    own = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from flags(sub, f"{path} {name}")
        elif action.option_strings:
            own.append(action.option_strings[-1])
        else:
            own.append(action.metavar if isinstance(action.metavar, str) else action.dest)
    yield f"{path}: {' '.join(word for word in own if word != '--help')}"


def test_commands_and_flags_are_frozen() -> None:
    """A change here is a change of the interface: make it knowingly, and update tests/golden/commands.txt."""
    lines = []
    for name in cli.COMMANDS:
        parser = argparse.ArgumentParser()
        importlib.import_module(cli.COMMANDS[name][0]).add_arguments(parser)
        lines += sorted(flags(parser, f"stipple {name}"))
    assert "\n".join(lines) + "\n" == GOLDEN.read_text()


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and all below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from commands(sub)


def test_examples_of_the_help_are_what_a_command_takes_and_fit_a_narrow_terminal() -> None:
    found = 0
    for name in cli.COMMANDS:
        for parser in commands(cli.build_parser(only=name)):
            told = (parser.epilog or "").removeprefix("examples:\n") if "examples:" in (parser.epilog or "") else ""
            assert max((len(line) for line in told.splitlines()), default=0) <= 79, told
            for example in told.replace("\\\n", " ").splitlines():
                words = shlex.split(example)
                assert words.pop(0) == "stipple"
                typed = list(itertools.takewhile(lambda word: word not in ("<", "|"), words))
                cli.build_parser(only=typed[0]).parse_args(typed)
                found += 1
    assert found > 15


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_describes_itself_as_the_table_does(name: str) -> None:
    module, summary = cli.COMMANDS[name]
    assert summary == importlib.import_module(module).SUMMARY


@pytest.mark.parametrize("path", MISTAKES)
def test_every_error_for_people_exists(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_wrong_usage_is_exit_code_2() -> None:
    assert stipple().returncode == 2
    done = stipple("rum", "w.yaml")
    assert done.returncode == 2
    assert "invalid choice: 'rum'" in done.stderr


def test_a_missing_or_broken_manifest_is_a_sentence(tmp_path: Path) -> None:
    done = stipple("run", "manifests/workflows/quikstart.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such file; did you mean 'quickstart.yaml'?" in done.stderr
    done = stipple("run", "manifests/workflows/nowhere.yaml")
    assert done.stderr.rstrip().endswith("no such file")
    (tmp_path / "w.yaml").write_text("name: x\nnodes: {a: {kind: corpus}}\nstor: here\n")
    done = stipple("run", str(tmp_path / "w.yaml"))
    assert done.returncode == 2
    assert done.stderr.startswith("stipple: ")
    assert "stor: no such key; did you mean 'store'?" in done.stderr
    assert "nodes.a.manifest: Field required" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_without_its_input_is_a_sentence(tmp_path: Path) -> None:
    done = stipple("lineage", "show", "meanflow", "--store", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr == (
        f"stipple: {tmp_path / 'none'}: no store there; `stipple run manifests/workflows/quickstart.yaml` makes one\n"
    )


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = stipple("lineage", "open", "--store", str(tmp_path), "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"stipple: port {port} is in use: stop what listens there, or name another with --port\n"


def test_places_that_no_file_can_have_are_sentences(tmp_path: Path) -> None:
    for word, told in (
        ("x" * 300, "a name is too long for this system (xxx"),
        (tmp_path, "a folder is where a file should be"),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is what the sentence tells
            Path(word).write_text("")
        known = sentence_of(caught.value)
        assert known is not None
        assert known[1] == 1
        assert known[0].startswith(told)
        assert len(known[0]) < 300
    with pytest.raises(UnicodeEncodeError) as unreadable:
        "\udcff.wav".encode()
    assert sentence_of(unreadable.value) == (r"'\udcff.wav': a name that is not UTF-8; give the file another one", 1)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links") as caught:
        (tmp_path / "loop").read_text()
    assert sentence_of(caught.value) == (
        f"a link leads back to itself ({tmp_path / 'loop'}): name what it should lead to",
        1,
    )


def test_a_terminal_of_few_letters_shows_the_others_by_their_numbers() -> None:
    code = "import sys; from infra import cli, check; check.main = lambda args: print('caf\\u00e9 \\udcff') or 0; "
    words = [sys.executable, "-c", code + "sys.exit(cli.main(['check']))"]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )
    assert done.stdout == b"caf\\xe9 \\udcff\n"


def test_who_stops_a_command_while_it_loads_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert cli.main(["check"]) == 130


def test_what_a_worker_raised_is_told_as_if_raised_here() -> None:
    class TaskError(Exception):
        cause = Refused("an empty folder; give another")

    assert sentence_of(TaskError("a long remote traceback")) == ("an empty folder; give another", 1)
    assert sentence_of(ZeroDivisionError("ours")) is None
    assert last_line(RuntimeError("Traceback:\n  File x\nValueError: bad\n")) == "RuntimeError: ValueError: bad"


def test_no_color_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.log import paint

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "red") == "\033[31mx\033[0m"
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", "red") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red") == "x"


def test_a_signal_is_told_of_in_the_midst_of_a_line_that_nobody_reads_yet(popen: Callable[..., Any]) -> None:
    code = """if True:
        import os, signal
        from infra.log import say
        def told(*_):
            os.write(1, b"signal")
            say("told to stop")
        signal.signal(signal.SIGUSR1, told)
        os.write(1, b"ready!")
        for step in range(20000):
            say(f"step {step}")
    """
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = {"cwd": ROOT, "env": buffered, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = popen([sys.executable, "-c", code], **words)
    assert running.stdout.read(6) == b"ready!"
    until(lambda: psutil.Process(running.pid).status() == psutil.STATUS_SLEEPING, what="a full pipe", process=running)
    running.send_signal(signal.SIGUSR1)
    assert running.stdout.read(6) == b"signal"
    lines = running.stderr.read().splitlines()
    assert running.wait(timeout=PATIENCE_SECONDS) == 0
    assert len(lines) == 20001
    assert b"told to stop" in b"".join(lines)  # within the line that it came into


def test_threads_wait_as_the_person_said_or_briefly() -> None:
    assert cli.waiting({"HOME": "/"}) == cli.SPIN
    assert cli.waiting({"GOMP_SPINCOUNT": "7"}) == {}
    assert cli.waiting({"OMP_WAIT_POLICY": "ACTIVE"}) == {}


def test_commands_are_no_part_of_what_decides_an_artifact() -> None:
    code = code_of(["pipelines"])
    assert "pipelines/build.py" in code
    assert not [file for file in code if "/verbs/" in file or file.endswith(("cli.py", "evaluation/compare.py"))]
