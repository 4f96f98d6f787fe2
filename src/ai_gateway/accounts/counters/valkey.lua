-- The counters of all replicas, in one place. One script, so that each step is atomic and one round trip.
--
-- KEYS[1] begins the names of all that ends with this life of the server, KEYS[2] that of what may outlive it. Money is
-- among the former: a server that was started again may have lost the last writes, so money is taken from the ledger
-- again. ARGV: operation, call, time ('' for the server's own), and what the operation takes.
--
-- Lua has doubles only, and amounts of money have more digits: they stay text, are added by HINCRBY and compared in
-- two parts.

local LIFE, LASTING = KEYS[1], KEYS[2]
local operation, call = ARGV[1], ARGV[2]
local PARTS = 61          -- of a rolling count: 60 units, and the one under way
local UNUSED_S = 7 * 86400
local CALL_S = 86400      -- no call takes longer
local SETTLED_S = 60      -- a settle that is sent again comes within so long
local REBUILD_S = 2       -- within so long replicas tell of their open calls, and the ledger has what ended

local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

-- When counting began: a client that sees another time than before knows that everything was lost.
local born = redis.call('GET', LIFE .. 'born')
if not born then
  born = string.format('%.17g', now)
  redis.call('SET', LIFE .. 'born', born)
end

local OPEN = LIFE .. 'open'
local SPENT = LIFE .. 'spent'  -- calls whose replica is gone: what they held is spent, until somebody knows better
local UNSEEDED = LIFE .. 'unseeded'

local function counter_key(counter) return LIFE .. 'counter:' .. counter end
local function rolling_key(counter) return LASTING .. 'rolling:' .. counter end
local function call_key(id) return LIFE .. 'call:' .. id end

local function split(text)
  local length = #text
  if length <= 9 then return 0, tonumber(text) end
  return tonumber(string.sub(text, 1, length - 9)), tonumber(string.sub(text, length - 8))
end

local function fits(used, held, amount, limit)
  local used_high, used_low = split(used)
  local held_high, held_low = split(held)
  local amount_high, amount_low = split(amount)
  local limit_high, limit_low = split(limit)
  local low = used_low + held_low + amount_low
  local high = used_high + held_high + amount_high + math.floor(low / 1e9)
  low = low % 1e9
  return high < limit_high or (high == limit_high and low <= limit_low)
end

local function is_rebuilding()
  local unseeded = redis.call('GET', UNSEEDED)
  local age = now - born  -- negative where the clock was set back since: then it began long ago
  return (age >= 0 and age < REBUILD_S) or (unseeded and now - unseeded < REBUILD_S)
end

-- A number that is a double's: clients read it in a fraction of the time that text takes.
local function short(text) return #text < 16 and tonumber(text) or text end

local function minus(amount) return amount == '0' and amount or '-' .. amount end

local function give_back(key, amount)
  if redis.call('HINCRBY', key, 'held', minus(amount)) < 0 then redis.call('HSET', key, 'held', 0) end
end

-- Money that was spent; where its counter has not begun, the ledger will have it.
local function use(key, amount)
  if redis.call('HEXISTS', key, 'used') == 1 then
    redis.call('HINCRBY', key, 'used', amount)
  elseif amount ~= '0' then
    redis.call('SET', UNSEEDED, string.format('%.17g', now), 'EX', 60)
  end
end

-- Forget what is over. Returns the sum of the rest, and its last unit: the counts of a clock that was set back since
-- stay, unless it was by all units or more. Then they would never be over, and nothing could be counted.
local function advance(key, unit)
  local found = redis.call('HMGET', key, 'last', 'sum')
  local last, sum = tonumber(found[1] or 0), tonumber(found[2] or 0)
  local passed = unit - last
  if passed <= 0 and passed > -PARTS then return sum, last end
  if passed >= PARTS or passed <= -PARTS then
    redis.call('DEL', key)
    sum = 0
  else
    local over = {}
    for step = 0, passed - 1 do over[#over + 1] = (unit - step) % PARTS end
    for _, part in ipairs(redis.call('HMGET', key, unpack(over))) do sum = sum - (part or 0) end
    redis.call('HDEL', key, unpack(over))
  end
  redis.call('HSET', key, 'last', unit, 'sum', sum)
  return sum, unit
end

local function parts_of(key)
  local found, parts = redis.call('HGETALL', key), {}
  for at = 1, #found, 2 do parts[found[at]] = tonumber(found[at + 1]) end
  return parts
end

local function add(key, unit, amount)
  redis.call('HINCRBY', key, unit % PARTS, amount)
  redis.call('HINCRBY', key, 'sum', amount)
end

-- Units until so much has left.
local function fits_in(parts, room, unit, last)
  for ahead = 0, PARTS - 1 do
    room = room - (parts[tostring((last + 1 + ahead) % PARTS)] or 0)
    if room <= 0 then return last - unit + ahead + 1 end
  end
  return last - unit + PARTS
end

-- Units until nothing is counted any more.
local function empty_in(parts, unit, last)
  for back = 0, PARTS - 1 do
    if (parts[tostring((last - back) % PARTS)] or 0) ~= 0 then return last - unit + PARTS - back end
  end
  return 0
end

local function spend(id)
  redis.call('ZREM', OPEN, id)
  local found = redis.call('GET', call_key(id))
  if not found or found == 'settled' then return end
  local record = cmsgpack.unpack(found)
  for _, hold in ipairs(record.holds) do
    local counter, kind, amount = unpack(hold)
    if kind ~= 'rolling' then give_back(counter_key(counter), amount) end
    if kind == 'money' then use(counter_key(counter), amount) end
  end
  record.spent = true
  redis.call('SET', call_key(id), cmsgpack.pack(record), 'EX', CALL_S)
  redis.call('ZREMRANGEBYSCORE', SPENT, '-inf', now - CALL_S)
  redis.call('ZADD', SPENT, now, id)
  redis.call('EXPIRE', SPENT, CALL_S)
end

local function note_call(record, lease_s)
  redis.call('SET', call_key(call), cmsgpack.pack(record), 'EX', CALL_S)
  redis.call('ZADD', OPEN, now + lease_s, call)
  redis.call('EXPIRE', OPEN, UNUSED_S)
end

local operations = {}

-- ARGV: lease in seconds; counter, kind, amount, limit and unit of each hold.
function operations.reserve()
  if redis.call('EXISTS', call_key(call)) == 1 then return {born, 'over'} end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, 10)) do spend(id) end
  local counts, unknown = {}, {born, 'unknown'}
  for at = 5, #ARGV, 5 do
    if ARGV[at + 1] ~= 'rolling' then
      local found = redis.call('HMGET', counter_key(ARGV[at]), 'used', 'held')
      counts[at] = found
      if not found[1] and ARGV[at + 1] == 'money' then unknown[#unknown + 1] = (at - 5) / 5 end
    end
  end
  if #unknown > 2 then
    if is_rebuilding() then return {born, 'rebuilding'} end
    return unknown
  end
  local granted = true
  -- The server's own time in microseconds, as it has it; a client's as it was given.
  local answer = {born, 'granted', ARGV[3] == '' and math.floor(now * 1e6 + 0.5) or ARGV[3]}
  for at = 5, #ARGV, 5 do
    local kind, amount, limit, unit_s = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
    local fit
    if kind == 'rolling' then
      local key, unit = rolling_key(ARGV[at]), math.floor(now / unit_s)
      local sum, last = advance(key, unit)
      fit = sum + amount <= tonumber(limit)
      answer[#answer + 1] = sum
      if not fit or amount == '0' then
        local parts = parts_of(key)
        answer[#answer + 1] = fits_in(parts, amount - (limit - sum), unit, last)
        answer[#answer + 1] = empty_in(parts, unit, last)
      else
        answer[#answer + 1] = 0
        answer[#answer + 1] = 0
      end
    else
      local used, held = counts[at][1] or '0', counts[at][2] or '0'
      fit = fits(used, held, amount, limit)
      answer[#answer + 1] = short(used)
      answer[#answer + 1] = short(held)
      answer[#answer + 1] = 0
    end
    granted = granted and fit
  end
  if not granted then
    answer[2] = 'refused'
    return answer
  end
  local holds = {}
  for at = 5, #ARGV, 5 do
    local counter, kind, amount, unit_s = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 4])
    if kind == 'rolling' then
      local key, unit = rolling_key(counter), math.floor(now / unit_s)
      add(key, unit, amount)
      redis.call('EXPIRE', key, (PARTS + 1) * unit_s)
      holds[#holds + 1] = {counter, kind, amount, unit}
    else
      redis.call('HINCRBY', counter_key(counter), 'held', amount)
      redis.call('EXPIRE', counter_key(counter), UNUSED_S)
      holds[#holds + 1] = {counter, kind, amount}
    end
  end
  note_call({holds = holds}, ARGV[4])
  return answer
end

-- ARGV: counter, kind and amount of each hold, in their order. A call that is settled already stays as it is.
function operations.settle()
  local found = redis.call('GET', call_key(call))
  if found == 'settled' then return {born} end
  local record = found and cmsgpack.unpack(found)
  for at = 4, #ARGV, 3 do
    local key, kind, amount = counter_key(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
    local hold = record and record.holds[(at - 1) / 3]
    if not hold then
      if kind == 'money' then use(key, amount) end
    elseif kind == 'rolling' then
      local rolling, unit = rolling_key(ARGV[at]), hold[4]
      local last = unit and redis.call('HGET', rolling, 'last')
      if last and last - unit >= 0 and last - unit < PARTS then
        local more = amount - hold[3]
        if more < 0 then more = math.max(more, -(redis.call('HGET', rolling, unit % PARTS) or 0)) end
        add(rolling, unit, more)
      end
    else
      if not record.spent then
        give_back(key, hold[3])
      elseif kind == 'money' then
        use(key, minus(hold[3]))
      end
      if kind == 'money' then
        use(key, amount)
      elseif amount ~= '0' then
        redis.call('HINCRBY', key, 'used', amount)
      end
    end
  end
  redis.call('ZREM', OPEN, call)
  redis.call('ZREM', SPENT, call)
  redis.call('SET', call_key(call), 'settled', 'EX', SETTLED_S)
  return {born}
end

-- ARGV: what is in the ids of all calls of a process. Those that are not settled, each with counter, kind and amount of
-- what it holds, or held until it was taken to be spent.
function operations.left()
  local answer = {born}
  for _, key in ipairs({OPEN, SPENT}) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      local found = string.find(id, ARGV[4], 1, true) and redis.call('GET', call_key(id))
      if found and found ~= 'settled' then
        local left = {id}
        for _, hold in ipairs(cmsgpack.unpack(found).holds) do
          for at = 1, 3 do left[#left + 1] = hold[at] end
        end
        answer[#answer + 1] = left
      end
    end
  end
  return answer
end

-- ARGV: lease in seconds; counter, kind and amount of each hold, of a call whose counters were lost. Rates are not
-- counted again.
function operations.restore()
  if redis.call('EXISTS', call_key(call)) == 1 then return {born} end
  local holds = {}
  for at = 5, #ARGV, 3 do
    local counter, kind, amount = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    holds[#holds + 1] = {counter, kind, amount}
    if kind ~= 'rolling' then
      redis.call('HINCRBY', counter_key(counter), 'held', amount)
      redis.call('EXPIRE', counter_key(counter), UNUSED_S)
    end
  end
  note_call({holds = holds}, ARGV[4])
  return {born}
end

-- ARGV: lease in seconds, and further calls that are open.
function operations.renew()
  for at = 5, #ARGV do redis.call('ZADD', OPEN, 'XX', now + ARGV[4], ARGV[at]) end
  return {born}
end

-- ARGV: counter and what was used of it.
function operations.seed()
  local key = counter_key(ARGV[4])
  local begun = redis.call('HGET', key, 'used')
  if begun and not fits(ARGV[5], '0', '0', begun) then
    redis.call('HSET', key, 'used', ARGV[5])
  elseif not begun then
    if is_rebuilding() then return {born, 'rebuilding'} end
    redis.call('HSET', key, 'used', ARGV[5])
    redis.call('EXPIRE', key, UNUSED_S)
  end
  return {born, 'begun'}
end

-- ARGV: counters that are not rolling.
function operations.read()
  local answer = {born}
  for at = 4, #ARGV do
    local found = redis.call('HMGET', counter_key(ARGV[at]), 'used', 'held')
    answer[#answer + 1] = found[1] or (found[2] and '0') or false
    answer[#answer + 1] = found[2] or '0'
  end
  return answer
end

-- How long counters of money cannot begin yet, in milliseconds.
function operations.hello()
  return {born, is_rebuilding() and math.ceil((born + REBUILD_S - now) * 1000) or 0}
end

return operations[operation]()
