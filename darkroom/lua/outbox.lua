-- What webhooks are sent: each event once for each receiver that wants it, written in the step that made the change.
--
-- darkroom:outbox               zset  deliveries, by when they are due; a claimed one by when its lease ends
-- darkroom:outbox:OWNER         zset  an owner's part of them, by when they were put in; bounded
-- darkroom:outbox-overflow      string  how many were given up because their owner had too many waiting
-- darkroom:delivery:ID          hash  a delivery. ID is its event's id, a colon and its target
-- darkroom:undelivered:OWNER    zset  deliveries that were given up, by when
-- darkroom:delivered:OWNER      zset  those that arrived lately, by when
-- darkroom:endpoints:OWNER      hash  an owner's endpoints: id -> JSON with `enabled` and `events` (webhooks.py)
--
-- A job names a webhook of its own in its field `webhook`: JSON with `url`, sealed, and `events`.

local OUTBOX = 'darkroom:outbox'
local JOB_TARGET = 'job' -- the target that stands for a job's own webhook
local MOST_WAITING, MOST_KEPT = 10000, 1000 -- of one owner: in the outbox; in each of the other two sets
local UNDELIVERED_SECONDS, DELIVERED_SECONDS = 30 * 86400, 3 * 86400
local ON_REQUEST = {['job.progress'] = true} -- not sent unless it was named

local function delivery_key(id) return 'darkroom:delivery:' .. id end
local function owed_key(owner) return 'darkroom:outbox:' .. owner end
local function undelivered_key(owner) return 'darkroom:undelivered:' .. owner end
local function delivered_key(owner) return 'darkroom:delivered:' .. owner end
local function endpoints_key(owner) return 'darkroom:endpoints:' .. owner end

local function wants(events, type)
  if events == nil or #events == 0 then return not ON_REQUEST[type] end
  for _, name in ipairs(events) do
    if name == type then return true end
  end
  return false
end

-- A delivery leaves the outbox and is kept for a while in one of an owner's sets, of which the latest stay.
local function put_by(id, owner, set, seconds, now)
  redis.call('ZREM', OUTBOX, id)
  redis.call('ZREM', owed_key(owner), id)
  redis.call('EXPIRE', delivery_key(id), seconds)
  redis.call('ZADD', set, now, id)
  redis.call('EXPIRE', set, seconds)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now - seconds)
  for _, oldest in ipairs(redis.call('ZRANGE', set, 0, -MOST_KEPT - 1)) do
    redis.call('ZREM', set, oldest)
    redis.call('DEL', delivery_key(oldest))
  end
end

local function give_up(id, owner, reason, now)
  redis.call('HSET', delivery_key(id), 'reason', reason, 'given_up_at', string.format('%.6f', now))
  redis.call('HDEL', delivery_key(id), 'token')
  put_by(id, owner, undelivered_key(owner), UNDELIVERED_SECONDS, now)
end

-- An owner whose receivers take nothing, or whom nobody delivers to, can't fill the server: the oldest is given up.
local function bound_outbox(owner, now)
  if redis.call('ZCARD', owed_key(owner)) <= MOST_WAITING then return end
  local oldest = redis.call('ZRANGE', owed_key(owner), 0, 0)[1]
  give_up(oldest, owner, 'too_many_waiting', now)
  redis.call('INCR', 'darkroom:outbox-overflow')
end

-- Fields and values as a list. The same delivery put twice is one.
local function put_delivery(event, target, owner, now, fields)
  local id = event .. ':' .. target
  redis.call('HSET', delivery_key(id), 'event', event, 'target', target, 'owner', owner,
    'queued_at', string.format('%.6f', now), 'attempt', 0, unpack(fields))
  redis.call('ZADD', OUTBOX, now, id)
  redis.call('ZADD', owed_key(owner), now, id)
  bound_outbox(owner, now)
end

-- An event of a job goes to its own webhook and to its owner's endpoints. `event` is the event's id, always the same one.
local function fan_out(id, job, type, event, now)
  local fields = {'type', type, 'job', id, 'job_status', job.status, 'time', string.format('%.6f', now)}
  for _, name in ipairs({'request_id', 'traceparent'}) do -- so that logs and traces lead from the request to here
    if (job[name] or '') ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = job[name]
    end
  end
  if job.webhook and job.webhook ~= '' then
    local own = cjson.decode(job.webhook)
    if wants(own.events, type) then
      put_delivery(event, JOB_TARGET, job.owner, now, {'url', own.url, unpack(fields)})
    end
  end
  local endpoints = redis.call('HGETALL', endpoints_key(job.owner))
  for i = 1, #endpoints, 2 do
    local endpoint = cjson.decode(endpoints[i + 1])
    if endpoint.enabled and wants(endpoint.events, type) then put_delivery(event, endpoints[i], job.owner, now, fields) end
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
