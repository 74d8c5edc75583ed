-- running -> queued for jobs whose lease ran out; or -> failed as isolation.lua judges, -> cancelled, -> expired.
-- ARGV: 1 tier, 2 most jobs of one call, 3 lost attempts after which a job fails
-- Answer: the status of each job afterwards
-- Writes: darkroom:job, darkroom:leases, darkroom:own, darkroom:dead, darkroom:ready, darkroom:suspects,
--         darkroom:deadlines, darkroom:ended
local now = clock()
local tier = ARGV[1]
local answers = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases_key(tier), '-inf', stamp(now), 'LIMIT', 0, ARGV[2])) do
  local job = load(id)
  if not job or job.status ~= 'running' then
    redis.call('ZREM', leases_key(tier), id)
  else
    answers[#answers + 1] = die(id, job, tonumber(ARGV[3]), now)
  end
end
return answers
