-- What became of jobs that a route sent to one of its models: what canaries are judged by.
--
-- darkroom:arms:ROUTE        hash    MODEL:WORD = jobs that ended so after a run; MODEL:seconds = of those that succeeded;
--                                    MODEL:ratings and MODEL:rating_sum. A shadow's jobs stand under MODEL+shadow.
-- darkroom:routes            zset    routes that had jobs, by the time of the latest
-- darkroom:routes:taken_out  hash    ROUTE -> JSON with model, trouble, at: the canary that gets no jobs any more

local ARMS_SECONDS = 90 * 86400
local COUNTED = {succeeded = true, failed = true, blocked = true, in_review = true}

local function arms_key(route) return 'darkroom:arms:' .. route end

local function is_routed(job) return job.route ~= nil and job.route ~= '' end

local function arm_of(job) return job.shadow == '1' and job.model .. '+shadow' or job.model end

-- A run of the job has ended.
local function count_arm(job, to, now)
  if not is_routed(job) or not COUNTED[to] then return end
  local key, arm = arms_key(job.route), arm_of(job)
  redis.call('HINCRBY', key, arm .. ':' .. to, 1)
  if to == 'succeeded' then
    redis.call('HINCRBYFLOAT', key, arm .. ':seconds', string.format('%.6f', now - (tonumber(job.started_at) or now)))
  end
  redis.call('EXPIRE', key, ARMS_SECONDS)
  redis.call('ZADD', 'darkroom:routes', now, job.route)
  redis.call('ZREMRANGEBYSCORE', 'darkroom:routes', '-inf', now - ARMS_SECONDS)
end

-- The owner rates a job, instead of how it was rated before.
local function count_rating(job, before, rating)
  if not is_routed(job) then return end
  local key, arm = arms_key(job.route), arm_of(job)
  redis.call('HINCRBY', key, arm .. ':rating_sum', rating - (before or 0))
  if not before then redis.call('HINCRBY', key, arm .. ':ratings', 1) end
  redis.call('EXPIRE', key, ARMS_SECONDS)
end
