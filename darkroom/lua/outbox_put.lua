-- Puts one delivery into the outbox that no job made: an owner's test of an endpoint.
-- ARGV: 1 event id, 2 target, 3... fields and values
-- Writes: darkroom:outbox, darkroom:delivery
local now = clock()
put_delivery(ARGV[1], ARGV[2], now, {'time', stamp(now), unpack(ARGV, 3)})
return 1
