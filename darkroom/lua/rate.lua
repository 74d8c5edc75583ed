-- Takes one call from an allowance that comes back evenly (GCRA: all that is kept is when it will be whole again).
-- ARGV: 1 key name, 2 calls in a window, 3 seconds of the window
-- Answer: {1 when there was one, calls left, seconds until all are back, seconds until there is one}
-- Writes: the key, with a TTL
local name, quota, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()
local whole = math.max(tonumber(redis.call('GET', name) or '') or now, now)
local spent = whole + window / quota - now -- seconds' worth, with this call
if spent > window + 1e-6 then
  return {0, 0, math.ceil(whole - now), math.max(math.ceil(spent - window), 1)}
end
redis.call('SET', name, stamp(now + spent), 'PX', math.ceil(spent * 1000))
return {1, math.floor((window - spent) * quota / window + 1e-6), math.ceil(spent), 0}
