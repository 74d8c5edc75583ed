-- Removes a terminal job's record and index entries; its objects were deleted before.
-- ARGV: 1 id
-- Answer: 1 when there was one
-- Writes: darkroom:job, darkroom:owner, darkroom:ended
local id = ARGV[1]
local job = load(id)
redis.call('ZREM', 'darkroom:ended', id)
if not job then return 0 end
assert(is_terminal(job.status), 'only an ended job may be forgotten')
redis.call('ZREM', owner_key(job.owner), id)
return redis.call('DEL', job_key(id))
