"""The conventional build: FastAPI, `json`, and one LPUSH and one fsync'd log line per request.

What most teams would write first: one client with a pool, on the same Valkey as Vyrox, without
unnecessary work. It has no row and no redelivery decision, so it promises less.
"""

import hashlib
import hmac
import json
import os
import time
import uuid
from typing import Final

import redis.asyncio
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

_secret: Final = os.environ["BENCH_SECRET"].encode()
_hmac_secret: Final = os.environ["BENCH_HMAC_SECRET"].encode()
_redis: Final = redis.asyncio.Redis(
    connection_pool=redis.asyncio.BlockingConnectionPool.from_url(
        os.environ["BENCH_REDIS_URL"], max_connections=32, timeout=None
    )
)
_log: Final = os.open(os.environ["BENCH_LOG"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

_UNAUTHORIZED: Final = JSONResponse({"detail": "unauthorized"}, 401)


async def receive(request: Request) -> JSONResponse:
    """Accept one webhook."""
    body = await request.body()
    payload = json.loads(body)
    if not _is_signed(request, body, _secret):
        return _UNAUTHORIZED
    alert = {
        "id": str(uuid.uuid4()),
        "tenant_id": payload["customer_id"],
        "source": "crowdstrike",
        "raw_id": payload["detect_id"],
        "timestamp": payload.get("timestamp", time.time()),
        "hostname": payload["sensor"]["hostname"],
        "device_id": payload["sensor"]["agent_id"],
        "username": payload["process"]["user_name"],
        "process_name": payload["process"]["file_name"],
        "process_cmdline": payload["process"]["command_line"],
        "sha256": payload["process"]["sha256"],
        "tactic": payload["tactic"],
        "technique": payload["technique"],
        "vendor_severity": payload["severity"].upper(),
    }
    await _redis.lpush(f"alerts:{alert['tenant_id']}", json.dumps(alert))
    _write_line({"event": "alert.accepted", "tenant": alert["tenant_id"], "alert_id": alert["id"]})
    return JSONResponse({"status": "queued", "alert_id": alert["id"]}, 202)


async def execute(request: Request) -> JSONResponse:
    """Carry one containment out, in dry run."""
    body = await request.body()
    if not _is_signed(request, body, _hmac_secret):
        return _UNAUTHORIZED
    wanted = json.loads(body)
    if abs(time.time() - wanted["approved_at"]) > 30:
        return JSONResponse({"detail": "gone"}, 410)
    nonce = f"nonce:{wanted['request_id']}"
    if not await _redis.set(nonce, "in flight", nx=True, ex=600):
        return JSONResponse({"detail": "in flight"}, 409)
    _write_line({"timestamp": int(time.time()), **wanted})
    await _redis.set(nonce, "dry_run", ex=600)
    return JSONResponse({"status": "dry_run", "dry_run": True})


def _is_signed(request: Request, body: bytes, secret: bytes) -> bool:
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, request.headers.get("x-vyrox-signature", ""))


def _write_line(line: dict[str, object]) -> None:
    os.write(_log, json.dumps(line).encode() + b"\n")
    os.fsync(_log)


app = FastAPI()
app.add_api_route("/webhook/crowdstrike", receive, methods=["POST"], status_code=202)
app.add_api_route("/execute", execute, methods=["POST"])
