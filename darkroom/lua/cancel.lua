-- queued | in_review -> cancelled at once; a running job is marked and its worker ends it.
-- Idempotent: a cancelled job stays so and answers as the first time.
-- ARGV: 1 id, 2 owner
-- Answer: {'ok' | 'ended' | 'gone' | 'missing', flat record}
-- Writes: darkroom:job, darkroom:ready, darkroom:delayed, darkroom:deadlines, darkroom:ended
local id = ARGV[1]
local job = load(id)
if not job then
  local left = trace(id)
  if left[2] ~= ARGV[2] then return {'missing', {}} end
  return {left[1] == 'gone' and 'gone' or 'ended', {}}
end
if job.owner ~= ARGV[2] then return {'missing', {}} end
if job.status == 'cancelled' then return {'ok', flat_record(id)} end
if is_terminal(job.status) then return {'ended', {}} end

if job.status == 'running' then
  set_fields(id, job, {cancel_requested = 1})
else
  transition(id, job, 'cancelled', {cancel_requested = 1, images = '[]'}, clock())
end
return {'ok', flat_record(id)}
