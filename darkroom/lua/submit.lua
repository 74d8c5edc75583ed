-- (new) -> queued | blocked, unless a cap stands against it. Idempotent: a repeated call finds the record it wrote.
-- ARGV: 1 id, 2 deadline seconds or '', 3 idempotency key name or '', 4 fingerprint, 5 its TTL in seconds,
--       6 age cap in seconds, 7 most waiting jobs of all owners, 8 most of this owner or '', 9 cost a minute or '',
--       10 cost a day or '', 11 billionths of a currency a day or '', 12... field, value pairs of the record
-- Answer: {'new' | 'replayed' | 'mismatch', place or 0, flat record}, or, with nothing stored,
--         {'suspended' | 'overloaded' | 'queued' | 'cost' | 'budget' | 'spend', 0, {quota, left, seconds until it is whole, seconds to wait}}
-- Writes: darkroom:job, darkroom:owner, darkroom:ready or darkroom:ended, darkroom:deadlines, darkroom:idempotency,
--         the keys of fair.lua, caps.lua and usage.lua
-- Needs: caps
local id, deadline, idempotency, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function place(job) return job.status == 'queued' and place_in_line(job) or 0 end

if idempotency ~= '' then
  local kept = redis.call('HMGET', idempotency, 'fingerprint', 'job')
  local first = kept[2] and load(kept[2])
  if first then
    if kept[1] ~= fingerprint then return {'mismatch', 0, {}} end
    return {kept[2] == id and 'new' or 'replayed', place(first), flat_record(kept[2])}
  end
end

local known = load(id)
if known then return {'new', place(known), flat_record(id)} end

local now = clock()
local job = {}
for i = 12, #ARGV, 2 do job[ARGV[i]] = ARGV[i + 1] end

local caps = {unpack(ARGV, 7, 11)}
local refused = refusal(job, caps, now)
if refused then return refused end

redis.call('HSET', job_key(id), unpack(ARGV, 12))
local reserved = book(job, caps, now)
local fields = {reserved = whole(reserved), created_at = stamp(now), place = redis.call('INCR', 'darkroom:place')}
fields.rank = stamp(now - tonumber(job.priority or 0) * tonumber(ARGV[6]))
if is_terminal(job.status) then
  fields.finished_at = stamp(now)
  close_account(job, job.status, fields, now)
end
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
return {'new', place(job), flat_record(id)}
