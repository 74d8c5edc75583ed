-- Leases an item of the review queue to a person: the one they hold already, else the oldest that is free for them.
-- Needs: audit_chain
-- Needs: review_items
-- ARGV: 1 person, 2 lease seconds, 3 id of the item that is wanted or ''
-- Answer: {'leased', flat record}, or {'none' | 'taken' | 'second' | 'missing', {}}
-- Writes: darkroom:job, darkroom:review, darkroom:audit
local person, wanted, now = ARGV[1], ARGV[3], clock()
local MOST = 500

local function lease(id, job)
  local fields = {review_until = stamp(now + tonumber(ARGV[2]))}
  if not is_leased(job, now) or job.review_by ~= person then
    fields.review_by, fields.review_fence = person, (tonumber(job.review_fence or '') or 0) + 1
    audit(person, 'review.leased', id, cjson.encode({fence = fields.review_fence}), now)
  end
  set_fields(id, job, fields)
  return {'leased', flat_record(id)}
end

local function is_mine(job) return is_leased(job, now) and job.review_by == person end

local function is_free(job) return not is_leased(job, now) and job.review_escalated_by ~= person end

if wanted ~= '' then
  local job = load(wanted)
  if not job or job.status ~= 'in_review' then return {'missing', {}} end
  if job.review_escalated_by == person then return {'second', {}} end
  if is_mine(job) or not is_leased(job, now) then return lease(wanted, job) end
  return {'taken', {}}
end

local ids = redis.call('ZRANGE', 'darkroom:review', 0, MOST - 1)
for _, fits in ipairs({is_mine, is_free}) do
  for _, id in ipairs(ids) do
    local seen = redis.call('HMGET', job_key(id), 'status', 'review_until', 'review_by', 'review_escalated_by')
    local job = {review_until = seen[2] or nil, review_by = seen[3] or nil, review_escalated_by = seen[4] or nil}
    if seen[1] == 'in_review' and fits(job) then return lease(id, load(id)) end
  end
end
return {'none', {}}
