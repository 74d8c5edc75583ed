-- Notes in a record that images are withheld, and bars their looks. An archived record is the caller's to change.
-- Idempotent but for the audit log, which says each call.
-- Needs: audit_chain
-- ARGV: 1 id, 2 person, 3 indexes (JSON), 4 details for the audit log (JSON), 5... looks to bar
-- Answer: 'done'
-- Writes: darkroom:job, darkroom:barred, darkroom:audit
local id, person, now = ARGV[1], ARGV[2], clock()
local job = load(id)
if job then set_fields(id, job, {withheld = ARGV[3]}) end
for i = 5, #ARGV do
  redis.call('HSETNX', 'darkroom:barred', ARGV[i], cjson.encode({job = id, by = person, at = now}))
end
audit(person, 'takedown', id, ARGV[4], now)
return 'done'
