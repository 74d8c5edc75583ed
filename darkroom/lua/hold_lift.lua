-- Ends a job's legal hold; retention counts again from where it stood.
-- Needs: audit_chain
-- ARGV: 1 id, 2 person, 3 '1' where the sealed list's holds may be lifted too
-- Answer: 1 when there was one, 0 when there was none, -1 when it is the sealed list's
-- Writes: darkroom:legal_hold, darkroom:sealed, darkroom:expiring, darkroom:spared, darkroom:audit
local id, person, now = ARGV[1], ARGV[2], clock()
if not is_held(id) then return 0 end
if redis.call('ZSCORE', 'darkroom:sealed', id) then
  if ARGV[3] ~= '1' then return -1 end
  redis.call('ZREM', 'darkroom:sealed', id)
end
redis.call('HDEL', 'darkroom:legal_hold', id)
resume_expiry(id)
audit(person, 'hold.lifted', id, '{}', now)
return 1
