-- Adds one entry to the audit log. Idempotent for a while: the same nonce adds one.
-- Needs: audit_chain
-- ARGV: 1 nonce, 2 actor, 3 action, 4 subject, 5 details (JSON)
-- Answer: the entry's number
-- Writes: darkroom:audit, darkroom:audit:head, darkroom:audit:said
local said = 'darkroom:audit:said:' .. ARGV[1]
local known = redis.call('GET', said)
if known then return tonumber(known) end
local seq = audit(ARGV[2], ARGV[3], ARGV[4], ARGV[5], clock())
redis.call('SET', said, seq, 'EX', 600)
return seq
