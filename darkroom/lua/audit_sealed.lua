-- Notes that the audit log's entries up to a number lie in the object store, and drops them here.
-- Needs: audit_chain
-- ARGV: 1 number of the last sealed entry
-- Answer: how many entries were dropped
-- Writes: darkroom:audit, darkroom:audit:head
local sealed = math.max(tonumber(redis.call('HGET', AUDIT_HEAD, 'sealed') or '0'), tonumber(ARGV[1]))
redis.call('HSET', AUDIT_HEAD, 'sealed', string.format('%d', sealed))
return redis.call('XTRIM', AUDIT, 'MINID', string.format('%d-0', sealed + 1))
