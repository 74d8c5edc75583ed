-- Removes a terminal job, archived or not; its objects were deleted before. A trace for its owner stays for a while.
-- ARGV: 1 id, 2 seconds that the trace is kept
-- Answer: 1 when there was one
-- Writes: darkroom:job, darkroom:owner, darkroom:ended, darkroom:expiring, darkroom:archived, darkroom:events,
--         darkroom:gone
local id = ARGV[1]
local job = load(id)
assert(not job or is_terminal(job.status), 'only an ended job may be forgotten')
local owner = job and job.owner or redis.call('HGET', 'darkroom:archived', id)
if owner then
  remove(id, owner, ARGV[2])
  return 1
end
redis.call('ZREM', 'darkroom:ended', id)
redis.call('ZREM', 'darkroom:expiring', id)
return 0
