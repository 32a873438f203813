-- KEYS: none. ARGV[1]: the pattern of the keys that age; ARGV[2]: by how many milliseconds.
local cursor = '0'
repeat
  local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do
    local left = redis.call('PTTL', key)
    if left >= 0 then
      redis.call('PEXPIRE', key, math.max(0, left - ARGV[2]))
    end
  end
until cursor == '0'
