-- Puts one delivery into the outbox that no job made: an owner's test of an endpoint.
-- ARGV: 1 event id, 2 target, 3 owner, 4 type
-- Writes: darkroom:outbox, darkroom:delivery
local now = clock()
put_delivery(ARGV[1], ARGV[2], ARGV[3], now, {'time', stamp(now), 'type', ARGV[4]})
return 1
