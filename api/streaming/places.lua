-- The open streams of one tenant.
-- KEYS[1]: sorted set of places, the score is when a place that nobody renews is free again (Redis' clock)
-- ARGV: what to do (take, renew, leave), how many places there may be, seconds to hold, the places' names
-- Returns 1, or 0 when there is no place to take.
local now = tonumber(redis.call('TIME')[1])
local held = now + tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[1] == 'leave' then
    redis.call('ZREM', KEYS[1], ARGV[4])
    return 1
end
if ARGV[1] == 'take' and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return 0
end
for index = 4, #ARGV do
    redis.call('ZADD', KEYS[1], held, ARGV[index])
end
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[3]))
return 1
