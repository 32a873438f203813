-- Returns task ids from the shortest posting lists of a goal's words. A task ranks higher the more of these lists
-- hold it, and the shorter they are.
--
-- KEYS     sorted sets {task id: Unix time in seconds until which its result may be served}, one per word of the goal
-- ARGV     now (Unix time in seconds), how many of the shortest lists to read, how many ids to return
-- returns  task ids, the best first

local now, max_lists, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

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
for place = 1, math.min(max_lists, #postings) do
  local posting = postings[place]
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', posting.key, now, '+inf')) do
    if not weights[id] then
      weights[id] = 0
      table.insert(ids, id)
    end
    weights[id] = weights[id] + 1 + 1 / posting.size
  end
end

-- ids sort by creation time: among equal weights the newest comes first
table.sort(ids, function(one, other)
  if weights[one] ~= weights[other] then return weights[one] > weights[other] end
  return one > other
end)
local found = {}
for place = 1, math.min(limit, #ids) do
  found[place] = ids[place]
end
return found
