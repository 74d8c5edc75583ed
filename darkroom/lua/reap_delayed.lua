-- Makes queued jobs claimable whose not-before time has come; status unchanged.
-- ARGV: 1 tier, 2 most jobs of one call
-- Answer: how many
-- Writes: darkroom:delayed, darkroom:ready
local now = clock()
local tier = ARGV[1]
local ids = redis.call('ZRANGEBYSCORE', delayed_key(tier), '-inf', stamp(now), 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local job = load(id)
  redis.call('ZREM', delayed_key(tier), id)
  if job and job.status == 'queued' then enter(id, job, now) end
end
return #ids
