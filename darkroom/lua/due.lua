-- Finds the terminal records that retention may remove.
-- ARGV: 1 seconds a record is kept, 2 most ids of one call
-- Answer: ids
local oldest = clock() - tonumber(ARGV[1])
return redis.call('ZRANGEBYSCORE', 'darkroom:ended', '-inf', stamp(oldest), 'LIMIT', 0, ARGV[2])
