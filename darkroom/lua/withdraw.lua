-- queued -> failed for jobs of a model that the operator has withdrawn. Those that run go on; those that wait for their
-- not-before time are met once it has come.
-- ARGV: 1 tier, 2 model, 3 most jobs of one call
-- Answer: how many
-- Writes: darkroom:job, darkroom:ready, darkroom:suspects, darkroom:deadlines, darkroom:ended, the keys of fair.lua
local tier, model, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local WITHDRAWN = problem('model_withdrawn', 'The model was withdrawn before the job could run. Submit it with another one.')
local now, failed = clock(), 0

local function withdraw(id)
  local job = load(id)
  if failed >= most or not job or job.status ~= 'queued' or job.model ~= model then return end
  transition(id, job, 'failed', {error = WITHDRAWN}, now)
  failed = failed + 1
end

for _, owner in ipairs(redis.call('ZRANGE', turns_key(tier), 0, -1)) do
  for _, id in ipairs(redis.call('ZRANGE', lane_key(tier, model, owner), 0, most - 1)) do withdraw(id) end
end
for _, id in ipairs(redis.call('ZRANGE', suspects_key(tier), 0, -1)) do withdraw(id) end
return failed
