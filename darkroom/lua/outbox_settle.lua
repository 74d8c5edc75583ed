-- What came of a claimed delivery. Who lost the claim to another changes nothing, but a delivered one is done for all.
-- ARGV: 1 id, 2 token of the claim, 3 `delivered`, `retry`, `postpone` or `bury`, 4 seconds until it is due again,
--       5 why it is given up
-- Answer: 1 where it was changed
-- Writes: darkroom:outbox, darkroom:delivery, darkroom:undelivered, darkroom:delivered
local id, verb = ARGV[1], ARGV[3]
local key = delivery_key(id)
local owner, token = unpack(redis.call('HMGET', key, 'owner', 'token'))
if not owner then return 0 end

local now = clock()
if verb == 'delivered' then
  redis.call('HDEL', key, 'token', 'reason', 'given_up_at')
  redis.call('ZREM', undelivered_key(owner), id)
  put_by(id, owner, delivered_key(owner), DELIVERED_SECONDS, now)
  return 1
end
if token ~= ARGV[2] then return 0 end

redis.call('HDEL', key, 'token')
if verb ~= 'postpone' then redis.call('HINCRBY', key, 'attempt', 1) end
if verb == 'bury' then
  give_up(id, owner, ARGV[5], now)
else
  redis.call('ZADD', OUTBOX, now + tonumber(ARGV[4]), id)
end
return 1
