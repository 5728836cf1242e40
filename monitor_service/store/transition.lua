-- One atomic move of a run: compare, write everything, publish.
-- KEYS: run, settings, steps, states, digests, events, series, rewards, changes
-- ARGV: expected tag ("" = the run must not exist), settings, channel of the settings,
--       channel of alarms ("" = none has changed), id of the run, events kept, changes kept;
--       then lists, each behind its length:
--       steps       field, record, digest, state, row of the series, rewards ("" = none)
--       states      field, state
--       old records, old states, old rewards    fields to drop
--       events      "1" for one that goes to the changes too, event
--       name/value pairs for the run's hash (behind the number of names and values), beside `last`
--       and `state`, which are those of the newest step, where there is one.
if (redis.call('HGET', KEYS[1], 'tag') or '') ~= ARGV[1] then return 'moved' end

local at = 7
local function taken(width)
  local count = tonumber(ARGV[at + 1])
  local first = at + 2
  at = at + 1 + count * width
  return count, first
end

local count, first = taken(6)
for i = first, first + 6 * (count - 1), 6 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 2])
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 3])
  redis.call('APPEND', KEYS[7], ARGV[i + 4])
  if ARGV[i + 5] ~= '' then redis.call('HSET', KEYS[8], ARGV[i], ARGV[i + 5]) end
end
if count > 0 then
  local last = first + 6 * (count - 1)
  redis.call('HSET', KEYS[1], 'last', ARGV[last + 1], 'state', ARGV[last + 3])
end
count, first = taken(2)
for i = first, first + 2 * (count - 1), 2 do
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
end
for _, keys in ipairs({ { KEYS[3], KEYS[5] }, { KEYS[4] }, { KEYS[8] } }) do
  count, first = taken(1)
  if count > 0 then
    for _, key in ipairs(keys) do redis.call('HDEL', key, unpack(ARGV, first, first + count - 1)) end
  end
end
count, first = taken(2)
for i = first, first + 2 * (count - 1), 2 do
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[6], '*', 'event', ARGV[i + 1])
  if ARGV[i] == '1' then
    redis.call('XADD', KEYS[9], 'MAXLEN', '~', ARGV[7], '*', 'event', ARGV[i + 1])
  end
end
count, first = taken(1)
redis.call('HSET', KEYS[1], unpack(ARGV, first, first + count - 1))
redis.call('SET', KEYS[2], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[2])
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return 'written'
