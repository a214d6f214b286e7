-- Note values that a reader of openfall could not decode. Every process that reads such a value notes it, and it stays where it
-- is: a note of the same place and reason is repeated once in `repeat_ms`.
-- Arguments: notes ({place, why}...), repeat_ms
-- Reply: how many of them are new
local time = redis.call('TIME')
local recent = {}
for _, text in ipairs(redis.call('LRANGE', UNREADABLE, 0, -1)) do
  local is_json, note = pcall(cjson.decode, text)
  if is_json and type(note) == 'table' and time[1] * 1000 - (tonumber(note.at) or 0) < args.repeat_ms then
    recent[tostring(note.what) .. ' ' .. tostring(note.why)] = true
  end
end
local new = 0
for _, note in ipairs(args.notes) do
  if not recent[printable(note[1]) .. ' ' .. printable(note[2])] then
    note_unreadable(note[1], note[2])
    new = new + 1
  end
end
return new
