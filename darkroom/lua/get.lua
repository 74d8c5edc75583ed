-- Reads a record.
-- ARGV: 1 id
-- Answer: flat record, or {}
return flat_record(ARGV[1])
