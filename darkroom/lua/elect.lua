-- Elect one of several processes for a while: the one that holds the lease, or the first that finds it free.
-- ARGV: lease, process, milliseconds
-- Answer: 1 where this process is elected, else 0
if redis.call('GET', ARGV[1]) ~= ARGV[2] and not redis.call('SET', ARGV[1], ARGV[2], 'NX') then return 0 end
return redis.call('PEXPIRE', ARGV[1], ARGV[3])
