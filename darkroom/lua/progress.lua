-- Notes how far a running job is; status unchanged. A stale attempt's note is dropped.
-- Listeners hear of it twice a second at most, webhooks every few seconds.
-- ARGV: 1 id, 2 attempt, 3 step, 4 steps, 5 device microseconds so far: all that is known of an attempt that is lost
-- Writes: darkroom:job, darkroom:events, darkroom:feed, darkroom:outbox, darkroom:delivery
local NEWS_PAUSE, WEBHOOK_PAUSE = 0.45, 5 -- a worker that writes twice a second may be a little early
local id = ARGV[1]
local job = load(id)
if not is_current(job, ARGV[2]) then return 0 end
local news = job.step ~= ARGV[3]
set_fields(id, job, {step = ARGV[3], steps = ARGV[4], attempt_us = ARGV[5]})
if not news then return 1 end

local now = clock()
if now - tonumber(job.told_at or 0) >= NEWS_PAUSE then
  set_fields(id, job, {told_at = stamp(now)})
  publish(id, job, 'progress', now)
end
if now - tonumber(job.sent_at or 0) >= WEBHOOK_PAUSE then
  set_fields(id, job, {sent_at = stamp(now)})
  fan_out(id, job, 'job.progress', 'evt_' .. string.sub(id, 5) .. '_' .. job.attempt .. '_step_' .. job.step, now)
end
return 1
