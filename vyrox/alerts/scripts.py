"""The Lua scripts of the alert queue. Redis runs each script in one atomic step.

A tenant has two keys: the stream, and the hash of its marks (alert id -> entry id). A mark whose
entry does not exist, or belongs to another alert, counts as missing: the stream may have been
deleted, and a new stream may use the same entry id for another alert.

The hash also has the fields `bytes` and `count`: the result of the last recount plus everything
that was added since, minus what REMOVE has removed. Other consumers need not update them, so both
are upper bounds. They start at zero
when the stream is empty. If they are missing, the marks were lost or were written by an earlier
version. If they are missing or too inexact, `put` returns `unsure`, and the stream must be counted.
"""

from typing import Final

_PUT_ONE: Final = """
local function is_queued(stream, entry, id)
  local found = entry and redis.call('XRANGE', stream, entry, entry)[1]
  return found and string.find(found[2][2], id, 1, true)
end
local function put(stream, marks, max_alerts, max_bytes, id, alert, raw)
  local known = redis.call('HMGET', marks, id, 'bytes', 'count')
  if is_queued(stream, known[1], id) then return 'present' end
  local length = redis.call('XLEN', stream)
  if length >= max_alerts then return 'full' end
  local bytes, count = 0, 0
  if length > 0 then
    if not known[2] then return 'unsure' end
    bytes, count = tonumber(known[2]), tonumber(known[3])
    if bytes >= max_bytes then
      return (count - length) * 16 >= count and count > length and 'unsure' or 'full'
    end
  end
  local entry = redis.call('XADD', stream, '*', 'alert', alert, 'raw', raw)
  redis.call('HSET', marks, id, entry, 'bytes', bytes + #alert + #raw, 'count', count + 1)
  return 'added'
end
"""

# KEYS: the stream and the marks of each alert. ARGV: both maxima, then three values per alert.
PUT: Final = (
    _PUT_ONE
    + """
local results, max_alerts, max_bytes = {}, tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, #KEYS / 2 do
  results[i] = put(KEYS[2 * i - 1], KEYS[2 * i], max_alerts, max_bytes,
                   ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2])
end
return results
"""
)

# Runs every Redis command that a 202 needs, on keys that no tenant has. If ARGV[1] is a group, it
# also runs the commands of a dead letter. The alert must be the first write: Redis checks its
# memory limit before the first write only.
PROBE: Final = (
    _PUT_ONE
    + """
local stream, marks, results = KEYS[1], KEYS[2], {}
for i = 1, 2 do results[i] = put(stream, marks, 2, 2, 'id', 'id', '') end
if ARGV[1] ~= '' then
  redis.call('SCAN', '0', 'COUNT', 1)
  redis.call('XGROUP', 'CREATE', stream, ARGV[1], '0')
  redis.call('XPENDING', stream, ARGV[1], '-', '+', 1)
  redis.call('XACK', stream, ARGV[1], '0-1')
  redis.call('XDEL', stream, '0-1')
  redis.call('HDEL', marks, 'id')
end
redis.call('DEL', stream, marks)
return results
"""
)

# Returns two lists of alert ids: those without an entry, and those of streams to be counted first.
MISSING: Final = (
    _PUT_ONE
    + """
local missing, unsure = {}, {}
for i = 1, #ARGV do
  local stream, marks = KEYS[2 * i - 1], KEYS[2 * i]
  local known = redis.call('HMGET', marks, ARGV[i], 'bytes')
  if not is_queued(stream, known[1], ARGV[i]) then
    local is_counted = known[2] or redis.call('XLEN', stream) == 0
    local list = is_counted and missing or unsure
    list[#list + 1] = ARGV[i]
  end
end
return {missing, unsure}
"""
)

# Marks one page of the entries after ARGV[1], and adds the page to the bytes and the count so far.
# Entries that are added meanwhile are at the end of the stream. Entries that are removed meanwhile
# may have been counted: the result is an upper bound.
RECOUNT: Final = """
local stream, marks = KEYS[1], KEYS[2]
local after, bytes, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most_bytes, most = bytes + tonumber(ARGV[4]), count + tonumber(ARGV[5])
while bytes < most_bytes and count < most do
  local found = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', 1)[1]
  if not found then
    redis.call('HSET', marks, 'bytes', bytes, 'count', count)
    return {1, after, bytes, count}
  end
  local alert, raw = found[2][2], found[2][4]
  local id = string.match(alert, '^{"id":"([^"]+)"')
  if id then redis.call('HSET', marks, id, found[1]) end
  after, bytes, count = found[1], bytes + #alert + #(raw or ''), count + 1
end
return {0, after, bytes, count}
"""

_REMOVE_ONE: Final = """
local function remove(stream, marks, group, id, alert_id)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  redis.call('XACK', stream, group, id)
  redis.call('XDEL', stream, id)
  local known = redis.call('HMGET', marks, 'bytes', 'count')
  if entry and known[1] then
    local bytes = tonumber(known[1]) - #entry[2][2] - #(entry[2][4] or '')
    local count = tonumber(known[2]) - 1
    redis.call('HSET', marks, 'bytes', math.max(bytes, 0), 'count', math.max(count, 0))
  end
  redis.call('HDEL', marks, alert_id)
  if redis.call('XLEN', stream) == 0 then redis.call('DEL', marks) end
end
"""

# ARGV: the group, then an entry id and an alert id for each alert.
REMOVE: Final = (
    _REMOVE_ONE
    + """
for i = 2, #ARGV, 2 do remove(KEYS[1], KEYS[2], ARGV[1], ARGV[i], ARGV[i + 1]) end
"""
)

# Removes the entry of an alert, which the marks name. ARGV: the group and the alert id.
REMOVE_ALERT: Final = (
    _PUT_ONE
    + _REMOVE_ONE
    + """
local entry = redis.call('HMGET', KEYS[2], ARGV[2])[1]
if is_queued(KEYS[1], entry, ARGV[2]) then remove(KEYS[1], KEYS[2], ARGV[1], entry, ARGV[2]) end
"""
)

# Returns the ids of the alerts that were delivered and not acknowledged. A stream without the group
# has none. KEYS: the stream and the marks of each alert. ARGV: the group, then the alert ids.
TAKEN: Final = (
    _PUT_ONE
    + """
local taken = {}
for i = 1, #ARGV - 1 do
  local stream, marks, id = KEYS[2 * i - 1], KEYS[2 * i], ARGV[i + 1]
  local entry = redis.call('HMGET', marks, id)[1]
  if is_queued(stream, entry, id) then
    local pending = redis.pcall('XPENDING', stream, ARGV[1], entry, entry, 1)
    if not pending.err and #pending > 0 then taken[#taken + 1] = id end
  end
end
return taken
"""
)
