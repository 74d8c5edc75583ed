-- running -> queued for jobs whose lease ran out; or -> failed after too many lost attempts, -> cancelled, -> expired.
-- ARGV: 1 tier, 2 most jobs of one call, 3 lost attempts after which a job fails
-- Answer: the status of each job afterwards
-- Writes: darkroom:job, darkroom:leases, darkroom:ready, darkroom:deadlines, darkroom:ended
local now = clock()
local tier = ARGV[1]
local EXHAUSTED = problem('attempts_exhausted', 'The job was given up after every one of its attempts was lost.')
local answers = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases_key(tier), '-inf', stamp(now), 'LIMIT', 0, ARGV[2])) do
  local job = load(id)
  if not job or job.status ~= 'running' then
    redis.call('ZREM', leases_key(tier), id)
  else
    local lost = tonumber(job.lost) + 1
    if lost >= tonumber(ARGV[3]) and job.cancel_requested ~= '1' and not past_deadline(job, now) then
      transition(id, job, 'failed', {lost = lost, error = EXHAUSTED}, now)
    else
      requeue(id, job, now, {lost = lost}, now)
    end
    answers[#answers + 1] = job.status
  end
end
return answers
