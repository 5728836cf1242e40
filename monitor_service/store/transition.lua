-- One atomic move of a run: compare, write everything, publish.
-- KEYS: run, settings, steps, states, digests, events
-- ARGV: expected version ("" = the run must not exist), field of the step ("" = not a step),
--       digest, record, field of the state ("" = none), state, settings, channel,
--       events kept, number of events, events..., then name/value pairs for the run's hash.
local field, digest = ARGV[2], ARGV[3]
if field ~= '' then
  local known = redis.call('HGET', KEYS[5], field)
  if known == digest then return 'duplicate' end
  if known then return 'conflict' end
end
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 'moved' end

if field ~= '' then
  redis.call('HSET', KEYS[5], field, digest)
  redis.call('HSET', KEYS[3], field, ARGV[4])
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[4], ARGV[5], ARGV[6]) end
local at = 11
for _ = 1, tonumber(ARGV[10]) do
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[9], '*', 'event', ARGV[at])
  at = at + 1
end
redis.call('HSET', KEYS[1], unpack(ARGV, at))
redis.call('SET', KEYS[2], ARGV[7])
redis.call('PUBLISH', ARGV[8], ARGV[7])
return 'written'
