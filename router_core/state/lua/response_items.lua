-- The items of a conversation up to the request of a Response, the oldest first.
-- Arguments: id, max_bytes, max_turns
-- Reply: {'whole' | 'gone' | 'large' | 'long', items of each request (JSON)...}
local newest_first, size, id = {}, 0, args.id
while id do
  local row = fields(RESPONSE .. id, 'items', 'previous')
  if not row.items then return {'gone'} end
  size = size + #row.items
  newest_first[#newest_first + 1] = row.items
  if size > args.max_bytes then return {'large'} end
  if #newest_first > args.max_turns then return {'long'} end
  id = row.previous
end
local reply = {'whole'}
for i = #newest_first, 1, -1 do reply[#reply + 1] = newest_first[i] end
return reply
