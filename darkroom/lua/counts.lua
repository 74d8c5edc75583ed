-- Counts one tier's jobs.
-- ARGV: 1 tier
-- Answer: {ready, delayed, running, age in seconds of the first in line, or '0'}
local tier = ARGV[1]
local first = redis.call('ZRANGE', ready_key(tier), 0, 0)[1]
local created = first and tonumber(redis.call('HGET', job_key(first), 'created_at') or '')
return {
  redis.call('ZCARD', ready_key(tier)) + redis.call('ZCARD', suspects_key(tier)), redis.call('ZCARD', delayed_key(tier)), redis.call('ZCARD', leases_key(tier)),
  created and stamp(clock() - created) or '0',
}
