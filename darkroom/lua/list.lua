-- Reads one page of an owner's jobs, newest first.
-- ARGV: 1 owner, 2 status or '', 3 page size, 4 place to continue below or ''
-- Answer: {place to continue below or '', flat record or {'archived', id}, ...}
-- Of an archived job the status is not known here, so it is named whatever was asked for.
-- A page may be short, even empty, and still have a next one: MOST bounds what one call looks at.
local MOST = 1000
local wanted, size = ARGV[2], tonumber(ARGV[3])
local below = ARGV[4] == '' and '+inf' or '(' .. ARGV[4]
local found = redis.call('ZREVRANGEBYSCORE', owner_key(ARGV[1]), below, '-inf', 'WITHSCORES', 'LIMIT', 0, MOST + 1)
local page = {''}
local seen, last = 0, ''
for i = 1, #found, 2 do
  if #page > size or seen == MOST then
    page[1] = last
    return page
  end
  seen, last = seen + 1, found[i + 1]
  local status = redis.call('HGET', job_key(found[i]), 'status')
  if status and (wanted == '' or status == wanted) then
    page[#page + 1] = flat_record(found[i])
  elseif not status and redis.call('HEXISTS', 'darkroom:archived', found[i]) == 1 then
    page[#page + 1] = {'archived', found[i]}
  end
end
return page
