-- What owners took of the devices and owe for it: counted in the step that ends an attempt or a job, so exactly once.
-- An attempt's time is spent however it ends; it is billed when the job succeeds, and then only that of the attempt which
-- made the images. A shadow run is nobody's: its time stands under SHADOW and is never billed.
--
-- darkroom:usage:OWNER:DAY    hash    counts of a day (number since 1970, UTC), with a TTL: `jobs:STATUS`, `images`,
--                                     `attempts`, `repeats`, `device_us`, `billed_us`; `spent:CURRENCY` and
--                                     `billed:CURRENCY` in billionths
-- darkroom:usage_owners:DAY   set     owners with such a hash, with a TTL
-- darkroom:reserved:OWNER     string  billionths that jobs under way are expected to come to
--
-- In a record, `price` is 'BILLIONTHS CURRENCY' of one device second, or ''.

local USAGE_DAY, USAGE_SECONDS = 86400, 400 * 86400

local function usage_key(owner, now) return 'darkroom:usage:' .. owner .. ':' .. math.floor(now / USAGE_DAY) end
local function reserved_key(owner) return 'darkroom:reserved:' .. owner end

local function whole(number) return string.format('%.0f', number) end

-- The price of a device second in billionths, and its currency; nil where nothing is charged.
local function price_of(job)
  local billionths, currency = string.match(job.price or '', '^(%d+) (%u+)$')
  return tonumber(billionths), currency
end

local function amount_of(job, microseconds)
  local price = price_of(job)
  return price and math.floor(microseconds * price / 1e6) or 0
end

-- What the attempt took: the last note of its progress, or what its end says, which may not know.
local function told_and_given(job, microseconds)
  return math.max(tonumber(job.attempt_us or '') or 0, tonumber(microseconds))
end

local function note_usage(job, counts, now)
  local owner = job.shadow == '1' and SHADOW or job.owner
  local key = usage_key(owner, now)
  for name, number in pairs(counts) do
    if number ~= 0 then redis.call('HINCRBY', key, name, whole(number)) end
  end
  redis.call('EXPIRE', key, USAGE_SECONDS)
  local owners = 'darkroom:usage_owners:' .. math.floor(now / USAGE_DAY)
  redis.call('SADD', owners, owner)
  redis.call('EXPIRE', owners, USAGE_SECONDS)
end

-- A run ends, whatever comes next. `attempt_us` is what its worker last said that it took.
local function close_attempt(job, fields, now)
  local took = told_and_given(job, 0)
  local amount = amount_of(job, took)
  local _, currency = price_of(job)
  fields.attempt_us = 0
  fields.device_us = whole((tonumber(job.device_us or '') or 0) + took)
  fields.spent = whole((tonumber(job.spent or '') or 0) + amount)
  local counts = {attempts = 1, repeats = tonumber(job.attempt) > 1 and 1 or 0, device_us = took}
  if currency then counts['spent:' .. currency] = amount end
  note_usage(job, counts, now)
end

local function released_images(text)
  local images = 0
  for _, image in ipairs(cjson.decode(text or '[]')) do
    if image.decision == 'allow' then images = images + 1 end
  end
  return images
end

local function free_reserve(job)
  local reserved = tonumber(job.reserved or '') or 0
  if reserved == 0 then return end
  if redis.call('DECRBY', reserved_key(job.owner), whole(reserved)) <= 0 then redis.call('DEL', reserved_key(job.owner)) end
end

-- The job ends with this status.
local function close_account(job, status, fields, now)
  local counts = {['jobs:' .. status] = 1}
  if status == 'succeeded' and job.shadow ~= '1' then
    local took = tonumber(fields.made_us or job.made_us or '') or 0
    local _, currency = price_of(job)
    counts.images, counts.billed_us = released_images(fields.images or job.images), took
    fields.billed_us, fields.billed = whole(took), whole(amount_of(job, took))
    if currency then counts['billed:' .. currency] = amount_of(job, took) end
  end
  note_usage(job, counts, now)
  free_reserve(job)
end
