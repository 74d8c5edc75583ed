-- Counts a prompt of an API key that was refused or held. The count falls by half in each half-life; from a bar on the
-- key has to wait, twice as long with each further one, and from another bar on it is held until a person lets it go.
-- ARGV: 1 key id, 2 weight, 3 half-life in seconds, 4 bar for waiting or 0, 5 bar for holding or 0,
--       6 first wait in seconds, 7 longest wait
-- Answer: the count, as text
-- Writes: darkroom:misses:KEY, with a TTL; darkroom:held_keys
local id, half_life = ARGV[1], tonumber(ARGV[3])
local slow, hold = tonumber(ARGV[4]), tonumber(ARGV[5])
local name, now = 'darkroom:misses:' .. id, clock()
local kept = redis.call('HMGET', name, 'count', 'at')
local count = tonumber(ARGV[2])
if kept[1] then count = count + tonumber(kept[1]) * 2 ^ ((tonumber(kept[2]) - now) / half_life) end
redis.call('HSET', name, 'count', stamp(count), 'at', stamp(now))
if slow > 0 and count >= slow then
  local wait = math.min(tonumber(ARGV[6]) * 2 ^ math.floor(count - slow), tonumber(ARGV[7]))
  redis.call('HSET', name, 'free_at', stamp(now + wait))
end
redis.call('EXPIRE', name, math.ceil(half_life * 20))
if hold > 0 and count >= hold then redis.call('HSETNX', 'darkroom:held_keys', id, stamp(now)) end
return stamp(count)
