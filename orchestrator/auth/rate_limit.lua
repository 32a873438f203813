-- A token bucket shared by all processes, by Redis' own clock.
--
-- KEYS[1]  string "tokens moment": how many tokens the bucket held at a moment (microseconds); absent if it is full.
--          A refused call writes nothing: the present tokens are computed from the stored moment.
-- ARGV     the bucket's capacity in tokens, microseconds in which an empty bucket fills, tokens to take (0: only report)
-- returns {1 taken | 0 refused, whole tokens left, microseconds until the bucket is full, microseconds until the wanted
--          tokens are available, Redis' time in microseconds}

local capacity, period, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local tokens = capacity
local stored = redis.call('GET', KEYS[1])
if stored then
  local held, moment = string.match(stored, '(%S+) (%S+)')
  -- if the clock was set back, nothing is refilled and nothing is taken away
  local passed = math.max(0, now - tonumber(moment))
  tokens = math.min(capacity, tonumber(held) + passed * capacity / period)
end

local taken = tokens >= wanted
if taken and wanted > 0 then
  tokens = tokens - wanted
  local full_in = (capacity - tokens) * period / capacity
  redis.call('SET', KEYS[1], string.format('%.17g %.0f', tokens, now), 'PX', math.ceil(full_in / 1000) + 1)
end

local missing = taken and 0 or wanted - tokens
return {
  taken and 1 or 0,
  math.floor(tokens),
  math.ceil((capacity - tokens) * period / capacity),
  math.ceil(missing * period / capacity),
  now,
}
