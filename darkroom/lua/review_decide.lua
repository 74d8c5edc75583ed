-- in_review -> succeeded | blocked, by the person who holds the item's lease.
-- Idempotent: a repeated call under the same lease answers 'done' again.
-- Needs: audit_chain
-- Needs: review_items
-- ARGV: 1 id, 2 person, 3 fence, 4 status, 5 images (JSON), 6 error (JSON) or '', 7 category or '', 8 note, sealed,
--       9 details for the audit log (JSON)
-- Answer: 'done' | 'missing' | 'ended' | 'lost' | 'second'
-- Writes: darkroom:job, darkroom:review, darkroom:ended, darkroom:expiring, darkroom:audit, darkroom:outbox
local id, person, fence, now = ARGV[1], ARGV[2], ARGV[3], clock()
local job = load(id)
if not job then return 'missing' end
if job.review_done == fence .. ':' .. person then return 'done' end
local refused = objection(job, person, fence, now)
if refused then return refused end

transition(id, job, ARGV[4], {
  images = ARGV[5], error = ARGV[6], review_done = fence .. ':' .. person,
  review = with_step(job, person, 'decided', ARGV[7], ARGV[8], now),
}, now)
tell_of_decision(id, job, now)
audit(person, 'review.decided', id, ARGV[9], now)
return 'done'
