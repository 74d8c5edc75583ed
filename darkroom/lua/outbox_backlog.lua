-- How much waits to be delivered.
-- ARGV: none
-- Answer: {deliveries, seconds that the first one due has been due for, how many were given up because too many waited}
local first = redis.call('ZRANGE', OUTBOX, 0, 0, 'WITHSCORES')
local overdue = first[2] and math.max(0, clock() - tonumber(first[2])) or 0
return {redis.call('ZCARD', OUTBOX), stamp(overdue), tonumber(redis.call('GET', 'darkroom:outbox-overflow') or 0)}
