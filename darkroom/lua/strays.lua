-- Which files does no record name? Those of an attempt that neither runs nor committed what the record still shows.
-- ARGV: id, attempt pairs; '' as attempt for the files that came with a job
-- Answer: one of 'named', 'stray', 'unknown' (no such record) per pair
local answers = {}
for i = 1, #ARGV, 2 do
  local job, attempt = load(ARGV[i]), ARGV[i + 1]
  if is_held(ARGV[i]) then
    answers[#answers + 1] = 'named'
  elseif not job then
    answers[#answers + 1] = 'unknown'
  elseif attempt == '' or is_current(job, attempt) or (job.committed == attempt and job.status ~= 'cancelled') then
    answers[#answers + 1] = 'named'
  else
    answers[#answers + 1] = 'stray'
  end
end
return answers
