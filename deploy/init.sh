#!/bin/sh
# Writes .env with new secrets for compose.yaml. An .env that exists is left as it is.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo ".env exists, so nothing was changed. It holds the secrets of this installation." >&2
    exit 1
fi
if [ $# -ne 2 ]; then
    echo "usage: deploy/init.sh PUBLIC_NAME CONSOLE_NAME" >&2
    echo "  two names of this machine, such as hooks.example.com vyrox.example.com" >&2
    exit 2
fi
umask 077
cat > .env <<END
PUBLIC_NAME=$1
CONSOLE_NAME=$2
POSTGRES_PASSWORD=$(openssl rand -hex 24)
VYROX_HMAC_SECRET=$(openssl rand -hex 32)
VYROX_ENCRYPTION_KEY=$(openssl rand -base64 32 | tr '+/' '-_')
VYROX_CHECKPOINT_KEY=$(openssl rand -base64 32 | tr '+/' '-_')
DRY_RUN=true
REQUIRE_APPROVAL=false
END
echo "Wrote .env. Keep a copy where you keep secrets: without VYROX_ENCRYPTION_KEY a backup is useless."
