-- Reads a record.
-- ARGV: 1 id
-- Answer: flat record, or what is left of it: {'archived' | 'gone', owner}, or {}
local flat = flat_record(ARGV[1])
if #flat > 0 then return flat end
return trace(ARGV[1])
