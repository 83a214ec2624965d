#!/bin/sh
# Measure both engines on a machine with a GPU, Python 3.12, PyTorch and pyarrow, and no network.
#
#     benchmarks/gpu.sh WHEELS results.json
#
# WHEELS is the folder that `make gpu-bundle` fills. They are installed beside, not into, the
# machine's Python, which PYTHON names.
set -eu
wheels=$1
output=$2
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")/.." && pwd)
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$python" -c 'import torch' || { echo "PyTorch is missing: $python cannot import it." >&2; exit 1; }
"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
    --disable-pip-version-check --target "$site" "$wheels"/*.whl
"$python" -c 'import pyarrow' || {
    echo "pyarrow is missing. It is too large for the bundle: add its wheel to $wheels." >&2
    exit 1
}
case $output in /*) ;; *) output=$PWD/$output ;; esac
cd "$here"
PYTHONPATH="$site" PERSUASION_BATCH=1 HF_HUB_OFFLINE=1 \
    TOKENIZERS_PARALLELISM=false "$python" -m benchmarks.gpu "$output"
