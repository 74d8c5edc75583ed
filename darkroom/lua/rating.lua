-- The owner's rating of a job that succeeded; a later one takes the place of an earlier one.
-- Idempotent: the same rating again changes nothing.
-- ARGV: 1 id, 2 owner, 3 rating
-- Answer: {'ok' | 'missing' | 'gone' | 'late' | 'unrated', flat record}; late: archived; unrated: it did not succeed
-- Writes: darkroom:job, darkroom:arms
local id, owner, rating = ARGV[1], ARGV[2], tonumber(ARGV[3])
local job, left = load(id), trace(id)
if (job and job.owner or left[2]) ~= owner then return {'missing', {}} end
if not job then return {left[1] == 'gone' and 'gone' or 'late', {}} end
if job.status ~= 'succeeded' then return {'unrated', {}} end

local before = tonumber(job.rating or '')
if before ~= rating then
  set_fields(id, job, {rating = rating})
  count_rating(job, before, rating)
end
return {'ok', flat_record(id)}
