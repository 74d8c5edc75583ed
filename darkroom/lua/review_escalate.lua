-- Gives an item back to the queue for somebody else, by the person who holds its lease.
-- Idempotent: a repeated call answers 'done' again.
-- Needs: audit_chain
-- Needs: review_items
-- ARGV: 1 id, 2 person, 3 fence, 4 category or '', 5 note, sealed, 6 details for the audit log (JSON)
-- Answer: 'done' | 'missing' | 'ended' | 'lost' | 'second'
-- Writes: darkroom:job, darkroom:audit
local id, person, fence, now = ARGV[1], ARGV[2], ARGV[3], clock()
local job = load(id)
if not job then return 'missing' end
local mark = 'escalated:' .. fence .. ':' .. person
if job.review_done == mark then return 'done' end
local refused = objection(job, person, fence, now)
if refused then return refused end

set_fields(id, job, {
  review_escalated_by = person, review_until = '0', review_done = mark,
  review = with_step(job, person, 'escalated', ARGV[4], ARGV[5], now),
})
audit(person, 'review.escalated', id, ARGV[6], now)
return 'done'
