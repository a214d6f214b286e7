-- Files of the HTTP gateway: records, and the lists of each key.

-- `file`: id, producer, directory, created (ms), expires? (ms), keep_until? (ms). `packed`: its record, JSON.
local function store_file(file, packed)
  redis.call('ZADD', FILES .. file.producer, file.created, file.id)
  redis.call('ZADD', FILES, file.created, file.id)
  if file.expires then
    redis.call('SET', FILE .. file.id, packed, 'PXAT', ms(file.keep_until))
    redis.call('ZADD', FILE_DATA .. file.directory, file.expires, file.id)
  else
    redis.call('SET', FILE .. file.id, packed)
    redis.call('ZREM', FILE_DATA .. file.directory, file.id)
  end
end
