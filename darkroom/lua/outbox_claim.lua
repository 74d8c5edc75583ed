-- Takes deliveries that are due, under a lease. One whose lease has ended is due again.
-- ARGV: 1 how many at most, 2 lease seconds, 3 token of this claim
-- Answer: flat records, each with its id in front
-- Writes: darkroom:outbox, darkroom:delivery
local now = clock()
local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  if redis.call('EXISTS', delivery_key(id)) == 0 then
    redis.call('ZREM', OUTBOX, id)
  else
    redis.call('HSET', delivery_key(id), 'token', ARGV[3])
    redis.call('ZADD', OUTBOX, now + tonumber(ARGV[2]), id)
    claimed[#claimed + 1] = {id, unpack(redis.call('HGETALL', delivery_key(id)))}
  end
end
return claimed
