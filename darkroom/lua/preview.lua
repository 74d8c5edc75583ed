-- Hands a picture of an unfinished image on to who listens just now. A stale attempt's, or a cancelled job's, is dropped.
-- ARGV: 1 id, 2 attempt, 3 the picture as a message (JSON)
-- Answer: 1 if it was handed on
-- Writes: nothing; publishes on darkroom:previews
local job = load(ARGV[1])
if not is_current(job, ARGV[2]) or job.cancel_requested == '1' then return 0 end
redis.call('PUBLISH', 'darkroom:previews', ARGV[3])
return 1
