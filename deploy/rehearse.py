"""Runs the Dockerfile's steps without Docker, then the service as the image would run it.

For a machine without a container engine or a registry. It needs Debian's `bubblewrap` and a root
directory to stand for the base image: `/`, or one that `debootstrap trixie` made.

Each stage is a sandbox whose root is read-only. A RUN may write to what the Dockerfile makes (/opt,
/src, /data) and to /tmp. The last command runs as the Dockerfile's USER, with /data and /tmp alone
to write to, until the health check succeeds, an alert is accepted, and SIGTERM ends it with exit
code 0.
It does not check what Docker itself does: layers, the registry's base image, its seccomp profile.

    python3 deploy/rehearse.py --root /path/to/root
"""

import argparse
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WRITABLE = ("opt", "src", "data")
PORT = 18001
SECRET = "a-secret-for-the-rehearsal-of-32-bytes"


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    found = [line.split(None, 1) for line in joined]
    return [(words[0], words[1].strip()) for words in found if len(words) == 2]


class Image:
    """One stage: the directories that its steps write, its environment and its user."""

    def __init__(self, root: Path, place: Path) -> None:
        self.root = root
        self.place = place
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.workdir = "/"
        self.user = "0:0"
        self.entrypoint: list[str] = []
        self.cmd: list[str] = []
        self.healthcheck: list[str] = []
        for name in WRITABLE:
            (place / name).mkdir(parents=True)

    def command(
        self, argv: list[str], *, writable: tuple[str, ...], env: dict[str, str]
    ) -> list[str]:
        """Return the bubblewrap command that runs `argv` in this stage."""
        uid, gid = self.user.split(":")
        made = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-user", "--clearenv"]
        made += ["--uid", uid, "--gid", gid, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
        for name in ("usr", "etc"):
            made += ["--ro-bind", str(self.root / name), f"/{name}"]
        # Debian's own links; names and certificates come from this machine.
        for name in ("bin", "sbin", "lib", "lib64"):
            made += ["--symlink", f"usr/{name}", f"/{name}"]
        for name in ("resolv.conf", "hosts", "ssl/certs/ca-certificates.crt"):
            made += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
        for name in WRITABLE:
            kind = "--bind" if name in writable else "--ro-bind"
            made += [kind, str(self.place / name), f"/{name}"]
        made += ["--remount-ro", "/", "--chdir", self.workdir]
        for name, value in {**self.env, **env}.items():
            made += ["--setenv", name, value]
        return [*made, "--", *argv]

    def apply(self, name: str, rest: str, stages: "dict[str, Image]") -> None:
        """Carry out one instruction."""
        if name == "WORKDIR":
            self.workdir = rest
        elif name == "USER":
            self.user = rest
        elif name == "ENV":
            for pair in rest.split():
                variable, _, value = pair.partition("=")
                self.env[variable] = value
        elif name == "ARG":
            variable, _, value = rest.partition("=")
            self.env[variable] = os.environ.get(variable, value.strip('"'))
        elif name == "COPY":
            self._copy(rest.split(), stages)
        elif name == "RUN":
            self._run(rest)
        elif name == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        elif name == "CMD":
            self.cmd = json.loads(rest)
        elif name == "HEALTHCHECK":
            self.healthcheck = json.loads(rest.partition(" CMD ")[2])
        elif name not in ("EXPOSE", "VOLUME", "STOPSIGNAL"):
            sys.exit(f"{name}: this script does not know that instruction")

    def _copy(self, words: list[str], stages: "dict[str, Image]") -> None:
        base = REPOSITORY
        if words[0].startswith("--from="):
            base = stages[words.pop(0).removeprefix("--from=")].place
        *sources, target = words
        into = self.place / os.path.join(self.workdir, target).lstrip("/")
        ignored = shutil.ignore_patterns("__pycache__") if base == REPOSITORY else None
        for source in sources:
            found = base / source.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy2(found, into)

    def _run(self, line: str) -> None:
        # Here one user owns all files. pip has the settings of this machine.
        line = line.replace("mkdir -m 0700 /data && chown 10001:10001 /data", "chmod 0700 /data")
        print(f"RUN {line[:100]}")
        env = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        argv = self.command(["sh", "-c", line], writable=WRITABLE, env=env)
        done = subprocess.run(argv, check=False)
        if done.returncode:
            sys.exit(f"that step failed with exit code {done.returncode}")


def build(root: Path, place: Path) -> Image:
    """Carry out every instruction of the Dockerfile and return the last stage."""
    stages: dict[str, Image] = {}
    image = None
    for name, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
        if name == "FROM":
            stage = rest.partition(" AS ")[2] or "final"
            image = stages[stage] = Image(root, place / stage)
        elif image is not None:
            image.apply(name, rest, stages)
    if image is None:
        sys.exit("the Dockerfile has no FROM")
    return image


def send_alert() -> int:
    """Send one signed alert and return the status of the answer."""
    alert = {
        "detect_id": "rehearsal:1",
        "customer_id": "acme",
        "severity": "high",
        "sensor": {"hostname": "ws-1"},
    }
    body = json.dumps(alert).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-vyrox-signature": f"sha256={signature}"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/webhook/crowdstrike", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes below `pid`, nearest first."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from descendants(int(child))


def rehearse(image: Image) -> None:
    """Run the service as the image would, read-only, and check what a platform relies on."""
    env = {
        "VYROX_HMAC_SECRET": "another-secret-for-the-rehearsal-32-bytes",
        "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
        "PORT": str(PORT),
        "PROXY_PORT": "13000",
        "CONSOLE_PORT": "18002",
    }
    argv = [*image.entrypoint, *image.cmd]
    service = subprocess.Popen(image.command(argv, writable=("data",), env=env))
    healthcheck = image.command(image.healthcheck, writable=("data",), env=env)
    for _ in range(60):
        if subprocess.run(healthcheck, check=False, capture_output=True).returncode == 0:
            break
        if service.poll() is not None:
            sys.exit(f"the service ended with exit code {service.returncode}")
        time.sleep(1)  # as a platform does: its health check asks again and again
    else:
        sys.exit("the health check never succeeded")
    print("healthy, as user", image.user)
    status = send_alert()
    if status != 202:
        sys.exit(f"an alert got {status}, 202 was expected")
    print("an alert was accepted: 202")
    for place in ("/opt/vyrox", "/usr", "/"):
        attempt = ["python", "-c", f"open('{place}/x', 'w')"]
        argv = image.command(attempt, writable=("data",), env={})
        if subprocess.run(argv, check=False, capture_output=True).returncode == 0:
            sys.exit(f"{place} can be written to")
    print("the root file system is read-only")
    # The sandbox's first process passes no signals on, so the service itself is asked.
    for pid in descendants(service.pid):
        if "bwrap" not in Path(f"/proc/{pid}/comm").read_text():
            os.kill(pid, signal.SIGTERM)
            break
    code = service.wait(60)
    if code != 0:
        sys.exit(f"after SIGTERM the exit code was {code}")
    print("SIGTERM: ended with exit code 0")


def main() -> None:
    """Build, run, and say how large the environment is."""
    parser = argparse.ArgumentParser(description="Run the Dockerfile's steps without Docker.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="stands for the base image")
    root = parser.parse_args().root.resolve()
    with tempfile.TemporaryDirectory() as place:
        image = build(root, Path(place))
        files = [each for each in (image.place / "opt").rglob("*") if not each.is_dir()]
        print(f"/opt/vyrox: {sum(each.lstat().st_size for each in files) / 1e6:.0f} MB")
        rehearse(image)


if __name__ == "__main__":
    main()
