-- Notes that a deleted job's objects are deleted.
-- ARGV: 1 id
-- Answer: 1 when it was waited for
-- Writes: darkroom:unswept
return redis.call('ZREM', 'darkroom:unswept', ARGV[1])
