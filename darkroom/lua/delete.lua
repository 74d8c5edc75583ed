-- Removes a terminal job at its owner's wish. Its objects are deleted next: `unswept` remembers them until they are.
-- ARGV: 1 id, 2 owner, 3 seconds that the trace is kept
-- Answer: 'deleted' | 'alive' | 'held' | 'gone' | 'missing'
-- Writes: darkroom:job, darkroom:owner, darkroom:ended, darkroom:expiring, darkroom:archived, darkroom:events,
--         darkroom:gone, darkroom:unswept
local id, owner = ARGV[1], ARGV[2]
local job, left = load(id), trace(id)
if (job and job.owner or left[2]) ~= owner then return 'missing' end
if job and not is_terminal(job.status) then return 'alive' end
if not job and left[1] == 'gone' then return 'gone' end
if is_held(id) then return 'held' end
remove(id, owner, ARGV[3])
redis.call('ZADD', 'darkroom:unswept', stamp(clock()), id)
return 'deleted'
