-- Signed requests for wrk, each with an identifier of its own, so that none repeats another.
--
--   wrk ... -s signed.lua URL -- KIND RUN TENANTS SECRET
--
-- KIND is `webhook` or `execute`; RUN is unique to this call of wrk; with TENANTS above 1, requests go
-- to the tenants bench-0, bench-1, ... in turn. wrk itself is linked to OpenSSL, whose HMAC signs.
-- After the run it prints one line of JSON: counts, and microseconds.

local ffi = require("ffi")
ffi.cdef([[
  const void *EVP_sha256(void);
  unsigned char *HMAC(const void *evp, const void *key, int key_len, const unsigned char *data,
                      size_t size, unsigned char *digest, unsigned int *digest_len);
]])
local crypto = ffi.load("libcrypto.so.3")
local evp = crypto.EVP_sha256()
local digest = ffi.new("unsigned char[32]")

local hex = {}
for byte = 0, 255 do
  hex[byte] = string.format("%02x", byte)
end

local function sign(body, secret)
  crypto.HMAC(evp, secret, #secret, body, #body, digest, nil)
  local digits = {}
  for i = 0, 31 do
    digits[i + 1] = hex[digest[i]]
  end
  return "sha256=" .. table.concat(digits)
end

-- The documented examples, in canonical form, with the three places that differ.
local bodies = {
  webhook = '{"customer_id":"%s","detect_id":"evt:%s:%d","process":{"command_line":'
    .. '"powershell -enc JABjAGwA...","file_name":"cmd.exe","sha256":'
    .. '"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","user_name":'
    .. '"CORP\\\\jsmith"},"sensor":{"agent_id":"12345678-1234-1234-1234-123456789abc","hostname":'
    .. '"workstation-01"},"severity":"high","tactic":"TA0004","technique":"T1059",'
    .. '"timestamp":1704067200}',
  execute = '{"action_type":"HOST_ISOLATION","alert_id":"alt_abc123","approved_at":%d,"approved_by":'
    .. '"jane.smith#1234","host":"workstation-01","request_id":"%s-%d","tenant_id":"%s"}',
}

local kind, run, tenants, secret
local sent = 0

function init(args)
  kind, run, tenants, secret = args[1], args[2], tonumber(args[3]), args[4]
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  sent = sent + 1
  local tenant = tenants > 1 and "bench-" .. sent % tenants or "acme-corp"
  local body
  if kind == "execute" then
    body = string.format(bodies.execute, os.time(), run, sent, tenant)
  else
    body = string.format(bodies.webhook, tenant, run, sent)
  end
  wrk.headers["X-Vyrox-Signature"] = sign(body, secret)
  return wrk.format(nil, nil, nil, body)
end

-- What is neither the expected status nor an error of wrk's own is counted by the caller: wrk calls
-- only 400 and above an error, and what it sent in the end has no answer.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers":%d,"duration_us":%d,"refused":%d,"socket_errors":%d,"timeouts":%d,"p50_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write,
    errors.timeout, latency:percentile(50), latency:percentile(99), latency.max
  ))
end
