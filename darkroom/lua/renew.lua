-- Prolongs the leases of all jobs of one process; status unchanged.
-- ARGV: id, attempt pairs
-- Answer: one of 'kept', 'cancelled' (asked for; the lease is prolonged all the same), 'lost' per pair
-- Writes: darkroom:job, darkroom:leases, darkroom:dead
local now = clock()
local answers = {}
for i = 1, #ARGV, 2 do
  local id, job = ARGV[i], load(ARGV[i])
  if is_current(job, ARGV[i + 1]) then
    local until_time = stamp(now + tonumber(job.lease_seconds))
    set_fields(id, job, {lease_until = until_time})
    redis.call('ZADD', leases_key(job.tier), until_time, id)
    lives(job.worker)
    answers[#answers + 1] = job.cancel_requested == '1' and 'cancelled' or 'kept'
  else
    acquit(id, job, ARGV[i + 1])
    answers[#answers + 1] = 'lost'
  end
end
return answers
