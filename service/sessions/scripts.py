"""What Redis does in one piece. Times are those of its own clock, in milliseconds.

KEYS: the session (a hash), all sessions of the workspace (by expiry), its inputs (a list).
"""

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

_RENEW = """
local function renew(ttl, id)
  redis.call('HSET', KEYS[1], 'expires_at', string.format('%.0f', now + ttl))
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[3], ttl)
  redis.call('ZADD', KEYS[2], now + ttl, id)
  if redis.call('PTTL', KEYS[2]) < tonumber(ttl) then redis.call('PEXPIRE', KEYS[2], ttl) end
end
"""

# ARGV: id, ttl, how many sessions there may be, fields and values.
# Returns 0 where there are as many.
CREATE = (
    _NOW
    + _RENEW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'revision', 1, 'snapshots', 0, unpack(ARGV, 4))
renew(ARGV[2], ARGV[1])
return 1
"""
)

# ARGV: id, ttl, the revision that was read, the input or '', how many bytes of inputs are kept,
# fields and values. Returns when the session expires; 0: it is gone; -1: it has another revision.
COMMIT = (
    _NOW
    + _RENEW
    + """
local revision = redis.call('HGET', KEYS[1], 'revision')
if not revision then return 0 end
if revision ~= ARGV[3] then return -1 end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('HINCRBY', KEYS[1], 'revision', 1)
if ARGV[4] ~= '' then
  if redis.call('HINCRBY', KEYS[1], 'input_bytes', #ARGV[4]) > tonumber(ARGV[5]) then
    redis.call('DEL', KEYS[3])
  else
    redis.call('RPUSH', KEYS[3], ARGV[4])
  end
end
renew(ARGV[2], ARGV[1])
return now + ARGV[2]
"""
)

# ARGV: how many snapshots are kept. Returns the number of the new one; 0: the session is gone.
SNAPSHOT = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 0 end
local number = redis.call('HINCRBY', KEYS[1], 'snapshots', 1)
redis.call('HSET', KEYS[1], 'snapshot:' .. number, state)
redis.call('HDEL', KEYS[1], 'snapshot:' .. (number - ARGV[1]))
return number
"""

# ARGV: number of the snapshot, more bytes than are kept of inputs, for those that there are are no
# longer what the state is made of. Returns 1; 0: the session is gone; -1: the snapshot is.
RESTORE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local state = redis.call('HGET', KEYS[1], 'snapshot:' .. ARGV[1])
if not state then return -1 end
redis.call('HSET', KEYS[1], 'state', state, 'input_bytes', ARGV[2])
redis.call('DEL', KEYS[3])
redis.call('HINCRBY', KEYS[1], 'revision', 1)
return 1
"""

# ARGV: id. Returns whether it was there.
DELETE = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return redis.call('DEL', KEYS[1])
"""

# KEYS: all sessions of a workspace. Returns how many there are, and the bytes of their states.
TOTALS = (
    _NOW
    + """
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')
local bytes = 0
for _, id in ipairs(ids) do
  bytes = bytes + redis.call('HSTRLEN', KEYS[1] .. ':' .. id, 'state')
end
return {#ids, bytes}
"""
)
