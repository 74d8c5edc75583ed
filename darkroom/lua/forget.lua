-- Removes a terminal job, archived or not. Its objects are deleted next: `unswept` remembers them until they are, so that
-- a hold that comes in between finds either a whole job or none. One that never ran and came without images has none.
-- A trace for its owner stays for a while.
-- ARGV: 1 id, 2 seconds that the trace is kept
-- Answer: 1 when there was one that nothing keeps
-- Writes: darkroom:job, darkroom:owner, darkroom:ended, darkroom:expiring, darkroom:archived, darkroom:events,
--         darkroom:gone, darkroom:unswept
local function has_objects(job)
  local inputs = cjson.decode(job.params).init_image
  return tonumber(job.attempt) > 0 or (inputs ~= nil and inputs ~= cjson.null)
end

local id = ARGV[1]
local job = load(id)
assert(not job or is_terminal(job.status), 'only an ended job may be forgotten')
if is_kept(id) then
  stop_expiry(id)
  return 0
end
local owner = job and job.owner or redis.call('HGET', 'darkroom:archived', id)
if owner then
  remove(id, owner, ARGV[2])
  if not job or has_objects(job) then redis.call('ZADD', 'darkroom:unswept', 0, id) end
  return 1
end
redis.call('ZREM', 'darkroom:ended', id)
redis.call('ZREM', 'darkroom:expiring', id)
return 0
