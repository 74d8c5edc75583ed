-- Looks whether a job would be taken now, before anything is stored for it. The submit script decides again.
-- ARGV: 1 owner, 2 tier, 3 cost, 4 idempotency key name or '', 5 model, 6 price or '', 7... the caps, as in caps.lua
-- Answer: {} where it would be, or where its idempotency key has a job already; else as the submit script
-- Needs: caps
local job = {owner = ARGV[1], tier = ARGV[2], cost = ARGV[3], model = ARGV[5], price = ARGV[6], ['status'] = 'queued'}
if ARGV[4] ~= '' and redis.call('EXISTS', ARGV[4]) == 1 then return {} end
return refusal(job, {unpack(ARGV, 7, 11)}, clock()) or {}
