-- Deliveries that were given up, or that arrived lately, are due again, with all their attempts.
-- ARGV: 1 owner, 2... ids
-- Answer: how many
-- Writes: darkroom:outbox, darkroom:delivery, darkroom:undelivered, darkroom:delivered
local owner, now = ARGV[1], clock()
local replayed = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local kept = redis.call('ZREM', undelivered_key(owner), id) + redis.call('ZREM', delivered_key(owner), id)
  if kept > 0 and redis.call('EXISTS', delivery_key(id)) == 1 then
    redis.call('HSET', delivery_key(id), 'attempt', 0, 'queued_at', stamp(now))
    redis.call('HDEL', delivery_key(id), 'reason', 'given_up_at')
    redis.call('PERSIST', delivery_key(id))
    redis.call('ZADD', OUTBOX, now, id)
    redis.call('ZADD', owed_key(owner), now, id)
    bound_outbox(owner, now)
    replayed = replayed + 1
  end
end
return replayed
