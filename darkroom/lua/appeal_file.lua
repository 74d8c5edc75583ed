-- Files the owner's appeal against a job's refusal; the job is kept until it is decided. One appeal a job.
-- Idempotent: the first text stays.
-- Needs: audit_chain
-- ARGV: 1 id, 2 owner, 3 text, sealed, 4 who refused ('' for the service itself), 5 status of the job, 6 reason code
-- Answer: 'filed' | 'known' | 'missing'
-- Writes: darkroom:appeal, darkroom:appeals, darkroom:expiring, darkroom:spared, darkroom:audit
local id, owner, now = ARGV[1], ARGV[2], clock()
local key = 'darkroom:appeal:' .. id
if redis.call('EXISTS', key) == 1 then return 'known' end
local job = load(id)
if (job and job.owner or redis.call('HGET', 'darkroom:archived', id)) ~= owner then return 'missing' end
redis.call('HSET', key, 'owner', owner, 'text', ARGV[3], 'refused_by', ARGV[4], 'job_status', ARGV[5],
  'reason', ARGV[6], 'at', stamp(now), 'state', 'open')
redis.call('ZADD', 'darkroom:appeals', stamp(now), id)
stop_expiry(id)
audit('owner:' .. owner, 'appeal.filed', id, '{}', now)
return 'filed'
