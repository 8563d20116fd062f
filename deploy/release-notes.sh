#!/bin/sh
# Prints the notes of a version, from CHANGELOG.md, for its tag:
#     deploy/release-notes.sh 0.2.0 | git tag -a v0.2.0 --cleanup=whitespace -F -
# "Unreleased" is what the next version would have. Exits with 1 if there is no such section.
set -eu
version=${1:?usage: deploy/release-notes.sh VERSION}
awk -v wanted="[$version]" '
    /^## / { inside = ($2 == wanted); found = found || inside; next }
    inside && (begun || NF) { begun = 1; print }
    END { exit !found }
' "$(dirname "$0")/../CHANGELOG.md"
