-- Ids in the postings of the rarest words: who stands in many of them, and in short ones, comes first.
--
-- KEYS     sorted sets {task id: until when its result answers, seconds since 1970}, one a word of the goal
-- ARGV     now, how many of the shortest postings to read, how many ids to return
-- returns  ids, the likeliest first

local now, most, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local postings = {}
for _, key in ipairs(KEYS) do
  local size = redis.call('ZCOUNT', key, now, '+inf')
  if size > 0 then
    table.insert(postings, { key = key, size = size })
  end
end
table.sort(postings, function(one, other)
  if one.size ~= other.size then return one.size < other.size end
  return one.key < other.key
end)

local weights, ids = {}, {}
for place = 1, math.min(most, #postings) do
  local posting = postings[place]
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', posting.key, now, '+inf')) do
    if not weights[id] then
      weights[id] = 0
      table.insert(ids, id)
    end
    weights[id] = weights[id] + 1 + 1 / posting.size
  end
end

-- ids are ordered by time: of equals the youngest
table.sort(ids, function(one, other)
  if weights[one] ~= weights[other] then return weights[one] > weights[other] end
  return one > other
end)
local found = {}
for place = 1, math.min(limit, #ids) do
  found[place] = ids[place]
end
return found
