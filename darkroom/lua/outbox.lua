-- What webhooks are sent: each event once for each receiver that wants it, written in the step that made the change.
--
-- darkroom:outbox               zset  deliveries, by when they are due; a claimed one by when its lease ends
-- darkroom:delivery:ID          hash  a delivery. ID is its event's id, a colon and its target
-- darkroom:undelivered:OWNER    zset  deliveries that were given up, by when
-- darkroom:endpoints:OWNER      hash  an owner's endpoints: id -> JSON with `enabled` and `events` (webhooks.py)
--
-- A job names a webhook of its own in its field `webhook`: JSON with `url`, sealed, and `events`.

local OUTBOX = 'darkroom:outbox'
local JOB_TARGET = 'job' -- the target that stands for a job's own webhook
local ON_REQUEST = {['job.progress'] = true} -- not sent unless it was named

local function delivery_key(id) return 'darkroom:delivery:' .. id end
local function undelivered_key(owner) return 'darkroom:undelivered:' .. owner end
local function endpoints_key(owner) return 'darkroom:endpoints:' .. owner end

local function wants(events, type)
  if events == nil or #events == 0 then return not ON_REQUEST[type] end
  for _, name in ipairs(events) do
    if name == type then return true end
  end
  return false
end

-- Fields and values as a list. The same delivery put twice is one.
local function put_delivery(event, target, now, fields)
  local id = event .. ':' .. target
  redis.call('HSET', delivery_key(id), 'event', event, 'target', target, 'queued_at', string.format('%.6f', now),
    'attempt', 0, unpack(fields))
  redis.call('ZADD', OUTBOX, now, id)
end

-- An event of a job goes to its own webhook and to its owner's endpoints. `event` is the event's id, always the same one.
local function fan_out(id, job, type, event, now)
  local fields = {'type', type, 'job', id, 'owner', job.owner, 'job_status', job.status,
    'time', string.format('%.6f', now)}
  if job.webhook and job.webhook ~= '' then
    local own = cjson.decode(job.webhook)
    if wants(own.events, type) then
      put_delivery(event, JOB_TARGET, now, {'url', own.url, unpack(fields)})
    end
  end
  local endpoints = redis.call('HGETALL', endpoints_key(job.owner))
  for i = 1, #endpoints, 2 do
    local endpoint = cjson.decode(endpoints[i + 1])
    if endpoint.enabled and wants(endpoint.events, type) then put_delivery(event, endpoints[i], now, fields) end
  end
end

-- A job's status has changed: listeners and webhooks hear of it. What the event's id is made of makes it the same whoever
-- writes it.
local function tell(id, job, now)
  local word = job.status == 'running' and 'started' or job.status
  publish(id, job, word, now)
  local event = 'evt_' .. string.sub(id, 5) .. '_' .. (job.attempt or 0) .. '_' .. word
  fan_out(id, job, 'job.' .. word, event, now)
end
