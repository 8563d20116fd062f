#!/bin/sh
# Installs or upgrades Vyrox on this machine, from this directory, as root: user, environment,
# settings and systemd unit. It starts nothing. EXTRAS names optional parts: EXTRAS="otel sigma".
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "Run this as root: it makes a user, /opt/vyrox, /etc/vyrox and a systemd unit." >&2
    exit 1
fi
python=${PYTHON:-python3}
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "Vyrox needs Python 3.11 or newer with venv. Debian: apt-get install python3-venv" >&2
    exit 1
}

id vyrox >/dev/null 2>&1 || useradd --system --home-dir /var/lib/vyrox --shell /usr/sbin/nologin vyrox
install -d -m 0700 -o vyrox -g vyrox /var/lib/vyrox
install -d -m 0750 -g vyrox /etc/vyrox

# A new environment beside the old one, so that a failed installation leaves the old one whole.
rm -rf /opt/vyrox.new
"$python" -m venv --without-pip /opt/vyrox.new
"$python" -m venv /opt/vyrox.build
trap 'rm -rf /opt/vyrox.build /opt/vyrox.new' EXIT
pip() { /opt/vyrox.build/bin/pip --quiet --disable-pip-version-check --python /opt/vyrox.new/bin/python "$@"; }
echo "Installing into /opt/vyrox (about 100 MB)"
pip install --no-deps --require-hashes -r requirements.txt
for extra in ${EXTRAS:-}; do
    pip install --no-deps --require-hashes -r "requirements-$extra.txt"
done
pip install --no-deps --no-build-isolation .
pip uninstall --yes hatchling editables
# Scripts in an environment name its path.
sed -i '1s|/opt/vyrox\.new/|/opt/vyrox/|' /opt/vyrox.new/bin/vyrox
/opt/vyrox.new/bin/python -m vyrox --version
rm -rf /opt/vyrox.old
[ ! -e /opt/vyrox ] || mv /opt/vyrox /opt/vyrox.old
mv /opt/vyrox.new /opt/vyrox

if [ ! -e /etc/vyrox/vyrox.env ]; then
    (umask 027; cat > /etc/vyrox/vyrox.env <<END
# Settings of Vyrox; README.md lists them all. Keep a copy where you keep secrets.
VYROX_HMAC_SECRET=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
# A reverse proxy on this machine terminates TLS.
INGESTION_HOST=127.0.0.1
#PUBLIC_URL=https://hooks.example.com
#CONSOLE_ORIGIN=https://vyrox.example.com
DRY_RUN=true
END
    )
    chgrp vyrox /etc/vyrox/vyrox.env
fi
install -m 0644 deploy/vyrox.service /etc/systemd/system/vyrox.service
install -m 0755 deploy/vyrox-as-service /usr/local/bin/vyrox
if [ -e /opt/vyrox.old ]; then
    echo "Upgraded. Restart it with: systemctl daemon-reload && systemctl restart vyrox"
else
    echo "Installed. Start it with: systemctl daemon-reload && systemctl enable --now vyrox"
fi
echo "Commands use the service's user and settings: vyrox tenant list"
