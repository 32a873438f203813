-- The breaker, pause and rate limits of one model, shared by all processes, by Redis' own clock (seconds).
--
-- KEYS[1]  hash:  open_until    calls are refused until this time; set while the breaker is not closed
--                 ticket        the id of the one call that probes a half-open breaker
--                 probe_until   the time when that probe counts as lost
--                 pause_until   the provider asked for a pause until this time (Retry-After)
--                 requests_at   the theoretical arrival time of requests (GCRA)
--                 tokens_at     the theoretical arrival time of tokens (GCRA)
-- KEYS[2]  sorted set of failures: the member is a ticket, the score its time
--
-- ARGV admit:  'admit', ticket, probe seconds, requests per minute (0: no limit), tokens per minute (0: no limit), tokens,
--              1 to ignore the rate limits (but not the pause or the breaker)
--   returns {verdict, seconds to wait, breaker's state}
-- ARGV report: 'report', ticket, alive | failed | abandoned, failures to open at, window seconds, open seconds,
--              pause seconds, requests per minute, requests to give back, tokens per minute, tokens to add (may be negative)
--   returns {'', '0', breaker's state}
--
-- GCRA: one minute's worth of calls, refilled at a constant rate, like the providers' own token buckets
-- (ITU-T I.371, generic cell rate algorithm).

local MINUTE, DAY = 60, 86400

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local function stored(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '0') or 0
end

local function store(field, number)
  redis.call('HSET', KEYS[1], field, string.format('%.6f', number))
end

local function state()
  local open_until = stored('open_until')
  if open_until == 0 then return 'closed' end
  if now < open_until then return 'open' end
  return 'half_open'
end

local function answer(verdict, wait)
  redis.call('EXPIRE', KEYS[1], DAY)
  return {verdict, string.format('%.3f', wait), state()}
end

-- returns the theoretical arrival time after `amount` more, and the seconds until they are admitted
local function arrival(field, per_minute, amount)
  local room = MINUTE
  local at = math.max(stored(field), now)
  local cost = math.min(amount / per_minute * MINUTE, room)
  return at + cost, math.max(0, at + cost - now - room)
end

local function admit(ticket, probe_seconds, requests, tokens, amount, must)
  local pause_until = stored('pause_until')
  if now < pause_until then return answer('paused', pause_until - now) end
  local breaker = state()
  if breaker == 'open' then return answer('open', stored('open_until') - now) end
  if breaker == 'half_open' and now < stored('probe_until') then
    return answer('probing', stored('probe_until') - now)
  end
  local requests_at, tokens_at, wait
  if requests > 0 then
    requests_at, wait = arrival('requests_at', requests, 1)
    if wait > 0 and not must then return answer('requests', wait) end
  end
  if tokens > 0 then
    tokens_at, wait = arrival('tokens_at', tokens, amount)
    if wait > 0 and not must then return answer('tokens', wait) end
  end
  if requests_at then store('requests_at', requests_at) end
  if tokens_at then store('tokens_at', tokens_at) end
  if breaker == 'half_open' then
    redis.call('HSET', KEYS[1], 'ticket', ticket)
    store('probe_until', now + probe_seconds)
    return answer('probe', 0)
  end
  return answer('admitted', 0)
end

local function close_breaker()
  redis.call('HDEL', KEYS[1], 'open_until', 'ticket', 'probe_until')
  redis.call('DEL', KEYS[2])
end

local function open_breaker(seconds)
  store('open_until', now + seconds)
  redis.call('HDEL', KEYS[1], 'ticket', 'probe_until')
end

local function count_failure(ticket, most, window, open_seconds)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - window)
  redis.call('ZADD', KEYS[2], now, ticket)
  redis.call('EXPIRE', KEYS[2], math.ceil(window))
  if redis.call('ZCARD', KEYS[2]) >= most and state() == 'closed' then open_breaker(open_seconds) end
end

local function report(ticket, outcome, most, window, open_seconds, pause, requests, give_back, tokens, amount)
  local is_probe = redis.call('HGET', KEYS[1], 'ticket') == ticket
  if outcome == 'failed' then
    if is_probe then open_breaker(open_seconds) else count_failure(ticket, most, window, open_seconds) end
  elseif is_probe and outcome == 'alive' then
    close_breaker()
  elseif is_probe then
    redis.call('HDEL', KEYS[1], 'ticket', 'probe_until')
  end
  if pause > 0 then store('pause_until', math.max(stored('pause_until'), now + pause)) end
  if requests > 0 and give_back > 0 then
    store('requests_at', math.max(now, stored('requests_at')) - give_back / requests * MINUTE)
  end
  if tokens > 0 and amount ~= 0 then
    store('tokens_at', math.max(now, stored('tokens_at')) + amount / tokens * MINUTE)
  end
  return answer('', 0)
end

if ARGV[1] == 'admit' then
  return admit(ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1')
end
return report(ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]),
  tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]))
