-- queued -> running, for the job whose turn it is (fair.lua) among those that this worker can run. Which one that is, is
-- decided here alone. Overdue jobs met on the way become expired. Idempotent: the nonce brings back the claim it already
-- got. Suspects come first, or last where the worker wants a rest from them (isolation.lua).
-- Among owners whose turns lie no more than one job apart, and among an owner's jobs of one priority, what the worker has
-- warm goes first, unless a job older than the age cap would be overtaken. Shadow runs come after everything else.
-- ARGV: 1 tier, 2 worker, 3 nonce, 4 lease seconds, 5 highest schema, 6 '*' or JSON list of models,
--       7 '1' for suspects last, '2' for none, 8 age cap in seconds, 9 JSON list of what is warm: 'MODEL' loaded, 'MODEL@WxH' running
-- Answer: flat record; {} where nothing can be claimed; 'hold' where the worker has to finish what it has first
-- Writes: darkroom:job, darkroom:ready, darkroom:suspects, darkroom:leases, darkroom:own, darkroom:claim, darkroom:dead,
--         darkroom:drain, darkroom:draining, the keys of fair.lua; darkroom:ended for overdue jobs
local tier, worker, nonce, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local MOST, ADOPTED = 1000, 100 -- jobs read in one call; of those outside any line
local LOOKS, NEIGHBOURS = 40, 8 -- jobs behind the first, and owners behind the next, that are looked at for warmth
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

if redis.call('SISMEMBER', 'darkroom:paused:tiers', tier) == 1 then return {} end

local now = clock()
local age_cap = tonumber(ARGV[8])
local any_warm, warm = false, {}
for _, name in ipairs(cjson.decode(ARGV[9])) do any_warm, warm[name] = true, true end

local function serves(model) return (models == nil or models[model] == true) and not is_paused(model) end

local function can_run(job)
  return tonumber(job.schema) <= tonumber(ARGV[5]) and serves(job.model) and not is_suspended(job.owner)
end

local function warmth(job)
  if not any_warm then return 0 end
  if warm[job.model .. '@' .. (job.shape or '')] then return 2 end
  return warm[job.model] and 1 or 0
end

local function is_old(job) return now - tonumber(job.created_at) > age_cap end

local function take(id, job)
  transition(id, job, 'running', {
    attempt = tonumber(job.attempt) + 1, worker = worker, nonce = nonce, started_at = stamp(now), step = 0,
    lease_seconds = lease, lease_until = stamp(now + lease),
  }, now)
  lives(worker)
  redis.call('SET', claim_key, id, 'EX', NONCE_SECONDS)
  return flat_record(id)
end

-- An older release puts jobs into darkroom:ready alone, and takes them without a look at the lines.
local function adopt()
  local oldest = redis.call('ZRANGE', ready_key(tier), 0, 0)[1]
  local owner = oldest and redis.call('HGET', job_key(oldest), 'owner')
  if not oldest or (owner and redis.call('ZSCORE', line_key(tier, owner), oldest)) then return end
  for _, id in ipairs(redis.call('ZRANGE', ready_key(tier), 0, ADOPTED - 1)) do
    local job = load(id)
    if job and job.status == 'queued' then
      enter(id, job, now)
    else
      redis.call('ZREM', ready_key(tier), id)
    end
  end
end

local read, looks = 0, 0

-- The first job from `at` on that can be run, and where it stands.
local function first_of(owner, model, at)
  local lane = lane_key(tier, model, owner)
  while read < MOST do
    local id = redis.call('ZRANGE', lane, at, at)[1]
    if not id then return nil end
    local job = load(id)
    read = read + 1
    if not job or job.status ~= 'queued' then
      step_out(id, job or {tier = tier, owner = owner, model = model, cost = 0})
      redis.call('SREM', waiting_key(owner), id)
    elseif past_deadline(job, now) then
      transition(id, job, 'expired', {error = DEADLINE_PROBLEM}, now)
    elseif can_run(job) then
      return {id = id, job = job, rank = tonumber(rank_of(job)), warmth = warmth(job)}, at
    else
      at = at + 1
    end
  end
end

local function beats(one, other)
  if not other then return true end
  if one.warmth ~= other.warmth then return one.warmth > other.warmth end
  return one.rank < other.rank
end

local function best_of(owner)
  local first, heads = nil, {}
  for _, model in ipairs(redis.call('SMEMBERS', lanes_key(tier, owner))) do
    local head, at
    if serves(model) then head, at = first_of(owner, model, 0) end
    if head then
      heads[#heads + 1] = {model = model, at = at, found = head}
      if not first or head.rank < first.rank then first = head end
    end
  end
  if not first or not any_warm or first.warmth == 2 or is_old(first.job) then return first end
  local best = first
  local function consider(found)
    if found.job.priority == first.job.priority and beats(found, best) then best = found end
  end
  for _, head in ipairs(heads) do
    consider(head.found)
    local at, found = head.at, head.found
    while best.warmth < 2 and warm[head.model] and looks < LOOKS do
      looks = looks + 1
      found, at = first_of(owner, head.model, at + 1)
      if not found then break end
      consider(found)
    end
  end
  return best
end

local function has_warm_lane(owner)
  for _, model in ipairs(redis.call('SMEMBERS', lanes_key(tier, owner))) do
    if warm[model] then return true end
  end
  return false
end

local function is_stopped(owner)
  if is_suspended(owner) then return true end
  for _, model in ipairs(redis.call('SMEMBERS', lanes_key(tier, owner))) do
    if not is_paused(model) then return false end
  end
  return true
end

-- An owner whom the operator or a cap keeps from their turn does not save it up.
local function let_pass(owner, turn)
  local now_served = virtual_time(tier)
  if turn < now_served then redis.call('ZADD', turns_key(tier), 'XX', exactly(now_served), owner) end
end

-- Nobody's turn, so it costs none.
local function choose_shadow()
  local found = best_of(SHADOW)
  return found and not at_cap(found.job) and found or nil
end

local function choose()
  local turns = turns_of_owners(tier)
  local best, limit
  local neighbours = 0
  for i = 1, #turns, 2 do
    local owner, turn = turns[i], tonumber(turns[i + 1])
    local found
    if best then
      neighbours = neighbours + 1
      if turn > limit or neighbours > NEIGHBOURS then return best end
    end
    if (not best or has_warm_lane(owner)) and not is_suspended(owner) then found = best_of(owner) end
    if found and at_cap(found.job) or not found and is_stopped(owner) then
      let_pass(owner, turn)
    elseif found then
      found.turn = turn
      if not best then
        if not any_warm or found.warmth == 2 or is_old(found.job) then return found end
        best, limit = found, turn + charge_of(found.job)
      elseif found.warmth > best.warmth then
        best = found
      end
    end
  end
  return best
end

local function take_ready()
  adopt()
  local found = choose() or choose_shadow()
  if not found then return nil end
  take(found.id, found.job)
  if found.turn then
    charge(found.job, found.turn)
    set_fields(found.id, found.job, {charged = exactly(charge_of(found.job))})
  end
  return flat_record(found.id)
end

local function take_suspect()
  local verdict, id, job = isolate(tier, worker, can_run, now)
  if verdict == 'take' then return take(id, job) end
  return verdict
end

if must_hold(tier, worker) then return 'hold' end
if ARGV[7] == '2' then return take_ready() or {} end
if ARGV[7] == '1' then return take_ready() or take_suspect() or {} end
return take_suspect() or take_ready() or {}
