-- @include job_row
-- Read what a list shows of each job. Changes nothing.
-- Arguments: ids, names (fields of a record), head_bytes
-- Reply: {row of a job (see job_row.lua)...}
local reply = {}
for number, id in ipairs(args.ids) do reply[number] = job_row(id, args.names, args.head_bytes) end
return reply
