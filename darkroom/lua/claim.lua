-- queued -> running, for the first job of the tier that this worker can run. Which one that is, is decided here alone.
-- Overdue jobs met on the way become expired. Idempotent: the nonce brings back the claim it already got.
-- Suspects come first, or last where the worker wants a rest from them (isolation.lua).
-- ARGV: 1 tier, 2 worker, 3 nonce, 4 lease seconds, 5 highest schema, 6 '*' or JSON list of models,
--       7 '1' for suspects last
-- Answer: flat record; {} where nothing can be claimed; 'hold' where the worker has to finish what it has first
-- Writes: darkroom:job, darkroom:ready, darkroom:suspects, darkroom:leases, darkroom:own, darkroom:claim, darkroom:dead,
--         darkroom:drain, darkroom:draining; darkroom:ended for overdue jobs
local tier, worker, nonce, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local PAGE, MOST = 100, 5000 -- ids read at once, ids looked at in one call
local NONCE_SECONDS = 300 -- longer than any client repeats a call

local models
if ARGV[6] ~= '*' then
  models = {}
  for _, name in ipairs(cjson.decode(ARGV[6])) do models[name] = true end
end

local claim_key = 'darkroom:claim:' .. worker .. ':' .. nonce
local earlier = redis.call('GET', claim_key)
if earlier then
  local job = load(earlier)
  if job and job.status == 'running' and job.nonce == nonce and job.worker == worker then return flat_record(earlier) end
  return {}
end

local now = clock()

local function can_run(job)
  return tonumber(job.schema) <= tonumber(ARGV[5]) and (models == nil or models[job.model] == true)
end

local function take(id, job)
  transition(id, job, 'running', {
    attempt = tonumber(job.attempt) + 1, worker = worker, nonce = nonce, started_at = stamp(now), step = 0,
    lease_seconds = lease, lease_until = stamp(now + lease),
  }, now)
  lives(worker)
  redis.call('SET', claim_key, id, 'EX', NONCE_SECONDS)
  return flat_record(id)
end

local function take_ready()
  local seen = 0
  while seen < MOST do
    local ids = redis.call('ZRANGE', ready_key(tier), seen, seen + PAGE - 1)
    if #ids == 0 then return nil end
    local removed = 0
    for _, id in ipairs(ids) do
      local job = load(id)
      if not job then
        redis.call('ZREM', ready_key(tier), id)
        removed = removed + 1
      elseif past_deadline(job, now) then
        transition(id, job, 'expired', {error = DEADLINE_PROBLEM}, now)
        removed = removed + 1
      elseif can_run(job) then
        return take(id, job)
      end
    end
    seen = seen + #ids - removed
  end
end

local function take_suspect()
  local verdict, id, job = isolate(tier, worker, can_run, now)
  if verdict == 'take' then return take(id, job) end
  return verdict
end

if must_hold(tier, worker) then return 'hold' end
if ARGV[7] == '1' then return take_ready() or take_suspect() or {} end
return take_suspect() or take_ready() or {}
