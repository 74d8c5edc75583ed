-- Decides an appeal: by somebody else than who refused, and by two where the service itself had refused and it is granted.
-- Idempotent: a repeated call answers as the first time.
-- Needs: audit_chain
-- ARGV: 1 id, 2 person, 3 'granted' or 'denied', 4 answer to the owner, sealed, 5 id of the job that is made if it is
--       granted, 6 how many people a grant needs, 7 details for the audit log (JSON)
-- Answer: {'done', id of the new job or ''} | {'seconded', ''} | {'missing' | 'ended' | 'second', ''}
-- Writes: darkroom:appeal, darkroom:appeals, darkroom:unmade, darkroom:expiring, darkroom:spared, darkroom:audit,
--         darkroom:outbox
local id, person, to, now = ARGV[1], ARGV[2], ARGV[3], clock()
local key = 'darkroom:appeal:' .. id
local flat, appeal = redis.call('HGETALL', key), {}
if #flat == 0 then return {'missing', ''} end
for i = 1, #flat, 2 do appeal[flat[i]] = flat[i + 1] end
if appeal.state ~= 'open' then
  local mine = appeal.by == person and appeal.state == to
  return {mine and 'done' or 'ended', mine and appeal.new_job or ''}
end
if appeal.refused_by == person then return {'second', ''} end

local needed = tonumber(ARGV[6])
if to == 'granted' and needed > 1 and (appeal.granted_by or person) == person then
  if not appeal.granted_by then
    redis.call('HSET', key, 'granted_by', person, 'answer', ARGV[4])
    audit(person, 'appeal.grant_proposed', id, ARGV[7], now)
  end
  return {'seconded', ''}
end

local made = to == 'granted' and ARGV[5] or ''
redis.call('HSET', key, 'state', to, 'by', person, 'decided_at', stamp(now), 'answer', ARGV[4], 'new_job', made)
redis.call('ZREM', 'darkroom:appeals', id)
if made ~= '' then redis.call('ZADD', 'darkroom:unmade', stamp(now), id) end
resume_expiry(id)
local job = load(id) or {owner = appeal.owner, ['status'] = appeal.job_status}
fan_out(id, job, 'job.review_decided', 'evt_' .. string.sub(id, 5) .. '_appeal', now)
audit(person, 'appeal.' .. to, id, ARGV[7], now)
return {'done', made}
