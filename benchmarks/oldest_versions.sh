#!/bin/bash
# The tests with the oldest versions that setup.cfg claims (constraints-oldest.txt), in an environment of its own:
#
#     bash benchmarks/oldest_versions.sh [--torch VERSION] [arguments of pytest]
#
# Without arguments of pytest, the whole suite. The oldest torch is a CUDA build of some 5 GB on PyPI. Where a CPU build of
# another one is at hand, `--torch` takes that; what else there is stays the oldest.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp constraints-oldest.txt "$work/constraints.txt"
if [ "${1:-}" = --torch ]; then
    sed -i "s/^torch==.*/torch==$2/" "$work/constraints.txt"
    shift 2
fi
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install -q -c "$work/constraints.txt" -e ".[test]"
"$work/env/bin/python" -m pip list 2>/dev/null | grep -E '^(torch|monai|transformers|peft|trl|numpy) '
"$work/env/bin/python" -m pytest "$@"
