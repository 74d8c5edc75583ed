-- Notes how far a running job is; status unchanged. A stale attempt's note is dropped.
-- ARGV: 1 id, 2 attempt, 3 step, 4 steps
-- Writes: darkroom:job
local job = load(ARGV[1])
if is_current(job, ARGV[2]) then set_fields(ARGV[1], job, {step = ARGV[3], steps = ARGV[4]}) end
return 1
