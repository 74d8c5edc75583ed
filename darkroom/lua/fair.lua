-- Who is next: start-time fair queueing over the owners of a tier. Each owner has a turn, a point of virtual time; the
-- owner with the earliest one gets the next claim, and that job's charge (cost through weight) moves the turn on. An owner
-- who comes anew starts at the virtual time of now, so that nobody saves turns up. Within an owner, jobs stand by rank: the
-- time of submission, a point of priority being worth as much as the age cap. A requeued job gets its charge back.
--
-- darkroom:turns:TIER             zset    owners with a job in line, by their turn
-- darkroom:served:TIER            zset    owners by where their charges end, while that lies past the virtual time
-- darkroom:virtual:TIER           string  virtual time: the turn of the job that was claimed last
-- darkroom:line:TIER:OWNER        zset    an owner's ids in line, by rank
-- darkroom:lanes:TIER:OWNER       set     the models of these
-- darkroom:lane:TIER:MODEL:OWNER  zset    those of one model, by rank
-- darkroom:backlog:TIER           hash    charges of an owner's jobs in line, together
-- darkroom:waiting:OWNER          set     queued ids of an owner, in all tiers
-- darkroom:running:OWNER          set     running ids of an owner, in all tiers
-- darkroom:suspended              set     owners whose jobs stay queued, and who submit none
-- darkroom:paused:tiers, darkroom:paused:models   sets  whose jobs stay queued

local SHADOW = '@shadow' -- stands where an owner does, for shadow runs: they have no turn and come last
local UNIT = 1e6 -- step-pixels of one point of charge

local function turns_key(tier) return 'darkroom:turns:' .. tier end
local function served_key(tier) return 'darkroom:served:' .. tier end
local function virtual_key(tier) return 'darkroom:virtual:' .. tier end
local function backlog_key(tier) return 'darkroom:backlog:' .. tier end
local function line_key(tier, owner) return 'darkroom:line:' .. tier .. ':' .. owner end
local function lanes_key(tier, owner) return 'darkroom:lanes:' .. tier .. ':' .. owner end
local function lane_key(tier, model, owner) return 'darkroom:lane:' .. tier .. ':' .. model .. ':' .. owner end
local function waiting_key(owner) return 'darkroom:waiting:' .. owner end
local function running_key(owner) return 'darkroom:running:' .. owner end

-- Owners with a job in line and their turns, the earliest first: {owner, turn, owner, turn...}
local function turns_of_owners(tier)
  local turns, real = redis.call('ZRANGE', turns_key(tier), 0, -1, 'WITHSCORES'), {}
  for i = 1, #turns, 2 do
    if turns[i] ~= SHADOW then
      real[#real + 1], real[#real + 2] = turns[i], turns[i + 1]
    end
  end
  return real
end

local function virtual_time(tier) return tonumber(redis.call('GET', virtual_key(tier)) or 0) end

local function exactly(number) return string.format('%.17g', number) end

-- Records from before there were weights and ranks have neither.
local function charge_of(job) return tonumber(job.cost) / UNIT / (tonumber(job.weight) or 1) end

local function rank_of(job) return job.rank or job.created_at end

local function line_up(id, job)
  local tier, owner = job.tier, job.owner
  if redis.call('ZADD', line_key(tier, owner), rank_of(job), id) == 0 then return end
  redis.call('ZADD', lane_key(tier, job.model, owner), rank_of(job), id)
  redis.call('SADD', lanes_key(tier, owner), job.model)
  redis.call('HINCRBYFLOAT', backlog_key(tier), owner, exactly(charge_of(job)))
  local ends = tonumber(redis.call('ZSCORE', served_key(tier), owner) or 0)
  redis.call('ZADD', turns_key(tier), 'NX', exactly(math.max(virtual_time(tier), ends)), owner)
end

local function step_out(id, job)
  local tier, owner = job.tier, job.owner
  if redis.call('ZREM', line_key(tier, owner), id) == 0 then return end
  redis.call('ZREM', lane_key(tier, job.model, owner), id)
  if redis.call('EXISTS', lane_key(tier, job.model, owner)) == 0 then
    redis.call('SREM', lanes_key(tier, owner), job.model)
  end
  if redis.call('EXISTS', line_key(tier, owner)) == 0 then
    redis.call('ZREM', turns_key(tier), owner)
    redis.call('HDEL', backlog_key(tier), owner)
  else
    redis.call('HINCRBYFLOAT', backlog_key(tier), owner, exactly(-charge_of(job)))
  end
end

-- The owner got a job at this turn of theirs.
local function charge(job, turn)
  local tier, ends = job.tier, exactly(turn + charge_of(job))
  local now = math.max(virtual_time(tier), turn)
  redis.call('SET', virtual_key(tier), exactly(now))
  redis.call('ZADD', served_key(tier), ends, job.owner)
  redis.call('ZADD', turns_key(tier), 'XX', ends, job.owner)
  redis.call('ZREMRANGEBYSCORE', served_key(tier), '-inf', exactly(now))
end

local function refund(job)
  local charged = tonumber(job.charged or '') or 0
  if charged == 0 then return end
  for _, key in ipairs({served_key(job.tier), turns_key(job.tier)}) do
    if redis.call('ZSCORE', key, job.owner) then redis.call('ZINCRBY', key, exactly(-charged), job.owner) end
  end
end

local function at_cap(job)
  local most = tonumber(job.max_running or '')
  return most ~= nil and redis.call('SCARD', running_key(job.owner)) >= most
end

local function is_suspended(owner) return redis.call('SISMEMBER', 'darkroom:suspended', owner) == 1 end
local function is_paused(model) return redis.call('SISMEMBER', 'darkroom:paused:models', model) == 1 end

-- How many jobs start before this queued one, and itself: those of its owner with a lower rank, and of each other owner as
-- many as start before its turn comes.
local function place_in_line(job)
  local tier, owner = job.tier, job.owner
  local before = redis.call('ZCOUNT', line_key(tier, owner), '-inf', '(' .. rank_of(job))
  local turns = turns_of_owners(tier)
  local function mean_charge(of, jobs) return tonumber(redis.call('HGET', backlog_key(tier), of) or 0) / jobs end
  local own = redis.call('ZSCORE', turns_key(tier), owner)
  local turn = tonumber(own or 0)
  if not own then turn = math.max(virtual_time(tier), tonumber(redis.call('ZSCORE', served_key(tier), owner) or 0)) end
  if before > 0 then turn = turn + before * mean_charge(owner, redis.call('ZCARD', line_key(tier, owner))) end
  local place = before + 1
  for i = 1, #turns, 2 do
    local other, starts = turns[i], tonumber(turns[i + 1])
    if other ~= owner and starts < turn then
      local jobs = redis.call('ZCARD', line_key(tier, other))
      place = place + math.min(jobs, math.ceil((turn - starts) / math.max(mean_charge(other, jobs), 1e-9) - 1e-6))
    end
  end
  return place
end
