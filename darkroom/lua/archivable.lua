-- Finds the terminal records that have stayed here long enough.
-- ARGV: 1 seconds that a record stays, 2 most records of one call
-- Answer: flat records
-- Writes: darkroom:ended, for ids without a record
local oldest = clock() - tonumber(ARGV[1])
local records = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'darkroom:ended', '-inf', stamp(oldest), 'LIMIT', 0, ARGV[2])) do
  local flat = flat_record(id)
  if #flat == 0 then
    redis.call('ZREM', 'darkroom:ended', id)
  else
    records[#records + 1] = flat
  end
end
return records
