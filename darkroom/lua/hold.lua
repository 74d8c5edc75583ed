-- Puts a job, archived or not, under a legal hold: no retention and no wish removes anything of it.
-- Idempotent: a job that is held already stays so.
-- Needs: audit_chain
-- ARGV: 1 id, 2 person, 3 reason, sealed
-- Answer: 'held' | 'gone' | 'missing'
-- Writes: darkroom:legal_hold, darkroom:expiring, darkroom:spared, darkroom:audit
local id, person, now = ARGV[1], ARGV[2], clock()
local left = trace(id)
if redis.call('EXISTS', job_key(id)) == 0 and left[1] ~= 'archived' then return left[1] or 'missing' end
if redis.call('HSETNX', 'darkroom:legal_hold', id, cjson.encode({by = person, at = now, reason = ARGV[3]})) == 1 then
  stop_expiry(id)
  redis.call('PERSIST', 'darkroom:events:' .. id)
  audit(person, 'hold.placed', id, '{}', now)
end
return 'held'
