-- in_review -> expired for items that nobody decided in time. Silence never releases anything.
-- Needs: audit_chain
-- Needs: review_items
-- ARGV: 1 seconds that an item may wait, 2 most items of one call, 3 error (JSON)
-- Answer: how many expired
-- Writes: darkroom:job, darkroom:review, darkroom:ended, darkroom:expiring, darkroom:audit, darkroom:outbox
local now = clock()
local expired = 0
local oldest = stamp(now - tonumber(ARGV[1]))
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'darkroom:review', '-inf', oldest, 'LIMIT', 0, ARGV[2])) do
  local job = load(id)
  if not job or job.status ~= 'in_review' then
    redis.call('ZREM', 'darkroom:review', id)
  else
    local steps = with_step(job, 'reaper', 'expired', '', '', now)
    transition(id, job, 'expired', {error = ARGV[3], review = steps}, now)
    tell_of_decision(id, job, now)
    audit('reaper', 'review.expired', id, '{}', now)
    expired = expired + 1
  end
end
return expired
