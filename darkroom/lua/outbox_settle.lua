-- What came of a claimed delivery. Who lost the claim to another changes nothing, but a delivered one is done for all.
-- ARGV: 1 id, 2 token of the claim, 3 `delivered`, `retry`, `postpone` or `bury`, 4 seconds until it is due again,
--       5 why it is given up, 6 how many given-up ones an owner keeps, 7 for how many seconds
-- Answer: 1 where it was changed
-- Writes: darkroom:outbox, darkroom:delivery, darkroom:undelivered
local id, verb = ARGV[1], ARGV[3]
local key = delivery_key(id)

if verb == 'delivered' then
  redis.call('ZREM', OUTBOX, id)
  return redis.call('DEL', key)
end
if redis.call('HGET', key, 'token') ~= ARGV[2] then return 0 end

local now = clock()
redis.call('HDEL', key, 'token')
if verb ~= 'postpone' then redis.call('HINCRBY', key, 'attempt', 1) end
if verb ~= 'bury' then
  redis.call('ZADD', OUTBOX, now + tonumber(ARGV[4]), id)
  return 1
end
local given_up = undelivered_key(redis.call('HGET', key, 'owner'))
redis.call('ZREM', OUTBOX, id)
redis.call('HSET', key, 'reason', ARGV[5], 'given_up_at', stamp(now))
redis.call('EXPIRE', key, ARGV[7])
redis.call('ZADD', given_up, now, id)
redis.call('EXPIRE', given_up, ARGV[7])
redis.call('ZREMRANGEBYSCORE', given_up, '-inf', now - tonumber(ARGV[7]))
local too_many = redis.call('ZCARD', given_up) - tonumber(ARGV[6])
if too_many > 0 then
  for _, oldest in ipairs(redis.call('ZRANGE', given_up, 0, too_many - 1)) do
    redis.call('ZREM', given_up, oldest)
    redis.call('DEL', delivery_key(oldest))
  end
end
return 1
