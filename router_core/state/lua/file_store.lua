-- @include files
-- Write the record of a file whose data is on the disk.
-- Arguments: see store_file
-- Bodies: record (JSON)
store_file(args, ARGV[3])
return {1}
