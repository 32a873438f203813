-- The open streams of one tenant.
-- KEYS[1]: sorted set of slots; the score is when a slot expires unless renewed (seconds of Redis' clock)
-- ARGV: the operation (acquire, renew, release), the maximum of slots, seconds until they expire, the slots' names
-- Returns 1, or 0 if there is no free slot.
local now = tonumber(redis.call('TIME')[1])
local expires = now + tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[1] == 'release' then
    redis.call('ZREM', KEYS[1], ARGV[4])
    return 1
end
if ARGV[1] == 'acquire' and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return 0
end
for index = 4, #ARGV do
    redis.call('ZADD', KEYS[1], expires, ARGV[index])
end
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[3]))
return 1
