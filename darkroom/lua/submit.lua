-- (new) -> queued | blocked, unless a cap stands against it. Idempotent: a repeated call finds the record it wrote.
-- ARGV: 1 id, 2 deadline seconds or '', 3 idempotency key name or '', 4 fingerprint, 5 its TTL in seconds,
--       6 age cap in seconds, 7 most waiting jobs of all owners, 8 most of this owner or '', 9 cost a minute or '',
--       10... field, value pairs of the record
-- Answer: {'new' | 'replayed' | 'mismatch', place or 0, flat record}, or, with nothing stored,
--         {'suspended' | 'overloaded' | 'queued' | 'cost', 0, {quota, left, seconds until it is whole, seconds to wait}}
-- Writes: darkroom:job, darkroom:owner, darkroom:ready or darkroom:ended, darkroom:deadlines, darkroom:idempotency,
--         the keys of fair.lua
local id, deadline, idempotency, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local MINUTE, LONGEST_WAIT = 60, 60

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
for i = 10, #ARGV, 2 do job[ARGV[i]] = ARGV[i + 1] end

-- About how long until one more job has started.
local function wait_for_room()
  local mean = tonumber(redis.call('HGET', 'darkroom:rates', job.tier) or '') or 1
  local seconds = math.ceil(mean / math.max(redis.call('ZCARD', leases_key(job.tier)), 1))
  return math.min(math.max(seconds, 1), LONGEST_WAIT)
end

local function all_waiting()
  local jobs = 0
  for _, tier in ipairs(TIERS) do
    for _, key in ipairs({ready_key(tier), delayed_key(tier), suspects_key(tier)}) do
      jobs = jobs + redis.call('ZCARD', key)
    end
  end
  return jobs
end

-- A cost that is larger than a whole minute's passes where nothing is owed, and is paid off afterwards.
local function spend(quota)
  local name = 'darkroom:spent:' .. job.owner
  local owed = math.max((tonumber(redis.call('GET', name) or '') or now) - now, 0)
  local after = owed + tonumber(job.cost) / UNIT * MINUTE / quota
  if owed > 0 and after > MINUTE then
    local left = math.max(math.floor((MINUTE - owed) * quota / MINUTE), 0)
    return {math.floor(quota), left, math.ceil(owed), math.max(math.ceil(math.min(after - MINUTE, owed)), 1)}
  end
  redis.call('SET', name, stamp(now + after), 'PX', math.ceil(after * 1000))
end

local function refusal()
  if is_suspended(job.owner) then return {'suspended', 0, {}} end
  if job.status ~= 'queued' then return nil end
  local most = tonumber(ARGV[7])
  if all_waiting() >= most then
    local wait = wait_for_room()
    return {'overloaded', 0, {most, 0, wait, wait}}
  end
  most = tonumber(ARGV[8])
  if most and redis.call('SCARD', waiting_key(job.owner)) >= most then
    local wait = wait_for_room()
    return {'queued', 0, {most, 0, wait, wait}}
  end
  local quota = tonumber(ARGV[9])
  local owes = quota and spend(quota)
  if owes then return {'cost', 0, owes} end
end

local refused = refusal()
if refused then return refused end

redis.call('HSET', job_key(id), unpack(ARGV, 10))
local fields = {created_at = stamp(now), place = redis.call('INCR', 'darkroom:place')}
fields.rank = stamp(now - tonumber(job.priority or 0) * tonumber(ARGV[6]))
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
return {'new', place(job), flat_record(id)}
