-- Items of the review queue: records of jobs in review, in the order in which they came there (darkroom:review).
--
-- An item is leased to one person at a time. Fields of the record that only these scripts use: review_by, review_until and
-- review_fence (the lease), review_escalated_by, review_done ('fence:person' of the decision), review_entered.

-- Steps are appended as text: cjson would write an empty list as an object.
local function with_step(job, person, action, code, note, now)
  local step = cjson.encode({by = person, action = action, code = code ~= '' and code or nil, note = note, at = now})
  local before = job.review and job.review ~= '' and job.review or '[]'
  return before == '[]' and '[' .. step .. ']' or string.sub(before, 1, -2) .. ',' .. step .. ']'
end

local function is_leased(job, now) return (tonumber(job.review_until or '') or 0) > now end

-- Why the person may not decide about the item; nil where they may.
local function objection(job, person, fence, now)
  if job.status ~= 'in_review' then return 'ended' end
  if not is_leased(job, now) or job.review_by ~= person or job.review_fence ~= fence then return 'lost' end
  if job.review_escalated_by == person then return 'second' end
  return nil
end

local function tell_of_decision(id, job, now)
  fan_out(id, job, 'job.review_decided', 'evt_' .. string.sub(id, 5) .. '_' .. (job.attempt or 0) .. '_review_decided', now)
end
