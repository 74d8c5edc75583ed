-- running -> succeeded | in_review | blocked | failed | cancelled | expired, if this attempt still holds the job.
-- An accepted cancel wins over any result, a passed deadline over images; neither attaches the images.
-- Idempotent: a repeated call of the attempt that committed answers 'done' again.
-- ARGV: 1 id, 2 attempt, 3 status, 4 images (JSON), 5 error (JSON) or '', 6 weight of a new run in the averages, 7 findings (JSON),
--       8 device microseconds that this attempt took
-- Answer: 'done' | 'cancelled' | 'expired' | 'lost'
-- Writes: darkroom:job, darkroom:leases, darkroom:deadlines, darkroom:ended, darkroom:review, darkroom:rates, the keys of usage.lua
local id, attempt, to = ARGV[1], ARGV[2], ARGV[3]
local job = load(id)

if not is_current(job, attempt) then
  if not job or tonumber(job.attempt) ~= tonumber(attempt) then return 'lost' end
  if job.committed == attempt then return 'done' end
  if job.status == 'cancelled' or job.status == 'expired' then return job.status end
  return 'lost'
end

local now = clock()
job.attempt_us = told_and_given(job, ARGV[8])
if job.cancel_requested == '1' and to ~= 'cancelled' then
  transition(id, job, 'cancelled', {}, now)
  return 'cancelled'
end
if past_deadline(job, now) and (to == 'succeeded' or to == 'in_review') then
  transition(id, job, 'expired', {error = DEADLINE_PROBLEM}, now)
  return 'expired'
end

local function average(field, value)
  local before = tonumber(redis.call('HGET', 'darkroom:rates', field) or '')
  local weight = tonumber(ARGV[6])
  redis.call('HSET', 'darkroom:rates', field, string.format('%.9g', before and before + weight * (value - before) or value))
end

if to == 'succeeded' then
  local seconds = now - tonumber(job.started_at)
  average(job.tier, seconds)
  average(job.tier .. ':' .. job.model, seconds / tonumber(job.cost))
  if job.attempt_us > 0 then average('device:' .. job.model, job.attempt_us / tonumber(job.cost)) end
end
transition(id, job, to, {images = ARGV[4], error = ARGV[5], findings = ARGV[7], committed = attempt, made_us = job.attempt_us}, now)
return 'done'
