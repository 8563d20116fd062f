#!/bin/sh
# What a server gets, from requirements.txt: writes sbom.cdx.json (CycloneDX 1.6) and the table in
# docs/licences.md, then asks PyPI for known vulnerabilities. Exits with 1 if there is one, or if PyPI
# could not be asked about a package.
set -eu
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
tool() { package=$1; shift; .venv/bin/uv tool run --quiet --from "$package" "$@"; }
${PYTHON:-python3} -m venv "$place/run"
"$place/run/bin/pip" --quiet --disable-pip-version-check install --no-deps --require-hashes -r requirements.txt
tool cyclonedx-bom==7.5.0 cyclonedx-py environment "$place/run/bin/python" \
    --pyproject pyproject.toml --mc-type application --spec-version 1.6 --of JSON > sbom.cdx.json
echo "wrote sbom.cdx.json"
tool pip-licenses==5.5.5 pip-licenses --python "$place/run/bin/python" --format=markdown  --from=mixed \
    --with-urls --order=name > "$place/table"
sed -i '/^| /,$d' docs/licences.md
grep -v '^| vyrox' "$place/table" >> docs/licences.md
echo "wrote docs/licences.md"
tool pip-audit==2.10.1 pip-audit --strict --no-deps --disable-pip -r requirements.txt
