-- Finds the terminal jobs that retention may remove.
-- ARGV: 1 most ids of one call
-- Answer: ids
return redis.call('ZRANGEBYSCORE', 'darkroom:expiring', '-inf', stamp(clock()), 'LIMIT', 0, ARGV[1])
