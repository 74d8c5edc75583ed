-- running -> queued, by the attempt that holds the job; or -> failed after too many transient faults,
-- -> cancelled where that was asked for, -> expired past the deadline. A stale attempt changes nothing.
-- A process that broke with its jobs counts as dead for them (isolation.lua).
-- ARGV: 1 id, 2 attempt, 3 not-before seconds from now, 4 '1' for a transient fault, 5 most of those, 6 error (JSON),
--       7 '1' for a process that broke, 8 lost attempts after which a job fails, 9 device microseconds that this attempt took
-- Answer: the status afterwards, or 'lost'
-- Writes: darkroom:job, darkroom:leases, darkroom:own, darkroom:dead, darkroom:ready, darkroom:suspects or
--         darkroom:delayed, darkroom:deadlines, darkroom:ended, the keys of usage.lua
local id = ARGV[1]
local job = load(id)
if not is_current(job, ARGV[2]) then return 'lost' end

local now = clock()
job.attempt_us = told_and_given(job, ARGV[9])
if ARGV[7] == '1' then return broke(id, job, tonumber(ARGV[8]), now) end
local faults = tonumber(job.transient) + tonumber(ARGV[4])
if faults > tonumber(ARGV[5]) and job.cancel_requested ~= '1' and not past_deadline(job, now) then
  transition(id, job, 'failed', {transient = faults, error = ARGV[6]}, now)
  return job.status
end
return requeue(id, job, now + tonumber(ARGV[3]), {transient = faults}, now)
