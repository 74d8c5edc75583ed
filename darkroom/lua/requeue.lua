-- An operator gives a job back to the queue: a running one leaves its worker, whose attempt counts no more; a queued
-- one that waits for its not-before time may be claimed at once. No fault is counted against the job.
-- Idempotent: only the attempt that the operator saw is ended.
-- ARGV: 1 id, 2 attempt
-- Answer: {'ok' | 'ended' | 'gone' | 'missing', status afterwards}
-- Writes: darkroom:job, darkroom:leases, darkroom:own, darkroom:delayed, darkroom:ready, darkroom:suspects,
--         darkroom:deadlines, darkroom:ended
local id = ARGV[1]
local job = load(id)
if not job then
  local left = trace(id)[1]
  if not left then return {'missing', ''} end
  return {left == 'gone' and 'gone' or 'ended', ''}
end

local now = clock()
if is_current(job, ARGV[2]) then return {'ok', requeue(id, job, now, {}, now)} end
if job.status == 'running' then return {'ok', 'running'} end
if job.status ~= 'queued' then return {'ended', job.status} end
if redis.call('ZSCORE', delayed_key(job.tier), id) then
  leave(id, job)
  set_fields(id, job, {not_before = stamp(now)})
  enter(id, job, now)
end
return {'ok', 'queued'}
