-- Which jobs end the processes that run them. A process that dies takes every job in its hands with it, so such a death
-- says little of each: only a death alone is a strike. After SHARED_DEATHS in company, or one strike, a job is a suspect
-- and runs by itself from then on; after STRIKES it has failed as poison. A release is no death. While many processes die,
-- UNREST of them within two leases, a death alone says little too, and is no strike.
--
-- darkroom:own:WORKER       set     running ids of a worker (kept by record.lua)
-- darkroom:suspects:TIER    zset    queued ids that run by themselves, by place (kept by record.lua)
-- darkroom:dead:WORKER      string  how many jobs a worker had when the first was taken from it, with a TTL
-- darkroom:unrest           zset    workers that died, by the time this was noticed; a job's deaths alone count here once
-- darkroom:drain:TIER       string  worker that empties itself for a suspect of the tier, with a TTL
-- darkroom:draining:WORKER  string  tier for whose suspect this worker does so, with a TTL

local SHARED_DEATHS, STRIKES, UNREST = 2, 3, 3
local DEAD_SECONDS = 600 -- far longer than the leases of one worker run out one after another
local DRAIN_SECONDS = 10 -- a worker that empties itself asks again every second
local PAGE_OF_SUSPECTS = 100

local POISON = problem('poison', 'The job ended the process that ran it three times, each time as the only one there.')
local EXHAUSTED = problem('attempts_exhausted', 'The job was given up after every one of its attempts was lost.')

local function dead_key(worker) return 'darkroom:dead:' .. worker end
local function drain_key(tier) return 'darkroom:drain:' .. tier end
local function draining_key(worker) return 'darkroom:draining:' .. worker end

-- The jobs of one dead worker are taken from it one after another; all have to hear the number of the first.
local function jobs_at_death(worker)
  redis.call('SET', dead_key(worker), redis.call('SCARD', own_key(worker)), 'NX', 'EX', DEAD_SECONDS)
  return tonumber(redis.call('GET', dead_key(worker)))
end

-- Do many processes die? Notes this death, unless it is of a job that died alone before: else a few guilty jobs would be
-- each other's excuse for ever.
local function is_unrest(job, alone, now)
  local long_ago = now - 2 * tonumber(job.lease_seconds)
  redis.call('ZREMRANGEBYSCORE', 'darkroom:unrest', '-inf', stamp(long_ago))
  local others = redis.call('ZCARD', 'darkroom:unrest')
  if redis.call('ZSCORE', 'darkroom:unrest', job.worker) then others = others - 1 end
  if not (alone and tonumber(job.alone_deaths or 0) > 0) then
    redis.call('ZADD', 'darkroom:unrest', stamp(now), job.worker)
    redis.call('EXPIRE', 'darkroom:unrest', DEAD_SECONDS)
  end
  return others >= UNREST
end

-- A worker that speaks is not dead, whatever was thought of it.
local function lives(worker)
  if redis.call('DEL', dead_key(worker)) == 1 then redis.call('ZREM', 'darkroom:unrest', worker) end
end

-- The attempt ended with its process: back to the queue, or the end of a job that did this too often.
local function die(id, job, most_lost, now)
  local alone = jobs_at_death(job.worker) == 1
  local lost = tonumber(job.lost) + 1
  local unrest = is_unrest(job, alone, now)
  local struck = alone and not unrest
  local strikes = tonumber(job.strikes or 0) + (struck and 1 or 0)
  local shared = tonumber(job.shared_deaths or 0) + (alone and 0 or 1)
  local fields = {
    lost = lost, strikes = strikes, struck = struck and job.attempt or '', shared_deaths = shared,
    alone_deaths = tonumber(job.alone_deaths or 0) + (alone and 1 or 0),
  }
  if alone or shared >= SHARED_DEATHS then fields.suspect = 1 end
  if (strikes >= STRIKES or lost >= most_lost) and job.cancel_requested ~= '1' and not past_deadline(job, now) then
    fields.error = strikes >= STRIKES and POISON or EXHAUSTED
    transition(id, job, 'failed', fields, now)
    return job.status
  end
  return requeue(id, job, now, fields, now)
end

-- The attempt gives its job back because its process broke with it. It lives to tell, so nothing is taken back later.
local function broke(id, job, most_lost, now)
  local status = die(id, job, most_lost, now)
  if job.struck ~= '' then set_fields(id, job, {struck = ''}) end
  return status
end

-- A process that asks for the lease of an attempt was only thought dead, so that strike is taken back.
local function acquit(id, job, attempt)
  if job and job.struck == tostring(attempt) and not is_terminal(job.status) then
    set_fields(id, job, {strikes = tonumber(job.strikes) - 1, struck = ''})
  end
end

local function runs_a_suspect(worker)
  if redis.call('SCARD', own_key(worker)) ~= 1 then return false end
  return redis.call('HGET', job_key(redis.call('SRANDMEMBER', own_key(worker))), 'suspect') == '1'
end

local function next_suspect(tier, can_run, now)
  for _, id in ipairs(redis.call('ZRANGE', suspects_key(tier), 0, PAGE_OF_SUSPECTS - 1)) do
    local job = load(id)
    if not job then
      redis.call('ZREM', suspects_key(tier), id)
    elseif past_deadline(job, now) then
      transition(id, job, 'expired', {error = DEADLINE_PROBLEM}, now)
    elseif can_run(job) then
      return id, job
    end
  end
end

-- May this worker empty itself for a suspect of the tier? One worker a tier does at a time, else all would stand.
local function may_drain(tier, worker)
  local holder = redis.call('GET', drain_key(tier))
  if holder and holder ~= worker then return false end
  redis.call('SET', drain_key(tier), worker, 'EX', DRAIN_SECONDS)
  redis.call('SET', draining_key(worker), tier, 'EX', DRAIN_SECONDS)
  return true
end

local function end_drain(tier, worker)
  if redis.call('GET', drain_key(tier)) == worker then redis.call('DEL', drain_key(tier)) end
  redis.call('DEL', draining_key(worker))
end

-- A worker that runs a suspect, or empties itself for one of another tier, takes nothing.
local function must_hold(tier, worker)
  if runs_a_suspect(worker) then return true end
  local drained = redis.call('GET', draining_key(worker))
  return drained and drained ~= tier
end

-- 'take', id, job: the suspect is this worker's, which has nothing else in hand; 'hold': it has to finish what it has
-- first; nil: there is nothing to isolate here.
local function isolate(tier, worker, can_run, now)
  local id, job = next_suspect(tier, can_run, now)
  if id and redis.call('SCARD', own_key(worker)) > 0 then
    return may_drain(tier, worker) and 'hold' or nil
  end
  end_drain(tier, worker)
  if id then return 'take', id, job end
end
