#!/bin/sh
# What a GPU makes of the library, in at most eight minutes: the tests that touch a device, trainings, fits and solvers beside the
# card's own matrix rate. Writes gpu.json and gpu.md into $OUT (runs/gpu by default), part by part: a time-out loses nothing.
#
#   benchmarks/gpu.sh pack ../shared/300w   here: up to 40 MB of faces into runs/gpu/faces.safetensors; without a folder synthetic ones
#   benchmarks/gpu.sh wheels                here: into runs/gpu/wheels, for Python 3.12 on x86-64 Linux, what a machine with PyTorch,
#                                           Lightning and scikit-image may lack
#   benchmarks/gpu.sh                       there, with runs/gpu brought along; no network is needed
#   benchmarks/gpu.sh page FOLDER           anywhere: docs/gpu.json and docs/gpu.md from the gpu.json in FOLDER
#
# --device cpu --quick tries all of it without a card, in a few seconds. Needs numpy, scipy, torch, lightning-fabric (or
# pytorch-lightning, which holds it), jaxtyping, safetensors, scikit-image, tqdm, pillow; for poses roma; for the tests pytest,
# pytest-timeout, pytest-benchmark, beartype, jsonargparse, and if it can be had pytest-xdist.
set -e
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=runs/gpu/wheels
if [ "$1" = wheels ]; then
    exec "$python" -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --dest "$wheels" \
        beartype docstring-parser importlib-resources jsonargparse roma typeshed-client
fi
if [ -d "$wheels" ] && ! "$python" -c 'import beartype, jsonargparse, roma' 2>/dev/null; then
    site=$(mktemp -d)
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
    PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "$python" -m benchmarks.gpu "$@"
