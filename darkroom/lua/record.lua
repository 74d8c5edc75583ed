-- What every script starts with: names, time, and the one function that changes a job's status.
-- Scripts build key names from ids themselves, so they run on one server (or one with replicas), not on a cluster.
--
-- darkroom:job:ID           hash    the record; field names as in job_record.py. Gone when retention removes it.
-- darkroom:ready:TIER       zset    ids that may be claimed now, by place (order of submission); fair.lua says whose turn it is
-- darkroom:delayed:TIER     zset    queued ids that wait for their not-before time, by that time
-- darkroom:leases:TIER      zset    running ids, by the time their lease ends
-- darkroom:own:WORKER       set     running ids of a worker
-- darkroom:suspects:TIER    zset    queued ids that run by themselves (isolation.lua), by place
-- darkroom:deadlines        zset    queued and running ids that have a deadline, by it
-- darkroom:ended            zset    terminal ids, by the time they ended
-- darkroom:expiring         zset    terminal ids, archived ones too, by the time retention removes them
-- darkroom:review           zset    ids whose images wait for a person, by the time they began to
-- darkroom:sealed           zset    ids that the rule on minors refused, by that time: for the scope `sealed` alone
-- darkroom:legal_hold       hash    id -> JSON with by, at, reason: nothing of these jobs is removed
-- darkroom:appeals          zset    ids whose refusal is appealed against and not decided yet, by the time of the appeal
-- darkroom:appeal:ID        hash    an appeal, its text sealed; kept as long as its job
-- darkroom:unmade           zset    ids whose appeal was granted and whose successor may not be stored yet
-- darkroom:barred           hash    looks of images that were taken down -> JSON with job, by, at
-- darkroom:spared             hash    id -> when retention would have removed it, had a hold or an appeal not kept it
-- darkroom:archived         hash    owner of each job whose record lies in the object store
-- darkroom:gone:ID          string  owner of a job that was removed, with a TTL
-- darkroom:unswept          zset    ids of deleted jobs whose objects may still lie somewhere, by the time of deletion
-- darkroom:owner:OWNER      zset    all ids of an owner, by place
-- darkroom:idempotency:...  hash    fingerprint and job of an Idempotency-Key, with a TTL
-- darkroom:claim:...        string  job that a claim's nonce got, with a TTL
-- darkroom:rates            hash    moving averages: TIER = run seconds of a job, TIER:MODEL = seconds per unit of cost,
--                                   device:MODEL = device microseconds per unit of cost
-- darkroom:place            string  counter that gives each submission its place
--
-- LEGAL (status -> set of statuses it may become) stands above this text, written from darkroom.jobs.TRANSITIONS.

local function job_key(id) return 'darkroom:job:' .. id end
local function ready_key(tier) return 'darkroom:ready:' .. tier end
local function delayed_key(tier) return 'darkroom:delayed:' .. tier end
local function leases_key(tier) return 'darkroom:leases:' .. tier end
local function own_key(worker) return 'darkroom:own:' .. worker end
local function suspects_key(tier) return 'darkroom:suspects:' .. tier end
local function owner_key(owner) return 'darkroom:owner:' .. owner end

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function stamp(seconds) return string.format('%.6f', seconds) end

local function load(id)
  local flat = redis.call('HGETALL', job_key(id))
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

local function flat_record(id) return redis.call('HGETALL', job_key(id)) end

local function is_terminal(status) return next(LEGAL[status]) == nil end

-- What is left of a job that has no record: {'archived' | 'gone', owner}, or {}.
local function trace(id)
  local owner = redis.call('HGET', 'darkroom:archived', id)
  if owner then return {'archived', owner} end
  owner = redis.call('GET', 'darkroom:gone:' .. id)
  if owner then return {'gone', owner} end
  return {}
end

local DEFAULT_RETENTION = 604800 -- of records from before retention stood in them

local function kept_until(job)
  return (tonumber(job.finished_at) or clock()) + (tonumber(job.retention) or DEFAULT_RETENTION)
end

-- Nothing of the job may be removed: by a legal hold, or while an appeal waits.
local function is_held(id) return redis.call('HEXISTS', 'darkroom:legal_hold', id) == 1 end
local function is_kept(id) return is_held(id) or redis.call('ZSCORE', 'darkroom:appeals', id) ~= false end

-- Retention may remove the job from `at` on, or from when nothing keeps it any more.
local function let_expire(id, at)
  if is_kept(id) then
    redis.call('HSETNX', 'darkroom:spared', id, at)
  else
    redis.call('ZADD', 'darkroom:expiring', 'NX', at, id)
  end
end

-- After a hold or an appeal began.
local function stop_expiry(id)
  local at = redis.call('ZSCORE', 'darkroom:expiring', id)
  if at then redis.call('HSETNX', 'darkroom:spared', id, at) end
  redis.call('ZREM', 'darkroom:expiring', id)
end

-- After a hold or an appeal ended.
local function resume_expiry(id)
  local at = redis.call('HGET', 'darkroom:spared', id)
  if not at or is_kept(id) then return end
  redis.call('HDEL', 'darkroom:spared', id)
  redis.call('ZADD', 'darkroom:expiring', at, id)
end

local function remove(id, owner, gone_seconds)
  redis.call('ZREM', 'darkroom:ended', id)
  redis.call('ZREM', 'darkroom:expiring', id)
  redis.call('HDEL', 'darkroom:archived', id)
  redis.call('HDEL', 'darkroom:spared', id)
  redis.call('ZREM', 'darkroom:sealed', id)
  redis.call('ZREM', 'darkroom:appeals', id)
  redis.call('ZREM', owner_key(owner), id)
  redis.call('DEL', job_key(id), 'darkroom:events:' .. id, 'darkroom:appeal:' .. id)
  if tonumber(gone_seconds) > 0 then redis.call('SET', 'darkroom:gone:' .. id, owner, 'EX', gone_seconds) end
end

local function past_deadline(job, now)
  local deadline = tonumber(job.deadline_at)
  return deadline ~= nil and deadline <= now
end

local function problem(code, message) return cjson.encode({code = code, message = message}) end

local DEADLINE_PROBLEM = problem('deadline_exceeded', "The job's deadline passed before its images were done.")

local function set_fields(id, job, fields)
  local flat = {}
  for name, value in pairs(fields) do
    job[name] = tostring(value)
    flat[#flat + 1] = name
    flat[#flat + 1] = tostring(value)
  end
  redis.call('HSET', job_key(id), unpack(flat))
end

-- What the rule on minors refused stays out of every ordinary queue, and under a hold until the named role lifts it.
local function seal_off(id, job, now)
  if not job.error or job.error == '' or not string.find(cjson.decode(job.error).code, '_minors$') then return end
  redis.call('ZADD', 'darkroom:sealed', now, id)
  redis.call('HSETNX', 'darkroom:legal_hold', id, cjson.encode({by = 'rule on minors', at = now, reason = 'sealed'}))
end

-- Put a job into the indexes of the status it has now, and tell listeners and webhooks of it.
local function enter(id, job, now)
  if job.status == 'queued' then
    redis.call('SADD', waiting_key(job.owner), id)
    local not_before = tonumber(job.not_before)
    if not_before and not_before > now then
      redis.call('ZADD', delayed_key(job.tier), not_before, id)
    elseif job.suspect == '1' then
      redis.call('ZADD', suspects_key(job.tier), job.place, id)
    else
      redis.call('ZADD', ready_key(job.tier), job.place, id)
      line_up(id, job)
    end
  elseif job.status == 'running' then
    redis.call('ZADD', leases_key(job.tier), job.lease_until, id)
    redis.call('SADD', own_key(job.worker), id)
    redis.call('SADD', running_key(job.owner), id)
  elseif job.status == 'in_review' then
    redis.call('ZADD', 'darkroom:review', stamp(now), id)
  elseif is_terminal(job.status) then
    if job.status == 'blocked' then seal_off(id, job, now) end
    redis.call('ZADD', 'darkroom:ended', now, id)
    let_expire(id, stamp(kept_until(job)))
  end
  if job.status ~= 'queued' then tell(id, job, now) end
end

local function leave(id, job)
  if job.status == 'queued' then
    redis.call('ZREM', ready_key(job.tier), id)
    redis.call('ZREM', delayed_key(job.tier), id)
    redis.call('ZREM', suspects_key(job.tier), id)
    redis.call('SREM', waiting_key(job.owner), id)
    step_out(id, job)
  elseif job.status == 'running' then
    redis.call('ZREM', leases_key(job.tier), id)
    redis.call('SREM', own_key(job.worker), id)
    redis.call('SREM', running_key(job.owner), id)
  elseif job.status == 'in_review' then
    redis.call('ZREM', 'darkroom:review', id)
  end
end

-- The only way a job changes its status.
local function transition(id, job, to, fields, now)
  assert(LEGAL[job.status] and LEGAL[job.status][to], 'illegal transition ' .. job.status .. ' -> ' .. to)
  leave(id, job)
  if job.status == 'running' then
    count_arm(job, to, now)
    close_attempt(job, fields, now)
  end
  fields.status = to
  if to ~= 'queued' and to ~= 'running' then redis.call('ZREM', 'darkroom:deadlines', id) end
  if is_terminal(to) then
    fields.finished_at = stamp(now)
    close_account(job, to, fields, now)
  end
  set_fields(id, job, fields)
  enter(id, job, now)
  if to == 'queued' then publish(id, job, 'requeued', now) end
end

-- A running job goes back to the queue, or ends where it may not run again.
local function requeue(id, job, not_before, fields, now)
  if job.cancel_requested == '1' then
    transition(id, job, 'cancelled', {}, now)
  elseif past_deadline(job, now) then
    transition(id, job, 'expired', {error = DEADLINE_PROBLEM}, now)
  else
    refund(job)
    fields.worker, fields.nonce, fields.started_at, fields.charged = '', '', '', ''
    fields.step, fields.not_before = 0, stamp(not_before)
    transition(id, job, 'queued', fields, now)
  end
  return job.status
end

local function is_current(job, attempt)
  return job ~= nil and job.status == 'running' and tonumber(job.attempt) == tonumber(attempt)
end
