-- Where a queued job stands, and the averages from which its wait is estimated.
-- ARGV: 1 id
-- Answer: {} unless queued, else {position, running, waited-for average run seconds, own seconds}; '' where unknown
local job = load(ARGV[1])
if not job or job.status ~= 'queued' then return {} end
local rates = redis.call('HMGET', 'darkroom:rates', job.tier, job.tier .. ':' .. job.model)
local own = rates[2] and tostring(tonumber(rates[2]) * tonumber(job.cost)) or ''
return {place_in_line(job), redis.call('ZCARD', leases_key(job.tier)), rates[1] or '', own}
