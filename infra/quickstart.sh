#!/usr/bin/env bash
# From nothing to speech: sets up .venv, then recordings -> corpus -> seven stages -> speech, with the lineage of it all.
#   bash infra/quickstart.sh [--venv DIR] [FOLDER_OF_RECORDINGS]
# Run it again whenever it stopped: it goes on where it was. Everything it makes lies in .venv/ and .stipple/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$PWD
venv=$root/.venv
folder=
while [ $# -gt 0 ]; do
    case $1 in
        --venv) [ $# -gt 1 ] || { echo "--venv needs a folder" >&2; exit 2; }; venv=$2; shift 2 ;;
        -h | --help) sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
        -*) echo "no option $1; usage: bash infra/quickstart.sh [--venv DIR] [FOLDER_OF_RECORDINGS]" >&2; exit 2 ;;
        *) [ -z "$folder" ] || { echo "one folder of recordings at most; quote a name with spaces" >&2; exit 2; }
           folder=$1; shift ;;
    esac
done
case $venv in /*) ;; *) venv=$here/$venv ;; esac
if [ -n "$folder" ]; then
    [ -d "$folder" ] || { echo "$folder: no such folder of recordings" >&2; exit 2; }
    folder=$(cd "$folder" && pwd)
fi

# shellcheck source=infra/environment.sh
source "$root/infra/environment.sh"
prepare "$root" "$venv" ''
cd "$root"

words=(run manifests/workflows/quickstart.yaml)
if [ -n "$folder" ]; then
    quoted=$("$venv/bin/python" -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$folder")
    words+=(--set "recordings.folder=$quoted")
fi
say "main job: stipple ${words[*]}"
told=$(mktemp)
trap 'rm -f "$told"' EXIT
"$venv/bin/stipple" "${words[@]}" | tee "$told"

place() { sed -n "s/^$1: //p" "$told" | tail -n 1; }
wav=$(find "$(place speech)" -name '*.wav' | sort | head -n 1)
command=stipple
[ "$(command -v stipple || true)" = "$venv/bin/stipple" ] || command=${venv#"$root/"}/bin/stipple
cat <<END

spoken (a tiny model: a voice's tune, no words)   ${wav:-none: see the report of the evaluation}
corpus audit page                                 $(place corpus)/audit.html
speech report                                     $(place speech)/report.html
bundle                                            $(place meanflow)/bundle

lineage of the model (stipple lineage show meanflow):
$("$venv/bin/stipple" lineage show "$(place meanflow)")

say something     $command say "Hello there." --from $(place meanflow)/bundle --out hello.wav
open MLflow on it $command lineage open
END
