-- running -> running, with other texts or held, if this attempt still holds the job. Written before anything is made.
-- Idempotent: a repeated call writes the same again. What the caller wrote is kept from the first change on.
-- ARGV: 1 id, 2 attempt, 3 params (JSON), 4 sealed texts or '', 5 original texts or '', 6 reason to hold the images or ''
-- Answer: 1, or 0 where the claim is lost
-- Writes: darkroom:job
local id, attempt = ARGV[1], ARGV[2]
local job = load(id)
if not is_current(job, attempt) then return 0 end
local fields = {params = ARGV[3], sealed = ARGV[4]}
if (job.original or '') == '' then fields.original = ARGV[5] end
if (job.held or '') == '' then fields.held = ARGV[6] end
set_fields(id, job, fields)
return 1
