-- What may stand against a new job: its owner is suspended, or one of the caps is reached.
--
-- darkroom:spent:OWNER        string  when the owner's cost per minute will be whole again, with a TTL
-- darkroom:spent:OWNER:DAY    string  cost of the jobs taken on a day, counted from 1970 in UTC, with a TTL
--
-- `caps` are the caps as scripts get them, '' for none: {most waiting jobs of all owners, most of this owner,
-- cost a minute, cost a day, billionths of a currency a day}. An answer is {name, 0, {quota, left, seconds until it is whole, seconds to wait}}.

local MINUTE, DAY, LONGEST_WAIT = 60, 86400, 60
local CENT = 1e7 -- billionths; amounts are told in hundredths

-- About how long until one more job has started.
local function wait_for_room(job)
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

local function minute_key(owner) return 'darkroom:spent:' .. owner end
local function day_key(owner, now) return minute_key(owner) .. ':' .. math.floor(now / DAY) end

-- Seconds until nothing is owed any more of what was asked for beyond a cost per minute.
local function owed(owner, now)
  return math.max((tonumber(redis.call('GET', minute_key(owner)) or '') or now) - now, 0)
end

-- A cost that is larger than a whole minute's passes where nothing is owed, and is paid off afterwards.
local function over_minute(job, quota, now)
  local owes = owed(job.owner, now)
  local after = owes + tonumber(job.cost) / UNIT * MINUTE / quota
  if owes == 0 or after <= MINUTE then return nil end
  local left = math.max(math.floor((MINUTE - owes) * quota / MINUTE), 0)
  return {math.floor(quota), left, math.ceil(owes), math.max(math.ceil(math.min(after - MINUTE, owes)), 1)}
end

local function over_day(job, quota, now)
  local spent = tonumber(redis.call('GET', day_key(job.owner, now)) or 0)
  if spent + tonumber(job.cost) / UNIT <= quota then return nil end
  local rest = math.max(math.ceil(DAY - now % DAY), 1)
  return {math.floor(quota), math.max(math.floor(quota - spent), 0), rest, rest}
end

-- Billionths that the job may come to, by what its model's jobs took lately; 0 before there were any.
local function expected_amount(job)
  local rate = tonumber(redis.call('HGET', 'darkroom:rates', 'device:' .. job.model) or '')
  return rate and amount_of(job, rate * tonumber(job.cost)) or 0
end

-- What was billed today, with what jobs under way are expected to come to. A job that costs nothing is always taken.
local function over_spend(job, quota, now)
  local price, currency = price_of(job)
  if not price or price == 0 then return nil end
  local billed = tonumber(redis.call('HGET', usage_key(job.owner, now), 'billed:' .. currency) or '') or 0
  local owed = billed + tonumber(redis.call('GET', reserved_key(job.owner)) or 0)
  if owed < quota and owed + expected_amount(job) <= quota then return nil end
  local rest = math.max(math.ceil(DAY - now % DAY), 1)
  return {math.floor(quota / CENT), math.max(math.floor((quota - owed) / CENT), 0), rest, rest}
end

-- Why the job is not taken, or nil. Changes nothing.
local function refusal(job, caps, now)
  if is_suspended(job.owner) then return {'suspended', 0, {}} end
  if job.status ~= 'queued' then return nil end
  local most, most_own, minute, day = tonumber(caps[1]), tonumber(caps[2]), tonumber(caps[3]), tonumber(caps[4])
  if all_waiting() >= most then
    local wait = wait_for_room(job)
    return {'overloaded', 0, {most, 0, wait, wait}}
  end
  if most_own and redis.call('SCARD', waiting_key(job.owner)) >= most_own then
    local wait = wait_for_room(job)
    return {'queued', 0, {most_own, 0, wait, wait}}
  end
  local over = minute and over_minute(job, minute, now)
  if over then return {'cost', 0, over} end
  over = day and over_day(job, day, now)
  if over then return {'budget', 0, over} end
  local spend = tonumber(caps[5])
  over = spend and over_spend(job, spend, now)
  if over then return {'spend', 0, over} end
end

-- The job is taken: it counts against its owner's caps. Answers the billionths that are reserved for it.
local function book(job, caps, now)
  local minute, day = tonumber(caps[3]), tonumber(caps[4])
  if job.status ~= 'queued' then return 0 end
  if minute then
    local after = owed(job.owner, now) + tonumber(job.cost) / UNIT * MINUTE / minute
    redis.call('SET', minute_key(job.owner), stamp(now + after), 'PX', math.ceil(after * 1000))
  end
  if day then
    redis.call('INCRBYFLOAT', day_key(job.owner, now), exactly(tonumber(job.cost) / UNIT))
    redis.call('EXPIRE', day_key(job.owner, now), 2 * DAY)
  end
  local reserved = tonumber(caps[5]) and expected_amount(job) or 0
  if reserved > 0 then redis.call('INCRBY', reserved_key(job.owner), whole(reserved)) end
  return reserved
end
