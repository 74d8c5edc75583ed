-- Removes a terminal record that now lies in the object store; its owner, its place in their list and its retention stay known here.
-- ARGV: 1 id
-- Answer: 1 when there was one
-- Writes: darkroom:job, darkroom:ended, darkroom:expiring, darkroom:spared, darkroom:archived,
--         darkroom:events
local id = ARGV[1]
local job = load(id)
if not job then return 0 end
assert(is_terminal(job.status), 'only an ended job may be archived')
redis.call('HSET', 'darkroom:archived', id, job.owner)
let_expire(id, stamp(kept_until(job)))
redis.call('ZREM', 'darkroom:ended', id)
redis.call('DEL', job_key(id), 'darkroom:events:' .. id)
return 1
