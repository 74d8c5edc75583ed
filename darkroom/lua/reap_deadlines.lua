-- queued | running -> expired for jobs whose deadline passed; -> cancelled where a running one was to be cancelled.
-- ARGV: 1 most jobs of one call
-- Answer: the status of each job afterwards
-- Writes: darkroom:job, darkroom:ready, darkroom:delayed, darkroom:leases, darkroom:deadlines, darkroom:ended
local now = clock()
local answers = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'darkroom:deadlines', '-inf', stamp(now), 'LIMIT', 0, ARGV[1])) do
  local job = load(id)
  if not job or (job.status ~= 'queued' and job.status ~= 'running') then
    redis.call('ZREM', 'darkroom:deadlines', id)
  else
    if job.cancel_requested == '1' then
      transition(id, job, 'cancelled', {}, now)
    else
      transition(id, job, 'expired', {error = DEADLINE_PROBLEM}, now)
    end
    answers[#answers + 1] = job.status
  end
end
return answers
