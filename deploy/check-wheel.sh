#!/bin/sh
# Builds the wheel, installs it into a new environment with the hashes of requirements.txt, and runs
# the demo from it, outside this directory. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
repository=$PWD
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/build"
"$python" -m venv --without-pip "$place/run"
pip() { "$place/build/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install --no-deps --require-hashes -r requirements.txt
pip wheel --no-deps --no-build-isolation --wheel-dir "$place/dist" .
pip --python "$place/run/bin/python" install --no-deps --require-hashes -r requirements.txt
pip --python "$place/run/bin/python" install --no-deps "$place"/dist/*.whl
# What only builds is not for a server.
pip --python "$place/run/bin/python" uninstall --yes hatchling editables
cd "$place"
"$place/run/bin/vyrox" --version
"$place/run/bin/python" --version
"$place/run/bin/vyrox" demo --no-keep > demo.log 2>&1 || { tail -30 demo.log >&2; exit 1; }
"$place/run/bin/python" - "$repository" <<'END'
import sys, vyrox
assert not vyrox.__file__.startswith(sys.argv[1]), "the demo ran from the clone, not from the wheel"
END
echo "the demo ran from the wheel: $(wc -l < demo.log) lines; $(ls dist), $(du -sh run | cut -f1) installed"
