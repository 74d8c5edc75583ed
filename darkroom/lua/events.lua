-- What happens to jobs, for those who listen: written in the step that made the change, bounded, and never the truth.
--
-- darkroom:events:ID  stream  what happened to a job since it first ran; gone some time after its latest event
-- darkroom:feed       stream  what happened to all jobs, for the one reader of each API process
--
-- An event's place is its id in the job's stream. A job that never ran has no stream, so that a long queue costs little:
-- that it was queued and how it ended follow from its record, at places that come before all others (events.py).

local MOST_EVENTS, MOST_NEWS = 200, 10000
local ALIVE_SECONDS, ENDED_SECONDS = 86400, 600
local UNRUN_END = '0-2'

local function publish(id, job, event, now)
  local fields = {'event', event, 'status', job.status, 'time', string.format('%.6f', now), 'attempt', job.attempt or 0}
  local function add(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if event == 'progress' then
    add('step', job.step)
    add('steps', job.steps)
  elseif job.error and job.error ~= '' then
    add('code', cjson.decode(job.error).code)
  end
  local place = UNRUN_END
  if tonumber(job.attempt or 0) > 0 then
    local key = 'darkroom:events:' .. id
    local ended = next(LEGAL[job.status]) == nil
    place = redis.call('XADD', key, 'MAXLEN', MOST_EVENTS, '*', unpack(fields))
    redis.call('EXPIRE', key, ended and ENDED_SECONDS or ALIVE_SECONDS)
  end
  redis.call('XADD', 'darkroom:feed', 'MAXLEN', '~', MOST_NEWS, '*', 'job', id, 'place', place, unpack(fields))
end
