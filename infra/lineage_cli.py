"""`stipple lineage`: what a model was made from and has heard, who has heard a recording, what MLflow has of it."""

import argparse
import importlib
import json
import os
import select
import socket
import sys
import time
from pathlib import Path

from infra.ancestry import ancestors, as_table, find, tree_lines
from infra.comparison import compared
from infra.examples import add_examples
from infra.locks import owned
from infra.log import ago, say
from infra.shipping import database_of, default_tracking, journals, pending, without_login, without_password
from infra.storage import ROOT
from infra.workflow.node import Refused
from infra.workflow.store import Store

SUMMARY = "show what a model was made from; ship journals to MLflow"
HEARD = "training.lineage"
"""Who knows the order of samples. By name, so that infra imports nothing above it."""
PATIENCE_SECONDS = 10.0
"""How long the shipper still tries an MLflow that does not answer once the work is done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--store", type=Path, default=ROOT / ".stipple" / "store", help="default: .stipple/store")
    mlflow = argparse.ArgumentParser(add_help=False)
    mlflow.add_argument("--tracking", help="MLflow tracking URI; default: an sqlite database beside the store")

    def verb(name: str, told: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=parents, help=told, description=told)

    show = verb("show", "the tree from an artifact back to source files and licenses", where)
    show.add_argument("reference", help="a node's name, name@digest, a run, a fingerprint, or any path in an artifact")
    show.add_argument("--files", type=int, default=3, help="source files to name of each license (default 3)")
    show.add_argument("--json", action="store_true", help="the tree as JSON")
    compare = verb("compare", "in what two artifacts differ, and what they were made from", where)
    for name in ("one", "other"):
        compare.add_argument(name, help="as of `show`; a fingerprint tells two of one node apart")
    samples = verb("samples", "which samples the stages of a model have heard", where)
    samples.add_argument("reference", help="as of `show`: a bundle, a stage, a run")
    samples.add_argument("--keys", action="store_true", help="all of them: step, corpus, key, recording; tab-separated")
    heard = verb("heard", "which models have heard a recording or a sample", where)
    heard.add_argument("word", help="a key, a recording's name, its sha256 or URL, or the file itself")
    heard.add_argument("--keys", action="store_true", help="and the steps at which they did")
    verb("list", "every artifact of the store, newest first", where, mlflow)
    ship = verb("ship", "send what MLflow does not have yet", where, mlflow)
    ship.add_argument(
        "--follow",
        action="store_true",
        help="go on until standard input closes, whose first line is the tracking URI (the workflow uses it)",
    )
    verb("rebuild", "send everything again, to an empty MLflow", where, mlflow)
    page = verb("open", "serve MLflow's web page on this machine, or say where it is", where, mlflow)
    page.add_argument("--port", type=int, default=5000, help="default: 5000")
    add_examples(show, "lineage show meanflow", "lineage show path/to/bundle", "lineage show meanflow@d5f69407")
    add_examples(compare, "lineage compare e2b4c464 1d20e350", "lineage compare soar@b6c69e08 soar")
    add_examples(heard, "lineage heard recordings/a.wav", "lineage heard a619bddea99c898ac8ac0858aa --keys")


def main(args: argparse.Namespace) -> int:
    """Do the action."""
    store = Store(args.store)
    if not store.root.is_dir():
        raise Refused(f"{store.root}: no store there; `stipple run manifests/workflows/quickstart.yaml` makes one")
    if args.action == "show":
        top = ancestors(store, find(store, args.reference))
        print(json.dumps(as_table(top), indent=2) if args.json else "\n".join(tree_lines(top, files=args.files)))
        return 0
    if args.action == "compare":
        pair = [ancestors(store, find(store, word)) for word in (args.one, args.other)]
        print("\n".join(compared(*pair)))
        return 0
    if args.action in ("samples", "heard"):
        training = importlib.import_module(HEARD)
        if args.action == "heard":
            lines = training.models(store, args.word, steps=args.keys)
        else:
            lines = training.samples(ancestors(store, find(store, args.reference)), keys=args.keys)
        for line in lines:
            print(line)
        return 0
    following = args.action == "ship" and args.follow
    told = sys.stdin.readline().strip() if following else args.tracking
    uri = told or default_tracking(store.root)
    if args.action == "list":
        return listed(store, uri)
    if args.action == "open":
        return opened(uri, port=args.port)
    if not following and not journals(store.root):
        raise Refused(f"{store.root}: no run is noted in it; name the store by --store, or run a workflow first")
    store.reap(say)
    return follow(store, uri) if following else ship(store, uri, anew=args.action == "rebuild")


def listed(store: Store, uri: str) -> int:
    """One line an artifact on stdout."""
    behind = {path.parent for path in pending(store.root, uri)}
    slots = store.slots()
    width = max([24, *(len(slot.folder.parent.name) for slot in slots)])
    for slot in slots:
        state, record = slot.state(), slot.commit_record()
        status = "made" if record else state.get("status", "?")
        digest = record["digest"][:8] if record else "-"
        when = ago(float(record["committed"] if record else state.get("started", 0)))
        note = "  (MLflow is behind)" if slot.folder in behind else ""
        name, run = state.get("node", "?"), state.get("run", "")[:8]
        print(f"{name:<{width}} {status:<12} {digest:<8} run {run}  {slot.folder.name[:8]}  {when}{note}")
    return 0


def ship(store: Store, uri: str, *, anew: bool) -> int:
    """Send what is pending, once."""
    from infra.lineage import Shipper
    from infra.refusals import Unreachable

    with owned(lock_of(store, uri), waiting=lambda who: say(f"waiting: {who} is shipping")):
        try:
            shipper = Shipper(store.root, uri)
            if anew:
                shipper.forget()
            waiting = shipper.ship_all()
        except Unreachable as error:
            told = without_password(f"MLflow at {uri} {error}")
            raise Refused(f"{told}; nothing is lost: try again later") from None
    if shipper.rejected:
        say(f"MLflow rejects a run: {shipper.rejected}")
    count = len(journals(store.root))
    say(without_password(f"MLflow at {uri} has {count - waiting} of {count} runs"))
    return 1 if waiting else 0


def lock_of(store: Store, uri: str) -> Path:
    """The lock of who ships: of a store, or of a database, which several stores may share. Two MLflows that make the
    tables of a new one at once break it for good."""
    database = database_of(uri)
    return store.root / ".shipping.lock" if database is None else database.with_name(f".{database.name}.lock")


def follow(store: Store, uri: str) -> int:
    """Send what is new, again and again, until standard input closes; then the rest. Says only what it cannot do."""
    from infra.lineage import Shipper
    from infra.refusals import Unreachable

    os.nice(10)
    shipper: Shipper | None = None
    told, ended, pause = "", 0.0, 0.5
    while True:
        if not ended and select.select([sys.stdin], [], [], pause)[0] and not os.read(0, 4096):
            ended = time.monotonic()
            store.reap(say)
        try:
            with owned(lock_of(store, uri), waiting=lambda who: None):
                shipper = shipper or Shipper(store.root, uri)
                waiting = shipper.ship_all()
            pause = 0.5
            if ended and not waiting and not pending(store.root, uri):
                return 0
            problem = (shipper.rejected or "some runs wait for the model of another run") if waiting else ""
        except Unreachable as error:
            problem, pause = without_password(f"MLflow at {uri} {error}"), min(30.0, pause * 2)
        if problem and problem != told:
            say(problem)
            told = problem
        if ended:
            if time.monotonic() - ended > PATIENCE_SECONDS:
                return 1
            time.sleep(0.5)


def opened(uri: str, *, port: int) -> int:
    """Say where MLflow's page is, where a server has it; otherwise serve it here."""
    if uri.startswith(("http://", "https://")):
        print(without_login(uri))
        return 0
    return serve(uri, port=port)


def serve(uri: str, *, port: int) -> int:
    """Run MLflow's server on the loopback interface in place of this process."""
    if not 0 < port < 2**16:
        raise Refused(f"--port {port}: a port is a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise Refused(f"port {port} is in use: stop what listens there, or name another with --port") from None
    say(f"MLflow starts in about half a minute at http://127.0.0.1:{port} (Ctrl-C stops it)")
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--uvicorn-opts", "--log-level warning"]  # else it tells every request
    told = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    told["PYTHONWARNINGS"] = "ignore"  # of MLflow's own libraries
    told["MLFLOW_BACKEND_STORE_URI"] = uri  # here, and not in the list of processes: it may hold a password
    settings = os.environ | told  # noqa: TID251 - MLflow reads these from the environment alone
    os.execve(sys.executable, [sys.executable, "-P", "-m", "mlflow", *words], settings)
