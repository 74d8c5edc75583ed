-- Finds deleted jobs whose objects were not reported as deleted in time.
-- ARGV: 1 seconds that the one who deleted the job has for its objects, 2 most ids of one call
-- Answer: ids
local oldest = clock() - tonumber(ARGV[1])
return redis.call('ZRANGEBYSCORE', 'darkroom:unswept', '-inf', stamp(oldest), 'LIMIT', 0, ARGV[2])
