-- (new) -> queued | blocked. Idempotent: a repeated call finds the record it wrote.
-- ARGV: 1 id, 2 deadline seconds or '', 3 idempotency key name or '', 4 fingerprint, 5 its TTL in seconds,
--       6... field, value pairs of the record
-- Answer: {'new' | 'replayed' | 'mismatch', position or 0, flat record}
-- Writes: darkroom:job, darkroom:owner, darkroom:ready or darkroom:ended, darkroom:deadlines, darkroom:idempotency
local id, deadline, idempotency, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function position(job)
  if job.status ~= 'queued' then return 0 end
  return redis.call('ZCOUNT', ready_key(job.tier), '-inf', '(' .. job.place) + 1
end

if idempotency ~= '' then
  local kept = redis.call('HMGET', idempotency, 'fingerprint', 'job')
  local first = kept[2] and load(kept[2])
  if first then
    if kept[1] ~= fingerprint then return {'mismatch', 0, {}} end
    return {kept[2] == id and 'new' or 'replayed', position(first), flat_record(kept[2])}
  end
end

local known = load(id)
if known then return {'new', position(known), flat_record(id)} end

local now = clock()
local job = {}
redis.call('HSET', job_key(id), unpack(ARGV, 6))
for i = 6, #ARGV, 2 do job[ARGV[i]] = ARGV[i + 1] end
local fields = {created_at = stamp(now), place = redis.call('INCR', 'darkroom:place')}
if is_terminal(job.status) then fields.finished_at = stamp(now) end
if deadline ~= '' and not is_terminal(job.status) then
  fields.deadline_at = stamp(now + tonumber(deadline))
  redis.call('ZADD', 'darkroom:deadlines', fields.deadline_at, id)
end
set_fields(id, job, fields)
redis.call('ZADD', owner_key(job.owner), job.place, id)
enter(id, job, now)
if idempotency ~= '' then
  redis.call('HSET', idempotency, 'fingerprint', fingerprint, 'job', id)
  redis.call('EXPIRE', idempotency, ARGV[5])
end
return {'new', position(job), flat_record(id)}
