-- What jobs of a model took lately, for each step-pixel; status and records unchanged.
-- ARGV: 1 tier, 2 model
-- Answer: {device microseconds or '', seconds from claim to commit or ''}
local rates = redis.call('HMGET', 'darkroom:rates', 'device:' .. ARGV[2], ARGV[1] .. ':' .. ARGV[2])
return {rates[1] or '', rates[2] or ''}
