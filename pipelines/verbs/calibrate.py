"""`stipple corpus calibrate`: thresholds for each language, from the scores of a corpus that is known to be clean."""

import argparse
import json
from dataclasses import asdict

SUMMARY = "thresholds for each language, from a corpus that is known to be clean"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The anchor, the scores, the percentile."""
    parser.add_argument("corpus", help="the anchor: a folder with corpus.json, or the name of a corpus in the store")
    parser.add_argument("--scores", required=True, metavar="A,B", help="scores, such as utmos,mos_overall")
    parser.add_argument(
        "--percentile", type=float, default=10.0, metavar="P", help="of the anchor's clips (default 10)"
    )
    parser.add_argument("--where", metavar="CONDITION", help="look at these segments only")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def main(args: argparse.Namespace) -> int:
    """Print `keep:` lines that paste into a manifest."""
    from infra.manifest import ManifestError
    from pipelines.locate import corpus_at
    from pipelines.policy.calibrate import calibrate, yaml_of
    from pipelines.policy.conditions import read_condition
    from pipelines.policy.scored import score_names
    from pipelines.shards import read_card

    if not 0 < args.percentile < 50:
        raise ManifestError("--percentile", [f"lies between 0 and 50, but is {args.percentile:g}"])
    root = corpus_at(args.corpus)
    card = read_card(root)
    scores = [word.strip() for word in args.scores.split(",") if word.strip()]
    if not scores:
        raise ManifestError("--scores", ["names no score; such as mos_overall,snr_db"])
    where = args.where and read_condition(args.where, known=score_names(root), where="--where")
    found = calibrate(root, scores=scores, percentile=args.percentile, where=where or None)
    if args.json:
        print(json.dumps([asdict(item) for anchors in found.values() for item in anchors], indent=2))
    else:
        print(yaml_of(found, corpus=f"{card['name']}@{card['digest']}", percentile=args.percentile))
    return 0
