-- Set aside the keys of a command that have another type than it needs.
-- Arguments: command
-- Bodies: its arguments
-- Reply: 1
for i = 3, #ARGV do
  local prefix = string.sub(ARGV[i], 1, 3)
  if prefix == 'of:' or prefix == 'rq:' then set_aside(ARGV[i], wanted_type(args.command)) end
end
return 1
